package relay

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/directive"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/handoff"
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

// TestAnAdminRemovesWhatASilentPeerMayHave: a message on its way to another pod is not to be touched, but one whose peer has
// been silent may be removed, and only that.
func TestAnAdminRemovesWhatASilentPeerMayHave(t *testing.T) {
	r := opened(t)
	bind := func(domain string, since time.Duration) {
		id := r.put(t, entry("", domain, "u"))
		note := fmt.Sprintf(`{"id": %q, "peer": {"pod": "gone-0"}, "at": %q}`, id, time.Now().Add(-since).Format(time.RFC3339))
		if err := r.spool.Put("handoff-out", domain, []byte(note)); err != nil {
			t.Fatal(err)
		}
	}
	bind("fresh.test", time.Minute)
	bind("silent.test", time.Hour)
	if err := r.newHandoff(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		act     admin.Act
		domain  string
		allowed bool
	}{
		{admin.Delete, "fresh.test", false}, {admin.Hold, "silent.test", false}, {admin.Flush, "silent.test", false}, {admin.Delete, "silent.test", true},
	} {
		got, err := r.Act(test.act, admin.Selection{Domain: test.domain})
		if (got.Entries == 1) != test.allowed || (err == nil) != test.allowed || err != nil && !errors.Is(err, handoff.ErrLeaving) {
			t.Errorf("%s of %s: %+v, %v", test.act, test.domain, got, err)
		}
	}
	if l := r.spool.Ledger(); l.Removed != 1 || l.Queued != 1 || l.Accepted != 2 {
		t.Errorf("ledger %+v", l)
	}
}
