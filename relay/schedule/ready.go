package schedule

import (
	"time"

	"github.com/postrider/postrider/relay/rate"
	"github.com/postrider/postrider/relay/spool"
)

// source hands out jobs in its turn.
type source interface {
	// take hands out one job, or none, and says whether the source wants another turn.
	take(s *Scheduler) (job *Job, again bool)
}

// site is where mail of several domains goes: one pool of connections.
type site struct {
	name    string
	tenants map[string]*tenant
	// turns are the tenants that have a lane which waits for no gate.
	turns  deque[*tenant]
	flying int
	limit  int // of flying
	// ceiling is a bound below limit; 0 for none. See Scheduler.Limit.
	ceiling int
	queued  bool
}

// tenant is a ready queue: the mail of one sender domain at a site. Its lanes are by destination domain, so that
// everything in a lane is counted alike and a limit on one destination holds up no other.
type tenant struct {
	name   string
	site   *site
	lanes  map[string]*lane
	turns  deque[*lane]
	queued bool
	ready  int // entries in its lanes
	backlog
}

// backlog is what found no room in a ready queue.
type backlog struct {
	// behind says that there is, or may be, more on disk, from the cursor on, and since when.
	behind bool
	from   spool.Cursor
	since  time.Time
	// missed counts what found no room, so that a refill knows what came while it read.
	missed int
	// excess counts what found no room in one scan.
	excess int
	// launched counts what has left the queue since.
	launched int
	// wanted says that a refill was asked for and has not begun.
	wanted bool
}

// lane is the mail of a sender domain for a destination domain at a site.
type lane struct {
	tenant *tenant
	domain string
	queue  deque[*entry]
	// since is when it began to be ready, or when it was first held up by limited.
	since   time.Time
	limited rate.Bucket
	gated   bool // in a gate, else in its tenant's turns
}

func (l *lane) subject() rate.Subject {
	return rate.Subject{Site: l.tenant.site.name, DestinationDomain: l.domain, SenderDomain: l.tenant.name}
}

// pick takes turns over sites and open gates until one has a job.
func (s *Scheduler) pick() *Job {
	for n := s.turns.len(); n > 0 && s.free() > 0; n-- {
		src := s.turns.pop()
		job, again := src.take(s)
		if again {
			s.turns.pushBack(src)
		}
		if job != nil {
			return job
		}
	}
	return nil
}

// free is how many attempts may still begin.
func (s *Scheduler) free() int { return s.o.MaxInFlight - len(s.flights) }

// full says that no attempt may begin at the site before one ends there.
func (t *site) full() bool {
	return t.flying >= t.limit || t.ceiling > 0 && t.flying >= t.ceiling
}

// greedy says that the site would hold more slots than it leaves free to others.
func (s *Scheduler) greedy(t *site) bool { return t.flying >= s.free() }

func (t *site) take(s *Scheduler) (*Job, bool) {
	if s.greedy(t) && !t.full() {
		return nil, true
	}
	for !t.full() && t.turns.len() > 0 {
		tenant := t.turns.pop()
		job := tenant.take(s)
		tenant.queued = tenant.turns.len() > 0
		if tenant.queued {
			t.turns.pushBack(tenant)
		}
		if job != nil {
			t.queued = t.turns.len() > 0
			return job, t.queued
		}
	}
	t.queued = false
	return nil, false
}

// take hands out a job of the next lane that no limit holds up. The others go to the gates that do.
func (t *tenant) take(s *Scheduler) *Job {
	for t.turns.len() > 0 {
		l := t.turns.pop()
		job, wait := s.launch(l)
		if job == nil {
			s.gate(l, wait)
			continue
		}
		l.limited = rate.Bucket{}
		if l.queue.len() > 0 {
			t.turns.pushBack(l)
		}
		return job
	}
	return nil
}

// launch hands out the first entry of a lane, if the limits let it go.
func (s *Scheduler) launch(l *lane) (*Job, *rate.Wait) {
	lease, wait := s.o.Limiter.Acquire(l.subject())
	if wait != nil {
		return nil, wait
	}
	e := l.queue.pop()
	e.flying = true
	t := l.tenant
	t.ready--
	t.launched++
	s.waiting--
	t.site.flying++
	job := &Job{Key: e.key, Site: t.site.name, SenderDomain: t.name, lane: l, lease: lease, began: s.o.Now()}
	s.flights[job] = struct{}{}
	if l.queue.len() == 0 {
		delete(t.lanes, l.domain)
	}
	s.refillIfLow(t)
	s.dropTenant(t)
	return job, nil
}

// room says whether a queue of that length may take another entry: within its own bound, and no longer than the
// room that it leaves to others.
func (s *Scheduler) room(length int) bool {
	return length < s.o.ReadyPerSite && length < s.o.MaxReady-s.waiting
}

// put makes an entry ready.
func (s *Scheduler) put(t *tenant, e *entry) {
	s.entries[e.key] = e
	l := t.lanes[e.key.Domain]
	if l == nil {
		l = s.open(t, e.key.Domain)
	}
	l.queue.pushBack(e)
	t.ready++
}

// tenant finds a queue, or makes it.
func (s *Scheduler) tenant(siteName, sender string) *tenant {
	at := s.sites[siteName]
	if at == nil {
		at = &site{name: siteName, tenants: map[string]*tenant{}, ceiling: s.ceilings[siteName]}
		s.sites[siteName] = at
	}
	t := at.tenants[sender]
	if t == nil {
		t = &tenant{name: sender, site: at, lanes: map[string]*lane{}}
		at.tenants[sender] = t
	}
	return t
}

// open makes a lane.
func (s *Scheduler) open(t *tenant, domain string) *lane {
	l := &lane{tenant: t, domain: domain, since: s.o.Now()}
	t.lanes[domain] = l
	t.site.limit = max(t.site.limit, s.connections(l))
	s.run(l)
	return l
}

// connections is how many the site may have for the lane's sake.
func (s *Scheduler) connections(l *lane) int {
	if n, ok := s.o.Limiter.Connections(l.subject()); ok {
		return n
	}
	return s.o.MaxConnectionsPerSite
}

// limitSite finds the site's limit anew.
func (s *Scheduler) limitSite(t *site) {
	t.limit = 0
	for _, tenant := range t.tenants {
		for _, l := range tenant.lanes {
			t.limit = max(t.limit, s.connections(l))
		}
	}
}

// run gives a lane its turns.
func (s *Scheduler) run(l *lane) {
	t := l.tenant
	l.gated = false
	t.turns.pushBack(l)
	if !t.queued {
		t.queued = true
		t.site.turns.pushBack(t)
	}
	s.enqueue(t.site)
}

// enqueue gives a site its turns, if it may have use for them.
func (s *Scheduler) enqueue(t *site) {
	if !t.queued && t.turns.len() > 0 && !t.full() {
		t.queued = true
		s.turns.pushBack(t)
	}
}

// dropTenant forgets a queue that is empty, in memory and on disk.
func (s *Scheduler) dropTenant(t *tenant) {
	if t.ready == 0 && !t.behind && t.site.tenants[t.name] == t {
		delete(t.site.tenants, t.name)
		s.dropSite(t.site)
	}
}

// dropSite forgets a site at which there is nothing.
func (s *Scheduler) dropSite(t *site) {
	if len(t.tenants) == 0 && t.flying == 0 && s.sites[t.name] == t {
		delete(s.sites, t.name)
	}
}
