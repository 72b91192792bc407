package schedule

// free is how many attempts may still begin.
func (s *Scheduler) free() int { return s.o.MaxInFlight - len(s.flights) }

// greedy says that the site would hold more slots than it leaves free to others.
func (s *Scheduler) greedy(t *site) bool { return t.flying >= s.free() }
