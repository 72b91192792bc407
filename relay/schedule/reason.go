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
		return Waiting{Reason: InFlight, Since: s.launched(k)}, true
	}
	if l := s.laneOf(e.sender, k.Domain); l != nil {
		return l.waiting(), true
	}
	r := s.routes.byPair[pair{e.sender, k.Domain}]
	if r == nil {
		return Waiting{Reason: Ready, Since: s.o.Now()}, true
	}
	return Waiting{Reason: Ready, Since: r.since}, true // its site is being asked for
}

// launched is when the job of an entry was handed out.
func (s *Scheduler) launched(k envelope.Key) time.Time {
	for job := range s.flights {
		if job.Key == k {
			return job.began
		}
	}
	return s.o.Now()
}

// Opens is when the limit that holds up mail of a sender domain for a domain is asked again; zero when that depends on
// other mail, or when no limit does.
func (s *Scheduler) Opens(senderDomain, domain string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.laneOf(senderDomain, domain)
	if l == nil || !l.gated {
		return time.Time{}
	}
	if g := s.gates.byBucket[l.limited]; g != nil {
		return g.until
	}
	return time.Time{}
}

// laneOf finds a lane; nil when there is none. Where it is, the latest answer to where such mail goes mostly tells.
func (s *Scheduler) laneOf(sender, domain string) *lane {
	if r := s.routes.byPair[pair{sender, domain}]; r != nil {
		if l := s.sites[r.site].lane(sender, domain); l != nil {
			return l
		}
	}
	for _, at := range s.sites {
		if l := at.lane(sender, domain); l != nil {
			return l
		}
	}
	return nil
}

func (t *site) lane(sender, domain string) *lane {
	if t == nil || t.tenants[sender] == nil {
		return nil
	}
	return t.tenants[sender].lanes[domain]
}
