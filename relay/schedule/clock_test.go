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
	next, err := s.read(time.Now())
	if err != nil || !monotonic(next) {
		t.Errorf("read says %v, %v: a time of the wall clock", next, err)
	}
	s.scanAt = time.Now().Add(time.Hour)
	s.Wake(newEntry("acme.example", "b.example", time.Now().Add(30*time.Second).Round(0)))
	if !monotonic(s.scanAt) || time.Until(s.scanAt) > time.Minute {
		t.Errorf("Wake has the index read at %v", s.scanAt)
	}
}

// monotonic says whether a time has a reading of the monotonic clock; only its String tells.
func monotonic(t time.Time) bool { return strings.Contains(t.String(), " m=") }
