package relay_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/smtptest"
)

// TestPriorityFromClientToNextHop: MT-PRIORITY, or a rule of the SendingDomain, stands in Received, goes to a next hop
// that knows it, and is inherited by a bounce; a stranger may lower it alone.
func TestPriorityFromClientToNextHop(t *testing.T) {
	sink := newSink(t, smtptest.Options{Offer: []string{"MT-PRIORITY"}, Without: []string{"SIZE"}, Replies: map[string]reply.Reply{
		"gone@example.net": {Code: 550, Enhanced: "5.1.1", Text: "no such user here"},
	}})
	r := newRig(t, func(r *rig) {
		r.routeTo(sink.Port())
		r.config.Domains = []config.Domain{{Name: "example.org", Priorities: []config.PriorityRule{
			{Header: "Precedence", Values: []string{"bulk"}, Priority: -4},
		}}}
	})
	r.domain("example.net", "127.0.0.1")
	r.domain("example.org", "127.0.0.1")
	send := func(params, to, header, want string) {
		t.Helper()
		got := r.speak("", "EHLO client.example", "MAIL FROM:<a@example.org>"+params, "RCPT TO:<"+to+">", "DATA",
			"From: a@example.org\r\n"+header+"\r\nx\r\n.")
		if !strings.Contains(got, want) {
			t.Errorf("%s %q: %q holds no %q", params, header, got, want)
		}
		r.drained()
	}
	send(" MT-PRIORITY=7", "b@example.net", "", "250 2.0.0 queued")
	send("", "b@example.net", "Precedence: Bulk\r\n", "250 2.0.0 queued")
	send(" MT-PRIORITY=0", "b@example.net", "Precedence: Bulk\r\n", "250 2.0.0 queued")
	send("", "b@example.net", "", "250 2.0.0 queued")
	send(" MT-PRIORITY=3", "gone@example.net", "", "250 2.0.0 queued")
	r.config.Relay.Access.TrustedCIDRs = nil
	r.config.Relay.Routes = []config.Route{{Name: "in", Match: config.Match{RecipientDomains: []string{"example.net"}},
		SmartHosts: []config.SmartHost{{Host: "127.0.0.1", Port: sink.Port(), TLS: config.HopNone}}}}
	r.halt()
	r.configure()
	r.start()
	send(" MT-PRIORITY=9", "b@example.net", "", "250 2.3.6 0 is the priority; queued as ")
	send(" MT-PRIORITY=-9", "b@example.net", "", "250 2.0.0 queued")

	var got []string
	for _, m := range sink.Messages() {
		clause := ""
		if _, rest, ok := strings.Cut(string(m.Data), "PRIORITY "); ok {
			clause, _, _ = strings.Cut(rest, ";")
		}
		got = append(got, m.Params+" "+clause)
	}
	want := []string{"MT-PRIORITY=7 7", "MT-PRIORITY=-4 -4", " ", " ", "MT-PRIORITY=3 3", " ", "MT-PRIORITY=-9 -9"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
