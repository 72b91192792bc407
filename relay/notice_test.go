package relay_test

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/smtptest"
)

// TestWhoADSNComesFrom: the postmaster, signed where that is a SendingDomain's; never unsigned in the name of one, and
// never waiting for a key.
func TestWhoADSNComesFrom(t *testing.T) {
	no := reply.Reply{Code: 550, Enhanced: "5.1.1", Text: "no such user here"}
	files, _ := keys(t)
	key := []config.DKIMKey{{Selector: "e1", Algorithm: config.Ed25519, File: "ed25519.pem"}}
	for name, tc := range map[string]struct {
		domains      []config.Domain
		from, signer string
	}{
		"nobody's domains":       {nil, "Mail Delivery System <ops@relay.example>", ""},
		"the postmaster's signs": {[]config.Domain{{Name: "relay.example", Sign: true, Keys: key}}, "Mail Delivery System <ops@relay.example>", "relay.example"},
		"it has no key yet":      {[]config.Domain{{Name: "relay.example", Sign: true}}, "Mail Delivery System <MAILER-DAEMON@out.relay.example>", ""},
		"another signs": {[]config.Domain{{Name: "relay.example"}, {Name: "out.relay.example", Sign: true, Keys: key}},
			"Mail Delivery System <ops@relay.example>", ""},
		"only the host's signs": {[]config.Domain{{Name: "relay.example", Sign: true}, {Name: "out.relay.example", Sign: true, Keys: key}},
			"Mail Delivery System <MAILER-DAEMON@out.relay.example>", "out.relay.example"},
		"neither has a key yet": {[]config.Domain{{Name: "relay.example", Sign: true}, {Name: "out.relay.example", Sign: true}}, "Mail Delivery System:;", ""},
	} {
		t.Run(name, func(t *testing.T) {
			sink := newSink(t, smtptest.Options{Replies: map[string]reply.Reply{"gone@example.net": no}})
			r := newRig(t, func(r *rig) {
				r.routeTo(sink.Port())
				r.config.Domains, r.files = tc.domains, files
			})
			r.domain("example.net", "127.0.0.1")
			r.domain("example.org", "127.0.0.1")
			r.mustSend("a@example.org", "gone@example.net,here@example.net", message("a@example.org", "one"))
			r.drained()
			got := sink.Messages()
			if len(got) != 2 || got[1].From != "" {
				t.Fatalf("want the message once and one DSN, got %q", contents(got))
			}
			signed, dsn := "", string(got[1].Data)
			if strings.HasPrefix(dsn, "DKIM-Signature: ") {
				_, signed, _ = strings.Cut(dsn, "\td=")
				signed, _, _ = strings.Cut(signed, ";")
			}
			if !strings.Contains(dsn, "\r\nFrom: "+tc.from+"\r\n") || signed != tc.signer {
				t.Errorf("want From %s, signed by %q, got\n%s", tc.from, tc.signer, dsn)
			}
		})
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
