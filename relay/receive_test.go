package relay

import (
	"testing"
	"time"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/listener"
	"github.com/postrider/postrider/relay/policy"
)

// TestOnlyThoseWhoNeedUTF8: a next hop that knows no SMTPUTF8 can take the copy for recipients in ASCII.
func TestOnlyThoseWhoNeedUTF8(t *testing.T) {
	for _, whole := range []bool{false, true} {
		c := &listener.Session{UTF8: whole, Recipients: []envelope.Recipient{
			{Address: "a@ascii.example"}, {Address: "b@mixed.example"}, {Address: "\u00f6@mixed.example"},
		}}
		for _, e := range entriesFor(c, policy.Client{}, policy.Verdict{}, 0, time.Now()) {
			if want := whole || e.Domain == "mixed.example"; e.UTF8 != want {
				t.Errorf("%s: UTF8 %v, want %v", e.Domain, e.UTF8, want)
			}
		}
	}
}
