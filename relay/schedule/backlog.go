package schedule

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/spool"
)

const (
	// measure is how long a queue is watched before its pace is believed.
	measure = time.Minute
	// horizon is how far ahead entries that find no room are left where they are in the due index.
	horizon = 5 * time.Minute
)

// backlog is what found no room in a ready queue.
type backlog struct {
	// behind says that there is, or may be, more on disk, from the cursor on, and since when.
	behind bool
	from   spool.Cursor
	since  time.Time
	// rewound says that from was set back since the refill that is under way began.
	rewound bool
	// missed counts what found no room, so that a refill knows what came while it read.
	missed int
	// excess counts what found no room in one scan.
	excess int
	// launched counts what has left the queue since.
	launched int
	// wanted says that a refill was asked for and has not begun.
	wanted bool
}

// room says whether a queue of that length may take another entry: within its own bound, and no longer than the
// room that it leaves to others. What is urgent has room of its own.
func (s *Scheduler) room(c envelope.Class, length int) bool {
	used := s.waiting[envelope.Urgent]
	if c != envelope.Urgent {
		used = s.waiting[envelope.Normal] + s.waiting[envelope.Bulk]
	}
	return length < s.o.ReadyPerSite && length < s.o.MaxReady-used
}

// miss remembers that a queue has more on disk, from a cursor on at the earliest.
func (s *Scheduler) miss(q *queue, from spool.Cursor) {
	q.missed++
	if !q.behind {
		q.backlog = backlog{behind: true, from: from, missed: q.missed, wanted: q.wanted, since: time.Now()}
		s.behind[q] = struct{}{}
	}
	s.refillIfLow(q)
}

// missBefore remembers that a queue has more on disk, wherever its refills have come to.
func (s *Scheduler) missBefore(q *queue) {
	q.from, q.rewound = spool.Cursor{}, true
	s.miss(q, q.from)
}

// reach is how many entries behind a full queue may get into it within the horizon, judged by how fast it has
// emptied since it is behind.
func (s *Scheduler) reach(q *queue) int {
	behind := time.Since(q.since)
	if behind < measure {
		return math.MaxInt
	}
	return s.o.ReadyPerSite + int(float64(q.launched)*float64(horizon)/float64(behind))
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

// refillIfLow asks for a refill of a queue that is half empty and has more on disk.
func (s *Scheduler) refillIfLow(q *queue) {
	if q.behind && q.ready <= s.o.ReadyPerSite/2 && s.room(q.class, q.ready) {
		s.wantRefill(q)
	}
}

func (s *Scheduler) wantRefill(q *queue) {
	if !q.wanted {
		q.wanted = true
		s.refills.pushBack(q)
		s.look()
	}
}

func (s *Scheduler) nextRefill() *queue {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.refills.pop()
	if q != nil {
		q.wanted = false
	}
	if q != nil && !q.behind {
		return nil
	}
	return q
}

// refill offers a queue the next window, from where it was last full. If that does not fill it and there is more,
// it takes another turn.
func (s *Scheduler) refill(q *queue) {
	from, missed := s.beginRefill(q)
	items, after, err := s.o.Store.Due(q.class, from, s.o.Now(), window)
	if err != nil {
		s.o.Log.Error("the due index cannot be read; trying again", "error", err)
		return // the next job or scan asks again
	}
	s.refilled(q, items, from, after, missed)
}

// beginRefill says from where a queue is refilled, and what it had missed by then.
func (s *Scheduler) beginRefill(q *queue) (from spool.Cursor, missed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended, q.rewound = map[envelope.Key]struct{}{}, false
	return q.from, q.missed
}

// refilled offers a window to a queue. When that fills it, the next refill begins with this window again.
func (s *Scheduler) refilled(q *queue, items []spool.Item, from, after spool.Cursor, missed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := q.missed
	for _, i := range items {
		s.offer(i.Key, of{i.SenderDomain, q.class}, from, q)
	}
	s.ended = nil
	switch {
	case q.missed != before: // full
	case q.rewound:
		s.wantRefill(q)
	case len(items) == window:
		q.from = after
		s.wantRefill(q)
	case before != missed: // something was missed after this window was read
		s.wantRefill(q)
	default:
		q.behind = false
		delete(s.behind, q)
		s.dropQueue(q)
	}
	s.dispatch()
}
