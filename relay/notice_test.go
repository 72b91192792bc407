package relay_test

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/smtptest"
)

// TestADSNThatCannotBeSignedYet: what was delivered stays delivered, and the DSN is made when there is a key.
func TestADSNThatCannotBeSignedYet(t *testing.T) {
	no := reply.Reply{Code: 550, Enhanced: "5.1.1", Text: "no such user here"}
	sink := newSink(t, smtptest.Options{Replies: map[string]reply.Reply{"gone@example.net": no}})
	r := newRig(t, func(r *rig) {
		r.routeTo(sink.Port())
		r.config.Domains = []config.Domain{{Name: r.config.Relay.Hostname, Sign: true}}
	})
	r.domain("example.net", "127.0.0.1")
	r.domain("example.org", "127.0.0.1")
	r.mustSend("a@example.org", "gone@example.net,here@example.net", message("a@example.org", "one"))
	r.eventually("the delivery to be recorded, and the failure to wait", func() bool {
		l := r.status().Ledger
		return l.Delivered == 1 && l.Queued == 1
	})

	files, _ := keys(t)
	r.files = files
	r.config.Domains[0].Keys = []config.DKIMKey{{Selector: "e1", Algorithm: config.Ed25519, File: "ed25519.pem"}}
	r.configure()
	r.drained()
	got := sink.Messages()
	if len(got) != 2 || got[1].From != "" || !strings.HasPrefix(string(got[1].Data), "DKIM-Signature: ") {
		t.Errorf("want the message once and one signed DSN, got %q", contents(got))
	}
}

// TestTroubleThatIsOver: a configuration that comes back as it was is in force, and status says so.
func TestTroubleThatIsOver(t *testing.T) {
	r := newRig(t, nil)
	index := r.index()
	r.write(config.IndexFile, []byte(`{"format":1,"generation":9,"files":{"relay.json":"00"}}`))
	r.eventually("the refusal to show", func() bool { return r.status().ConfigError != "" })
	r.write(config.IndexFile, index)
	r.eventually("the trouble to be over", func() bool { return r.status().ConfigError == "" })
}
