package deliver

import (
	"testing"

	"github.com/postrider/postrider/relay/reply"
)

// TestRefusedAtRCPT: what was said about the sender or the message says nothing about the recipient, even in the same
// words.
func TestRefusedAtRCPT(t *testing.T) {
	ok, no, busy := reply.Reply{Code: 250}, reply.Reply{Code: 550, Text: "no"}, reply.Reply{Code: 450, Text: "no"}
	for name, c := range map[string]struct {
		mail, rcpt, decided reply.Reply
		want                bool
	}{
		"the recipient is refused": {ok, no, no, true},
		"the message is refused":   {ok, ok, no, false},
		"the sender is refused":    {no, no, no, false},
		"the recipient waits":      {ok, busy, busy, true},
		"nothing is said":          {ok, reply.Reply{}, reply.Reply{}, false},
		"it is taken":              {ok, ok, ok, false},
	} {
		tx := transaction{replies: []reply.Reply{c.decided}, answers: answers{mail: c.mail, rcpt: []reply.Reply{c.rcpt}}}
		if got := tx.refusedAtRCPT(0); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if tx := (transaction{replies: []reply.Reply{no}}); tx.refusedAtRCPT(0) {
		t.Error("nothing was said to the server yet")
	}
}
