package schedule

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/rate"
)

// wall is a clock that can be set.
type wall struct{ ahead atomic.Int64 }

func (w *wall) now() time.Time       { return time.Now().Round(0).Add(time.Duration(w.ahead.Load())) }
func (w *wall) set(by time.Duration) { w.ahead.Add(int64(by)) }

func retryAt(jitter float64) envelope.Retry {
	return envelope.Retry{Initial: 5 * time.Minute, Max: 4 * time.Hour, Jitter: jitter}
}

// refuse ends an attempt as one that is to be repeated, by the wall clock.
func (f *shelf) refuse(s *Scheduler, w *wall, job *Job) {
	f.begin(job.Key, w.now())
	f.move(job.Key, w.now().Add(retryAt(0.5).Wait(f.attempts(job.Key))))
	s.Done(job)
}

func (f *shelf) attempts(k envelope.Key) int { e := f.get(k); return e.Attempts() }

// TestClockIsSet: whatever the clock does while the relay runs, mail that waits is attempted again when its wait is over,
// or at once where its due time means nothing any more; and never more than once for a leap.
func TestClockIsSet(t *testing.T) {
	for name, tc := range map[string]struct {
		by       time.Duration
		earliest time.Duration // of the second attempt, after the first
		latest   time.Duration
	}{
		"not":                 {0, 5 * time.Minute, 5 * time.Minute},
		"two hours back":      {-2 * time.Hour, 0, 5 * time.Minute},
		"three days back":     {-72 * time.Hour, 0, 5 * time.Minute},
		"a few minutes back":  {-4 * time.Minute, 0, 9*time.Minute + time.Second},
		"two hours ahead":     {2 * time.Hour, 0, 2 * time.Minute},
		"three days ahead":    {72 * time.Hour, 0, 2 * time.Minute},
		"a few minutes ahead": {4 * time.Minute, time.Minute, 3 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			f, w := newShelf(t), &wall{}
			o := Options{Store: f, Now: w.now, Farthest: func(attempts int) time.Duration { return retryAt(1).Wait(attempts) }}
			simulate(t, o, nil, func(s *Scheduler, _ *rate.Limiter) {
				s.Wake(f.put(30, "acme.example", "a.example", w.now())...)
				for range 30 {
					f.refuse(s, w, must(t, s))
				}
				first := time.Now()
				time.Sleep(61 * time.Second) // the clock is looked at each minute
				w.set(tc.by)
				for range 30 {
					job := must(t, s)
					if after := time.Since(first); after < tc.earliest || after > tc.latest+time.Second {
						t.Fatalf("the second attempt is %v after the first, want %v to %v", after, tc.earliest, tc.latest)
					}
					if f.attempts(job.Key) != 1 {
						t.Fatalf("attempt %d, and others had no second one", f.attempts(job.Key)+1)
					}
					f.refuse(s, w, job)
				}
				second := time.Now()
				if must(t, s); time.Since(second) < 9*time.Minute {
					t.Errorf("the third attempt is %v after the second", time.Since(second))
				}
			})
		})
	}
}

// TestAClockSetBackStopsNothingNew: mail that comes while old entries are due in a far future is not behind them.
func TestAClockSetBackStopsNothingNew(t *testing.T) {
	f, w := newShelf(t), &wall{}
	simulate(t, Options{Store: f, Now: w.now, ReadyPerSite: 10, MaxConnectionsPerSite: 1}, nil, func(s *Scheduler, _ *rate.Limiter) {
		s.Wake(f.put(50, "acme.example", "a.example", w.now())...)
		must(t, s)
		w.set(-48 * time.Hour)
		s.Wake(f.put(1, "other.example", "b.example", w.now())...)
		if job := try(s); job == nil || job.Key.Domain != "b.example" {
			t.Errorf("%+v goes, want what is new", job)
		}
	})
}

func TestSetBack(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	for _, tc := range []struct {
		steady, wall time.Duration
		want         bool
	}{
		{time.Minute, time.Minute, false}, {time.Minute, 31 * time.Second, false}, {time.Minute, 30 * time.Second, true},
		{time.Minute, -24 * time.Hour, true}, {time.Minute, 24 * time.Hour, false}, {0, 0, false},
	} {
		var c clock
		if c.setBack(at, at) {
			t.Error("set back at the first look")
		}
		if got := c.setBack(at.Add(tc.wall), at.Add(tc.steady)); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
		if c.setBack(at.Add(tc.wall), at.Add(tc.steady)) {
			t.Errorf("%+v: told twice", tc)
		}
	}
}
