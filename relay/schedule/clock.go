package schedule

import (
	"math"
	"time"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/spool"
)

// Due times are by the wall clock, for they outlive the process; everything else here is by time.Now's monotonic
// reading. When the wall clock leaps ahead, mail becomes due early: it is attempted once, as limits allow, and then
// waits again. When it is set back, mail would wait for as long as the clock was wrong: it is pulled in.

// setBackBy is by how much a clock must be set back to count.
const setBackBy = 30 * time.Second

// clock remembers when the wall clock said what.
type clock struct{ wall, steady time.Time }

// setBack says whether the wall clock was set back since the last call.
func (c *clock) setBack(wall, steady time.Time) bool {
	before := *c
	*c = clock{wall.Round(0), steady}
	return !before.steady.IsZero() && steady.Sub(before.steady)-c.wall.Sub(before.wall) >= setBackBy
}

// sweep has all mail looked at that is due later than now.
func (s *Scheduler) sweep(now time.Time) {
	s.o.Log.Warn("the clock was set back: mail that would wait for it is due now", "now", now)
	for c := range s.strays {
		from := spool.After(envelope.Class(c), now)
		s.strays[c] = &from
	}
}

// pullIn makes a window of that due which is due so late that only a clock that ran ahead can have put it there. It
// says whether there may be more. A whole scan looks at what is farther away than any mail may be, a sweep at all that
// is not due yet.
func (s *Scheduler) pullIn(c envelope.Class, now time.Time, whole bool) bool {
	if s.o.Farthest == nil || s.o.Farthest(math.MaxInt) == 0 {
		return false
	}
	if s.strays[c] == nil && whole {
		from := spool.After(c, s.latest(now, math.MaxInt))
		s.strays[c] = &from
	}
	if s.strays[c] == nil {
		return false
	}
	items, after, err := s.o.Store.Due(c, *s.strays[c], time.Unix(0, math.MaxInt64), window)
	moved := 0
	if err == nil && len(items) > 0 {
		moved, err = s.o.Store.PullIn(keysOf(items), func(attempts int) time.Time { return s.latest(now, attempts) }, now)
	}
	if err != nil {
		s.o.Log.Error("mail that is due too late stays so", "error", err)
	}
	if moved > 0 {
		s.o.Log.Warn("mail was due too late, as after a clock was set back: it is due now", "entries", moved)
	}
	if s.strays[c] = &after; err != nil || len(items) < window {
		s.strays[c] = nil
	}
	return moved > 0 || s.strays[c] != nil
}

// latest is when mail may be due at the latest, after so many attempts.
func (s *Scheduler) latest(now time.Time, attempts int) time.Time {
	return now.Add(max(s.o.Farthest(attempts), 2*horizon) + envelope.AttemptLease)
}

func keysOf(items []spool.Item) []envelope.Key {
	keys := make([]envelope.Key, len(items))
	for i := range items {
		keys[i] = items[i].Key
	}
	return keys
}
