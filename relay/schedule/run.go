package schedule

import (
	"context"
	"sync"
	"time"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/spool"
)

const (
	// window is how many entries of the due index are read at once.
	window = 512
	// safetyScan is how often the whole due index is read, in case something was missed.
	safetyScan = time.Minute
	// settle is how long after an attempt the due index is asked what comes next.
	settle = time.Second
)

// Run reads what is due from disk and watches the clock, until ctx is done. It returns ctx's error, after
// everything it started has ended. A turn of its loop reads at most three windows of each class of the due index, so
// that a long one keeps neither the clock nor other queues waiting.
func (s *Scheduler) Run(ctx context.Context) error {
	var asking sync.WaitGroup
	defer asking.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		case <-s.kick:
		}
		s.tick()
		s.watchFlights()
		if q := s.nextRefill(); q != nil {
			s.refill(q)
		}
		if s.scanDue() {
			s.scan()
		}
		s.startAsking(ctx, asking.Go)
		timer.Reset(s.arm())
	}
}

// look has Run look now.
func (s *Scheduler) look() {
	select {
	case s.kick <- struct{}{}:
	default: // it will
	}
}

// lookBy has Run look no later than at a time.
func (s *Scheduler) lookBy(t time.Time) {
	if t.Before(s.armed) {
		s.armed = t
		s.look()
	}
}

// scanBy has Run read the due index no later than at a time.
func (s *Scheduler) scanBy(t time.Time) {
	if t.Before(s.scanAt) {
		s.scanAt = t
		s.lookBy(t)
	}
}

// tick does what the clock says.
func (s *Scheduler) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.openDue(time.Now())
	s.dispatch()
}

// arm is how long Run may sleep.
func (s *Scheduler) arm() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refills.len() > 0 {
		return 0
	}
	s.armed = s.scanAt
	if len(s.gates.timed) > 0 {
		s.armed = earlier(s.armed, s.gates.timed[0].until)
	}
	if len(s.flights) > s.stalled {
		s.armed = earlier(s.armed, s.watched.Add(watch))
	}
	return time.Until(s.armed)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (s *Scheduler) scanDue() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.scanAt.After(time.Now())
}

// scan takes into memory the next window of what has become due, of each class.
func (s *Scheduler) scan() {
	now, whole := s.beginScan()
	next := safetyScan
	for c := range envelope.Class(envelope.Classes) {
		wait, err := s.read(c, now)
		if err == nil && s.pullIn(c, now, whole) {
			wait = 0
		}
		if err != nil {
			s.o.Log.Error("the due index cannot be read; trying again", "error", err)
			wait = settle
		}
		next = min(next, wait)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = nil
	s.scanBy(time.Now().Add(next))
}

// beginScan sets the latest time of the next scan; what happens during this one may want it earlier.
func (s *Scheduler) beginScan() (now time.Time, whole bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now = s.o.Now()
	steady := time.Now()
	s.ended = map[envelope.Key]struct{}{}
	whole = s.whole || steady.Sub(s.scannedWhole) >= safetyScan
	s.scanned, s.scanAt = steady, steady.Add(safetyScan)
	if s.clock.setBack(now, steady) {
		s.sweep(now)
		whole = true
	}
	if whole {
		s.whole, s.scannedWhole, s.cursors = false, steady, [envelope.Classes]spool.Cursor{}
	}
	for q := range s.behind {
		if whole {
			q.excess = 0
		}
		s.refillIfLow(q) // the room it wanted may have come free elsewhere
	}
	return now, whole
}

// read offers one window of a class of the due index. It returns when to go on: at once when there may be more, else
// when the next entry is due.
func (s *Scheduler) read(c envelope.Class, now time.Time) (time.Duration, error) {
	items, after, err := s.o.Store.Due(c, s.cursors[c], now, window)
	if err != nil {
		return 0, err
	}
	s.postpone(s.offerAll(c, items, s.cursors[c]), now)
	s.cursors[c] = after
	if len(items) == window {
		return 0, nil
	}
	if s.busy() {
		// Done asks for another scan anyway, and each attempt leaves a tombstone a minute ahead: walking over those of
		// a busy minute to find what is due then would cost more than the mail.
		return settle, nil
	}
	items, _, err = s.o.Store.Due(c, s.cursors[c], now.Add(safetyScan), 1)
	if err != nil || len(items) == 0 {
		return safetyScan, err
	}
	return items[0].Due.Sub(now), nil
}

// busy says that attempts are in flight.
func (s *Scheduler) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.flights) > 0
}

// offerAll offers a window that was read from a cursor on. It returns what found no room and will not for long.
func (s *Scheduler) offerAll(c envelope.Class, items []spool.Item, from spool.Cursor) []envelope.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	var excess []envelope.Key
	for _, i := range items {
		if q := s.offer(i.Key, of{i.SenderDomain, c}, from, nil); q != nil {
			q.excess++
			if q.excess > s.reach(q) {
				excess = append(excess, i.Key)
			}
		}
	}
	s.dispatch()
	return excess
}
