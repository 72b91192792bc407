package schedule

import (
	"time"

	"github.com/postrider/postrider/relay/envelope"
)

const (
	// watch is how often attempts in flight are looked at.
	watch = time.Second
	// quickly is how soon an attempt ends at a site that is quick.
	quickly = 5 * time.Second
	// maxPaces is how many sites' pace is remembered.
	maxPaces = 10_000
)

// pace is how long attempts at a site hold their slots, judged by the latest. It is remembered while nothing waits for
// the site.
type pace uint8

const (
	unknown pace = iota
	quick
	slow
	paceCount
)

func (t *site) pace(s *Scheduler) pace { return s.paces[t.name] }

// free is how many attempts may still begin.
func (s *Scheduler) free() int { return s.o.MaxInFlight - len(s.flights) + s.stalled }

// greedy says that the site would hold more slots than it leaves free to others, or one of those that are kept for
// quicker ones: however many sites are slow, they never hold all. The first attempt at a site needs less left over.
func (s *Scheduler) greedy(t *site) bool {
	free, reserve := s.free(), s.reserve(t.pace(s))
	if t.flying == 0 {
		reserve /= 2
	}
	return t.flying >= free || free <= reserve
}

// reserve is how many slots sites of a pace leave to quicker ones.
func (s *Scheduler) reserve(p pace) int {
	switch p {
	case quick:
		return 0
	case slow:
		return s.o.MaxInFlight / 4
	default:
		return s.o.MaxInFlight / 8
	}
}

// remember keeps the pace of a site.
func (s *Scheduler) remember(siteName string, p pace) {
	if _, known := s.paces[siteName]; !known && len(s.paces) >= maxPaces {
		clear(s.paces) // what matters is soon known again
	}
	s.paces[siteName] = p
}

// watchFlights looks at the attempts in flight: where one lingers its site is slow, and one that does not end is stalled.
func (s *Scheduler) watchFlights() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Sub(s.watched) < watch {
		return
	}
	s.watched = now
	for job := range s.flights {
		age := now.Sub(job.began)
		if age >= quickly {
			s.remember(job.Site, slow)
		}
		if s.o.Stall > 0 && age >= s.o.Stall && !job.stalled {
			s.stall(job)
		}
	}
}

// stall gives the slot and the lease of an attempt to others that runs longer than any may. Its entry stays in flight,
// so that it is not attempted twice at once, until Done is called after all, or until the process ends.
func (s *Scheduler) stall(job *Job) {
	job.stalled = true
	s.stalled++
	s.disconnect(job)
	s.dispatch()
	if s.o.Stalled != nil {
		s.o.Stalled(job)
	}
}

// Stalls is how many attempts run longer than any may.
func (s *Scheduler) Stalls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stalled
}

// ReadyByClass is how many entries of each class are in memory and wait for their attempt.
func (s *Scheduler) ReadyByClass() [envelope.Classes]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting
}
