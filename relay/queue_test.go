package relay

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/directive"
	"github.com/postrider/postrider/relay/envelope"
)

// opened is a relay that does not run.
func opened(t *testing.T) *Relay {
	t.Helper()
	r, err := open(Options{DataDir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// store puts a message into the spool.
func (r *Relay) put(t *testing.T, entries ...envelope.Envelope) envelope.ID {
	t.Helper()
	w := r.spool.Create()
	defer w.Abort()
	if _, err := io.WriteString(w, "Subject: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(nil, entries); err != nil {
		t.Fatal(err)
	}
	return w.ID()
}

// TestAPageLooksAtSoMuchAndNoMore: what is rare in a long queue is found in several short steps.
func TestAPageLooksAtSoMuchAndNoMore(t *testing.T) {
	r := opened(t)
	w := entry("", "a.test", "u")
	for range maxScan/100 + 5 { // a message of a hundred entries is one batch
		var entries []envelope.Envelope
		for i := range 100 {
			w.Domain = string(rune('a'+i/26)) + string(rune('a'+i%26)) + ".test"
			entries = append(entries, w)
		}
		r.put(t, entries...)
	}
	rare := entry("", "zz.test", "u")
	rare.ReversePath = "rare@example.com"
	id := r.put(t, rare)
	page, err := r.List(admin.Query{Sender: "example.com", Limit: 100})
	if err != nil || len(page.Entries) != 0 || page.Next == "" {
		t.Fatalf("first page: %d entries, next %q, %v", len(page.Entries), page.Next, err)
	}
	page, err = r.List(admin.Query{Sender: "example.com", Limit: 100, After: page.Next})
	if err != nil || len(page.Entries) != 1 || page.Entries[0].ID != id || page.Next != "" {
		t.Errorf("second page: %+v, %v", page, err)
	}
}

// TestTheEndOfAHoldThatNobodySaw: a hold that ended while the relay was down lets its mail go at the start, and what an
// admin held stays held.
func TestTheEndOfAHoldThatNobodySaw(t *testing.T) {
	r := opened(t)
	ours, theirs := entry("", "a.test", "u"), entry("", "b.test", "u")
	theirs.Held = "by hand"
	id := r.put(t, ours, theirs)
	d, err := r.Direct(directive.Order{Act: directive.Hold, Scope: directive.Scope{All: true}, Reason: "why", Seconds: 60})
	if err != nil || d.Entries != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	next := r.endOver(time.Now())
	if next > time.Minute || next < 50*time.Second || len(r.Directives()) != 1 {
		t.Errorf("looks again in %s, directives %+v", next, r.Directives())
	}
	r.endOver(time.Now().Add(2 * time.Minute))
	if len(r.Directives()) != 0 {
		t.Errorf("directives %+v", r.Directives())
	}
	for domain, held := range map[string]string{"a.test": "", "b.test": "by hand"} {
		e, err := r.spool.Get(envelope.Key{ID: id, Domain: domain})
		if err != nil || e.Held != held {
			t.Errorf("%s: held %q, %v; want %q", domain, e.Held, err, held)
		}
	}
}
