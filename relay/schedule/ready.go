package schedule

import (
	"time"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/rate"
)

// source hands out jobs in its turn.
type source interface {
	// take hands out one job, or none, and says whether the source wants another turn.
	take(s *Scheduler) (job *Job, again bool)
	pace(s *Scheduler) pace
}

// site is where mail of several domains goes: one pool of connections.
type site struct {
	name   string
	queues map[of]*queue
	// turns are the lanes that wait for no gate.
	turns  turns
	flying int
	limit  int // of flying
	// ceiling is a bound below limit; 0 for none. See Scheduler.Limit.
	ceiling int
	queued  bool // in the scheduler's turns
}

// of is whose a queue is: a tenant is the sender domain, empty for mail that has none.
type of struct {
	tenant string
	class  envelope.Class
}

// queue is a ready queue: the mail of one class of a tenant at a site. Its lanes are by destination domain, so that
// everything in a lane is counted alike and a limit on one destination holds up no other.
type queue struct {
	of
	site  *site
	lanes map[string]*lane
	ready int // entries in its lanes
	backlog
}

// lane is the mail in a queue for a destination domain.
type lane struct {
	queue   *queue
	domain  string
	hosts   []string // the MX hosts of the domain
	entries deque[*entry]
	// since is when it began to be ready, or when it was first held up by limited.
	since   time.Time
	limited rate.Bucket
	gated   bool // in a gate, else in its site's turns
}

func (l *lane) subject() rate.Subject {
	return rate.Subject{Site: l.queue.site.name, MXHosts: l.hosts, DestinationDomain: l.domain, SenderDomain: l.queue.tenant}
}

// pick takes turns over the paces until one has a job.
func (s *Scheduler) pick() *Job {
	for range s.turns {
		s.turn = (s.turn + 1) % paceCount
		if job := s.pickAt(s.turn); job != nil {
			return job
		}
	}
	return nil
}

// pickAt takes turns over sites and open gates of a pace until one has a job.
func (s *Scheduler) pickAt(p pace) *Job {
	turns := &s.turns[p]
	for n := turns.len(); n > 0 && s.free() > s.reserve(p)/2; n-- {
		src := turns.pop()
		job, again := src.take(s)
		if again {
			s.turns[src.pace(s)].pushBack(src)
		}
		if job != nil {
			return job
		}
	}
	return nil
}

// full says that no attempt may begin at the site before one ends there.
func (t *site) full() bool {
	return t.flying >= t.limit || t.ceiling > 0 && t.flying >= t.ceiling
}

// take hands out a job of the next lane that no limit holds up. The others go to the gates that do.
func (t *site) take(s *Scheduler) (*Job, bool) {
	if s.greedy(t) && !t.full() {
		return nil, true
	}
	for !t.full() && !t.turns.empty() {
		p := t.turns.first()
		l := p.lane()
		job, wait := s.launch(l)
		if job == nil {
			t.turns.remove(p)
			s.hold(l, wait)
			continue
		}
		l.limited = rate.Bucket{}
		t.turns.launched(p)
		t.queued = !t.turns.empty()
		return job, t.queued
	}
	t.queued = false
	return nil, false
}

// launch hands out the first entry of a lane, if the limits let it go.
func (s *Scheduler) launch(l *lane) (*Job, *rate.Wait) {
	lease, wait := s.o.Limiter.Acquire(l.subject())
	if wait != nil {
		return nil, wait
	}
	e := l.entries.pop()
	e.flying = true
	q := l.queue
	q.ready--
	q.launched++
	s.waiting[q.class]--
	q.site.flying++
	job := &Job{Key: e.key, Site: q.site.name, SenderDomain: q.tenant, lane: l, lease: lease, began: time.Now()}
	s.flights[job] = struct{}{}
	if l.entries.len() == 0 {
		delete(q.lanes, l.domain)
	}
	s.refillIfLow(q)
	s.dropQueue(q)
	return job, nil
}

// put makes an entry ready, whose domain has these MX hosts.
func (s *Scheduler) put(q *queue, e *entry, hosts []string) {
	s.entries[e.key] = e
	l := q.lanes[e.key.Domain]
	if l == nil {
		l = s.open(q, e.key.Domain, hosts)
	}
	l.hosts = hosts
	l.entries.pushBack(e)
	q.ready++
}

// queue finds a queue, or makes it.
func (s *Scheduler) queue(siteName string, o of) *queue {
	at := s.sites[siteName]
	if at == nil {
		at = &site{name: siteName, queues: map[of]*queue{}, ceiling: s.ceilings[siteName]}
		s.sites[siteName] = at
	}
	q := at.queues[o]
	if q == nil {
		q = &queue{of: o, site: at, lanes: map[string]*lane{}}
		at.queues[o] = q
	}
	return q
}

// open makes a lane.
func (s *Scheduler) open(q *queue, domain string, hosts []string) *lane {
	l := &lane{queue: q, domain: domain, hosts: hosts, since: time.Now()}
	q.lanes[domain] = l
	q.site.limit = max(q.site.limit, s.connections(l))
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
	for _, q := range t.queues {
		for _, l := range q.lanes {
			t.limit = max(t.limit, s.connections(l))
		}
	}
}

// run gives a lane its turns.
func (s *Scheduler) run(l *lane) {
	l.gated = false
	l.queue.site.turns.push(l, s.weight(l))
	s.enqueue(l.queue.site)
}

// weight is that of a lane's tenant, at least 1.
func (s *Scheduler) weight(l *lane) int { return max(1, s.o.Weight(l.queue.tenant)) }

// enqueue gives a site its turns, if it may have use for them.
func (s *Scheduler) enqueue(t *site) {
	if !t.queued && !t.turns.empty() && !t.full() {
		t.queued = true
		s.turns[t.pace(s)].pushBack(t)
	}
}

// dropQueue forgets a queue that is empty, in memory and on disk.
func (s *Scheduler) dropQueue(q *queue) {
	if q.ready == 0 && !q.behind && q.site.queues[q.of] == q {
		delete(q.site.queues, q.of)
		s.dropSite(q.site)
	}
}

// dropSite forgets a site at which there is nothing.
func (s *Scheduler) dropSite(t *site) {
	if len(t.queues) == 0 && t.flying == 0 && s.sites[t.name] == t {
		delete(s.sites, t.name)
	}
}
