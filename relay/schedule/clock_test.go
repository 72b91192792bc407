package schedule

import (
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/rate"
)

// TestTheNextScanIsByTheMonotonicClock: the wall clock may be set back by a day, and the index is read in time all
// the same.
func TestTheNextScanIsByTheMonotonicClock(t *testing.T) {
	store := newStore(t)
	s := New(Options{Store: store, Limiter: rate.New(time.Now), Site: ownSite})
	add(t, store, 1, "acme.example", "a.example", time.Now().Add(30*time.Second))
	s.scan()
	if !monotonic(s.scanAt) || time.Until(s.scanAt) > 31*time.Second {
		t.Errorf("the index is read again at %v", s.scanAt)
	}
	s.scanAt = time.Now().Add(time.Hour)
	s.Wake(newEntry("acme.example", "b.example", time.Now().Add(30*time.Second).Round(0)))
	if !monotonic(s.scanAt) || time.Until(s.scanAt) > time.Minute {
		t.Errorf("Wake has the index read at %v", s.scanAt)
	}
}

// monotonic says whether a time has a reading of the monotonic clock; only its String tells.
func monotonic(t time.Time) bool { return strings.Contains(t.String(), " m=") }

// A clock that ran a day ahead has put mail off by a day. Once it is right again, that mail must not wait for it.
func TestMailThatAWrongClockPutOffIsDue(t *testing.T) {
	store := newStore(t)
	wrong := time.Now().Add(24 * time.Hour)
	add(t, store, window+10, "s.example", "stray.example", wrong)
	add(t, store, 1, "s.example", "patient.example", time.Now().Add(time.Hour))
	s := start(t, Options{Store: store, Farthest: func(int) time.Duration { return 4 * time.Hour }})
	for range window + 10 {
		job := next(t, s)
		if job.Key.Domain != "stray.example" {
			t.Fatalf("a job for %s", job.Key.Domain)
		}
		if _, err := store.Begin(job.Key, time.Now()); err != nil {
			t.Fatal(err)
		}
		settleAs(t, store, job, 250)
		s.Done(job)
	}
	if n := store.Totals().Queued; n != 1 {
		t.Errorf("%d left, want what is due in an hour", n)
	}
}
