package schedule

import (
	"time"

	"github.com/postrider/postrider/relay/envelope"
)

// Reason says why an entry waits; false when it is on disk alone: not due yet, or without room in its queue.
func (s *Scheduler) Reason(k envelope.Key) (Waiting, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[k]
	switch {
	case e == nil:
		return Waiting{}, false
	case e.flying:
		return s.flight(k), true
	}
	if l := s.laneOf(e.of, k.Domain); l != nil {
		return l.waiting(), true
	}
	r := s.routes.byPair[pair{e.of.tenant, k.Domain}]
	if r == nil {
		return Waiting{Reason: Ready, Since: time.Now()}, true
	}
	return Waiting{Reason: Ready, Since: r.since}, true // its site is being asked for
}

// flight says how the attempt of an entry goes.
func (s *Scheduler) flight(k envelope.Key) Waiting {
	for job := range s.flights {
		if job.Key == k {
			return job.waiting()
		}
	}
	return Waiting{Reason: InFlight, Since: time.Now()}
}

// Opens is when the limit that holds up mail like an entry is asked again; zero when that depends on other mail, or when
// no limit does.
func (s *Scheduler) Opens(e *envelope.Envelope) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.laneOf(of{e.SenderDomain(), e.Class()}, e.Domain)
	if l == nil || !l.gated {
		return time.Time{}
	}
	if g := s.gates.byBucket[l.limited]; g != nil {
		return g.until
	}
	return time.Time{}
}

// laneOf finds a lane; nil when there is none. Where it is, the latest answer to where such mail goes mostly tells.
func (s *Scheduler) laneOf(o of, domain string) *lane {
	if r := s.routes.byPair[pair{o.tenant, domain}]; r != nil {
		if l := s.sites[r.site].lane(o, domain); l != nil {
			return l
		}
	}
	for _, at := range s.sites {
		if l := at.lane(o, domain); l != nil {
			return l
		}
	}
	return nil
}

func (t *site) lane(o of, domain string) *lane {
	if t == nil || t.queues[o] == nil {
		return nil
	}
	return t.queues[o].lanes[domain]
}
