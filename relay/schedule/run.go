package schedule

import (
	"context"
	"math"
	"math/rand/v2"
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
	// measure is how long a queue is watched before its pace is believed.
	measure = time.Minute
	// horizon is how far ahead entries that find no room are left where they are in the due index.
	horizon = 5 * time.Minute
)

// Run reads what is due from disk and watches the clock, until ctx is done. It returns ctx's error, after
// everything it started has ended. A turn of its loop reads at most three windows of the due index, so that a long
// one keeps neither the clock nor other queues waiting.
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
		if t := s.nextRefill(); t != nil {
			s.refill(t)
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
	s.openDue(s.o.Now())
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
	if len(s.gates.timed) > 0 && s.gates.timed[0].until.Before(s.armed) {
		s.armed = s.gates.timed[0].until
	}
	return s.armed.Sub(s.o.Now())
}

func (s *Scheduler) scanDue() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.scanAt.After(s.o.Now())
}

// scan takes into memory the next window of what has become due.
func (s *Scheduler) scan() {
	now, whole := s.beginScan()
	next, err := s.read(now)
	if err == nil && s.pullIn(now, whole) {
		next = now
	}
	if err != nil {
		s.o.Log.Error("the due index cannot be read; trying again", "error", err)
		next = now.Add(settle)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scanBy(next)
}

// beginScan sets the latest time of the next scan; what happens during this one may want it earlier.
func (s *Scheduler) beginScan() (now time.Time, whole bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now = s.o.Now()
	s.ended = map[envelope.Key]struct{}{}
	s.scanned, s.scanAt = now, now.Add(safetyScan)
	whole = s.whole || now.Sub(s.scannedWhole) >= safetyScan
	if whole {
		s.whole, s.scannedWhole, s.cursor = false, now, spool.Cursor{}
	}
	for t := range s.behind {
		if whole {
			t.excess = 0
		}
		s.refillIfLow(t) // the room it wanted may have come free elsewhere
	}
	return now, whole
}

// read offers one window of the due index. It returns when to go on: at once when there may be more, else when
// the next entry is due.
func (s *Scheduler) read(now time.Time) (time.Time, error) {
	items, after, err := s.o.Store.Due(s.cursor, now, window)
	if err != nil {
		return now, err
	}
	s.postpone(s.offerAll(items, s.cursor), now)
	s.cursor = after
	if len(items) == window {
		return now, nil
	}
	if s.busy() {
		// Done asks for another scan anyway, and each attempt leaves a tombstone a minute ahead: walking over those of
		// a busy minute to find what is due then would cost more than the mail.
		return now.Add(settle), nil
	}
	soon := now.Add(safetyScan)
	items, _, err = s.o.Store.Due(s.cursor, soon, 1)
	if err != nil || len(items) == 0 {
		return soon, err
	}
	return now.Add(items[0].Due.Sub(now)), nil // by the clock that is never set
}

// pullIn makes a window of that due which is due so late that only a clock that ran ahead can have put it there: it
// would wait for as long as the clock was wrong. It says whether there was any. Each whole scan looks from the
// beginning.
func (s *Scheduler) pullIn(now time.Time, whole bool) bool {
	if s.o.Farthest == nil || !whole && s.strays == nil {
		return false
	}
	farthest := s.o.Farthest()
	if farthest == 0 {
		return false
	}
	limit := now.Add(max(farthest, 2*horizon) + envelope.AttemptLease)
	from := spool.After(limit)
	if !whole {
		from = *s.strays
	}
	strays, after, err := s.o.Store.Due(from, time.Unix(0, math.MaxInt64), window)
	if err == nil && len(strays) > 0 {
		s.o.Log.Warn("mail was due too late, as after a clock was set back: it is due now", "entries", len(strays), "first", strays[0].Due)
		err = s.o.Store.PullIn(keysOf(strays), limit, now)
	}
	if err != nil {
		s.o.Log.Error("mail that is due too late stays so", "error", err)
	}
	if err != nil || len(strays) == 0 {
		s.strays = nil
		return false
	}
	s.strays = &after
	return true
}

func keysOf(items []spool.Item) []envelope.Key {
	keys := make([]envelope.Key, len(items))
	for i := range items {
		keys[i] = items[i].Key
	}
	return keys
}

// busy says that attempts are in flight.
func (s *Scheduler) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.flights) > 0
}

