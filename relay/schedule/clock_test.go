package schedule

import (
	"testing"
	"time"

	"github.com/postrider/postrider/relay/rate"
)

// TestTheNextScanIsByTheMonotonicClock: the wall clock may be set back by a day, and the index is read in time all
// the same. A time without a monotonic reading is equal to itself without one.
func TestTheNextScanIsByTheMonotonicClock(t *testing.T) {
	store := newStore(t)
	s := New(Options{Store: store, Limiter: rate.New(time.Now), Site: ownSite})
	add(t, store, 1, "acme.example", "a.example", time.Now().Add(30*time.Second))
	next, err := s.read(time.Now())
	if err != nil || next == next.Round(0) {
		t.Errorf("read says %v, %v: a time of the wall clock", next, err)
	}
	s.scanAt = time.Now().Add(time.Hour)
	s.Wake(newEntry("acme.example", "b.example", time.Now().Add(30*time.Second).Round(0)))
	if s.scanAt == s.scanAt.Round(0) || time.Until(s.scanAt) > time.Minute {
		t.Errorf("Wake has the index read at %v", s.scanAt)
	}
}
