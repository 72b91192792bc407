package schedule

import (
	"container/heap"
	"time"

	"github.com/postrider/postrider/relay/rate"
)

// gate is where lanes wait, in turns as at a site, for one bucket of a rate policy. It opens when the bucket may have something
// again, and hands out jobs in its turn until the bucket refuses: a thousand lanes that wait for one token cost
// one question, not a thousand.
type gate struct {
	bucket rate.Bucket
	turns  turns
	// open says that it stands in the scheduler's turns.
	open bool
	// until is when it opens; zero when a release opens it.
	until time.Time
	index int // in the heap of times; -1 when not there
}

// gates are all gates that lanes wait at.
type gates struct {
	byBucket map[rate.Bucket]*gate
	timed    timedGates
}

func newGates() gates { return gates{byBucket: map[rate.Bucket]*gate{}} }

// gate makes a lane wait for the bucket that refused it.
func (s *Scheduler) gate(l *lane, w *rate.Wait) {
	if l.limited != w.Bucket {
		l.limited, l.since = w.Bucket, time.Now()
	}
	l.gated = true
	g := s.gates.byBucket[w.Bucket]
	if g == nil {
		g = &gate{bucket: w.Bucket, index: -1}
		s.gates.byBucket[w.Bucket] = g
	}
	g.turns.push(l, s.weight(l))
	s.shut(g, w.Until)
}

// shut closes a gate until a time, or until a release. One that stands in the turns has its turn first.
func (s *Scheduler) shut(g *gate, until time.Time) {
	if g.open {
		return
	}
	g.until = until
	s.gates.untime(g)
	if !until.IsZero() {
		heap.Push(&s.gates.timed, g)
		s.lookBy(until)
	}
}

// take hands out a job of the first lane that may go. A lane whose site may not goes back to its site's turns, so
// that it keeps nobody waiting here.
func (g *gate) take(s *Scheduler) (*Job, bool) {
	for !g.turns.empty() {
		p := g.turns.first()
		l := p.lane()
		if at := l.queue.site; at.full() || s.greedy(at) {
			g.turns.remove(p)
			s.run(l)
			continue
		}
		job, wait := s.launch(l)
		switch {
		case job != nil:
			g.turns.launched(p)
			return job, s.settleGate(g)
		case wait.Bucket == g.bucket && !s.expelled.wants(wait):
			g.open = false
			s.shut(g, wait.Until)
			return nil, false
		}
		g.turns.remove(p)
		s.hold(l, wait)
	}
	return nil, s.settleGate(g)
}

// pace has a gate asked whatever is kept for quick sites: its lanes are of several.
func (g *gate) pace(*Scheduler) pace { return quick }

// settleGate drops a gate that nobody waits at, and says whether it stays open.
func (s *Scheduler) settleGate(g *gate) bool {
	if !g.turns.empty() {
		return true
	}
	g.open = false
	delete(s.gates.byBucket, g.bucket)
	return false
}

// openGate gives a gate the next turn.
func (s *Scheduler) openGate(g *gate) {
	s.gates.untime(g)
	if !g.open {
		g.open = true
		s.turns[g.pace(s)].pushFront(g)
	}
}

// released opens the gate of those who wait for a lease in a bucket.
func (s *Scheduler) released(b rate.Bucket) {
	if g := s.gates.byBucket[b]; g != nil && g.until.IsZero() {
		s.openGate(g)
	}
}

// openDue opens the gates whose time has come.
func (s *Scheduler) openDue(now time.Time) {
	for len(s.gates.timed) > 0 && !s.gates.timed[0].until.After(now) {
		s.openGate(s.gates.timed[0])
	}
}

func (s *Scheduler) openAll() {
	for _, g := range s.gates.byBucket {
		s.openGate(g)
	}
}

// untime takes a gate out of the heap of times.
func (gs *gates) untime(g *gate) {
	if g.index >= 0 {
		heap.Remove(&gs.timed, g.index)
	}
}

// timedGates is a heap: the gate that opens first is at the top.
type timedGates []*gate

func (t timedGates) Len() int           { return len(t) }
func (t timedGates) Less(i, j int) bool { return t[i].until.Before(t[j].until) }
func (t timedGates) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].index, t[j].index = i, j
}

func (t *timedGates) Push(g any) {
	g.(*gate).index = len(*t)
	*t = append(*t, g.(*gate))
}

func (t *timedGates) Pop() any {
	last := len(*t) - 1
	g := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	g.index = -1
	return g
}