// offerAll offers a window that was read from a cursor on. It returns what found no room and will not for long.
func (s *Scheduler) offerAll(items []spool.Item, from spool.Cursor) []envelope.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	var excess []envelope.Key
	now := s.o.Now()
	for _, i := range items {
		if t := s.offer(i.Key, i.SenderDomain, from, nil); t != nil {
			t.excess++
			if t.excess > s.reach(t, now) {
				excess = append(excess, i.Key)
			}
		}
	}
	s.ended = nil
	s.dispatch()
	return excess
}

// reach is how many entries behind a full queue may get into it within the horizon, judged by how fast it has
// emptied since it is behind.
func (s *Scheduler) reach(t *tenant, now time.Time) int {
	behind := now.Sub(t.since)
	if behind < measure {
		return math.MaxInt
	}
	return s.o.ReadyPerSite + int(float64(t.launched)*float64(horizon)/float64(behind))
}

// postpone moves entries beyond the horizon, scattered, so that scans do not read them again and again.
func (s *Scheduler) postpone(keys []envelope.Key, now time.Time) {
	if len(keys) == 0 {
		return
	}
	later := func() time.Time { return now.Add(horizon + rand.N(horizon)) }
	if err := s.o.Store.Postpone(keys, later); err != nil {
		s.o.Log.Warn("entries without room in their queue keep their due time", "entries", len(keys), "error", err)
	}
}

// miss remembers that a queue has more on disk, from a cursor on at the earliest.
func (s *Scheduler) miss(t *tenant, from spool.Cursor) {
	t.missed++
	if !t.behind {
		t.backlog = backlog{behind: true, from: from, missed: t.missed, wanted: t.wanted, since: s.o.Now()}
		s.behind[t] = struct{}{}
	}
	s.refillIfLow(t)
}

// refillIfLow asks for a refill of a queue that is half empty and has more on disk.
func (s *Scheduler) refillIfLow(t *tenant) {
	if t.behind && t.ready <= s.o.ReadyPerSite/2 && s.room(t.ready) {
		s.wantRefill(t)
	}
}

func (s *Scheduler) nextRefill() *tenant {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.refills.pop()
	if t != nil {
		t.wanted = false
	}
	if t != nil && !t.behind {
		return nil
	}
	return t
}

// refill offers a queue the next window, from where it was last full. If that does not fill it and there is more,
// it takes another turn.
func (s *Scheduler) refill(t *tenant) {
	from, missed := s.beginRefill(t)
	items, after, err := s.o.Store.Due(from, s.o.Now(), window)
	if err != nil {
		s.o.Log.Error("the due index cannot be read; trying again", "error", err)
		return // the next job or scan asks again
	}
	s.refilled(t, items, from, after, missed)
}

// beginRefill says from where a queue is refilled, and what it had missed by then.
func (s *Scheduler) beginRefill(t *tenant) (from spool.Cursor, missed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = map[envelope.Key]struct{}{}
	return t.from, t.missed
}

// refilled offers a window to a queue. When that fills it, the next refill begins with this window again.
func (s *Scheduler) refilled(t *tenant, items []spool.Item, from, after spool.Cursor, missed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := t.missed
	for _, i := range items {
		s.offer(i.Key, i.SenderDomain, from, t)
	}
	s.ended = nil
	switch {
	case t.missed != before: // full
	case len(items) == window:
		t.from = after
		s.wantRefill(t)
	case before != missed: // something was missed after this window was read
		s.wantRefill(t)
	default:
		t.behind = false
		delete(s.behind, t)
		s.dropTenant(t)
	}
	s.dispatch()
}

func (s *Scheduler) wantRefill(t *tenant) {
	if !t.wanted {
		t.wanted = true
		s.refills.pushBack(t)
		s.look()
	}
}
