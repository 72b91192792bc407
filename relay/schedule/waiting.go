package schedule

import "time"

// Reason is why mail in memory has not been attempted yet.
type Reason string

const (
	Ready       Reason = "Ready"       // may go at any moment
	InFlight    Reason = "InFlight"    // an attempt is running
	Stalled     Reason = "Stalled"     // an attempt is running for longer than any may
	RateLimited Reason = "RateLimited" // a rate policy binds
)

// Waiting says why mail for a destination waits.
type Waiting struct {
	Reason Reason
	// Policy is the one that binds; empty but for RateLimited.
	Policy string
	// Since is when the reason began to hold.
	Since time.Time
}

// Waiting says, for each destination domain in memory, why its mail waits. Of several reasons, an attempt that is stalled comes first, a limit that binds
// before an attempt in flight, that before being ready; of equal ones the oldest. Destinations that are
// only on disk are not in it.
func (s *Scheduler) Waiting() map[string]Waiting {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]Waiting{}
	for _, at := range s.sites {
		for _, q := range at.queues {
			for domain, l := range q.lanes {
				explain(all, domain, l.waiting())
			}
		}
	}
	for job := range s.flights {
		explain(all, job.Key.Domain, job.waiting())
	}
	for p, r := range s.routes.byPair {
		if r.waits() {
			explain(all, p.domain, Waiting{Reason: Ready, Since: r.since})
		}
	}
	return all
}

func (j *Job) waiting() Waiting {
	if j.stalled {
		return Waiting{Reason: Stalled, Since: j.began}
	}
	return Waiting{Reason: InFlight, Since: j.began}
}

func (l *lane) waiting() Waiting {
	if l.gated {
		return Waiting{Reason: RateLimited, Policy: l.limited.Policy, Since: l.since}
	}
	return Waiting{Reason: Ready, Since: l.since}
}

// explain keeps the reason that says most.
func explain(all map[string]Waiting, domain string, w Waiting) {
	before, known := all[domain]
	if !known || rank(w.Reason) > rank(before.Reason) ||
		w.Reason == before.Reason && w.Since.Before(before.Since) {
		all[domain] = w
	}
}

func rank(r Reason) int {
	switch r {
	case Stalled:
		return 3
	case RateLimited:
		return 2
	case InFlight:
		return 1
	default:
		return 0
	}
}
