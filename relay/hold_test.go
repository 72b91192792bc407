package relay

import (
	"testing"
	"time"

	"github.com/postrider/postrider/relay/directive"
	"github.com/postrider/postrider/relay/envelope"
)

// TestHoldEndsWhileMailComes: what was held by a directive that ended before it was stored is let go by whoever stored it.
func TestHoldEndsWhileMailComes(t *testing.T) {
	r := opened(t)
	var orders []directive.Directive
	for _, domain := range []string{"ended.example", "held.example"} {
		order := directive.Order{Act: directive.Hold, Scope: directive.Scope{Domain: domain}, Reason: "migration", Seconds: 60}
		d, err := r.directives.Add(order, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		orders = append(orders, d)
	}
	set, now := r.directives.Current(), time.Now()
	var entries []envelope.Envelope
	for _, d := range orders {
		entries = append(entries, envelope.Envelope{Domain: d.Domain, Accepted: now, Recipients: []envelope.Recipient{{Address: "a@" + d.Domain, Due: now}}})
	}
	holdDirected(set, entries, now)
	if _, err := r.EndDirective(orders[0].ID); err != nil {
		t.Fatal(err)
	}
	w := r.spool.Create()
	entries, err := w.Commit([]byte("Subject: x\r\n\r\n"), entries)
	if err != nil {
		t.Fatal(err)
	}
	r.releaseEnded(set, entries)
	for i, held := range []bool{false, true} {
		if e, err := r.spool.Get(entries[i].Key()); err != nil || (e.Held != "") != held {
			t.Errorf("%s: held %q, %v; want %v", entries[i].Domain, e.Held, err, held)
		}
	}
}
