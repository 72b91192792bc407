package schedule

import (
	"context"
	"time"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/spool"
)

const (
	// routeLife is how long the answer to where mail goes is used.
	routeLife = 30 * time.Second
	// maxRoutes is how many answers are kept.
	maxRoutes = 20_000
	// maxAsking is how many questions are asked at the same time.
	maxAsking = 64
	// answerTime is how long an answer may take; the domain then is its own site.
	answerTime = 10 * time.Second
)

// pair is what a site depends on.
type pair struct{ sender, domain string }

// route is the answer to where a pair's mail goes, and the question, with those who wait for the first answer. An
// old answer serves until the new one is there.
type route struct {
	pair    pair
	site    string
	hosts   []string // the domain's MX hosts
	known   bool
	expires time.Time
	asking  bool
	since   time.Time // asking
	entries [envelope.Classes][]*entry
	// missed says that more wait on disk.
	missed [envelope.Classes]bool
}

// routes are the answers known and the questions to ask.
type routes struct {
	byPair map[pair]*route
	// ask are questions that nobody works on yet.
	ask    deque[*route]
	active int
}

func newRoutes() routes { return routes{byPair: map[pair]*route{}} }

// expire makes every answer asked for again.
func (r *routes) expire() {
	for p, known := range r.byPair {
		if !known.asking {
			delete(r.byPair, p)
		}
	}
}

// trim keeps the memory for answers within its bound.
func (r *routes) trim(now time.Time) {
	if len(r.byPair) < maxRoutes {
		return
	}
	for p, known := range r.byPair {
		if !known.asking && known.expires.Before(now) {
			delete(r.byPair, p)
		}
	}
	if len(r.byPair) > maxRoutes/2 {
		r.expire()
	}
}

// offer takes an entry into memory, if it is not there and there is room. When there is none it stays on disk, and its
// queue, which is returned, remembers that there is more from the cursor on. A queue that has more on disk takes
// entries only in its refill, in the order in which they are due.
func (s *Scheduler) offer(k envelope.Key, o of, from spool.Cursor, refill *queue) *queue {
	if _, stale := s.ended[k]; stale || s.entries[k] != nil {
		return nil
	}
	e := &entry{key: k, of: o}
	r := s.route(pair{o.tenant, k.Domain})
	if !r.known {
		s.await(r, e)
		return nil
	}
	q := s.queue(r.site, o)
	if q.behind && q != refill || !s.room(o.class, q.ready) {
		s.miss(q, from)
		return q
	}
	s.put(q, e, r.hosts)
	s.waiting[o.class]++
	return nil
}

// route finds the answer for a pair, and asks for it when it is not known or old.
func (s *Scheduler) route(p pair) *route {
	now := time.Now()
	r := s.routes.byPair[p]
	if r != nil && (r.asking || now.Before(r.expires)) {
		return r
	}
	if r == nil {
		s.routes.trim(now)
		r = &route{pair: p}
		s.routes.byPair[p] = r
	}
	r.asking, r.since = true, now
	s.routes.ask.pushBack(r)
	s.look()
	return r
}

// await lets an entry wait for its site.
func (s *Scheduler) await(r *route, e *entry) {
	c := e.of.class
	if !s.room(c, len(r.entries[c])) {
		r.missed[c] = true
		return
	}
	r.entries[c] = append(r.entries[c], e)
	s.entries[e.key] = e
	s.waiting[c]++
}

// startAsking has questions answered, so many at a time. start runs a function in a goroutine of Run.
func (s *Scheduler) startAsking(ctx context.Context, start func(func())) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.routes.active < maxAsking && s.routes.ask.len() > s.routes.active {
		s.routes.active++
		start(func() { s.answer(ctx) })
	}
}

// answer works on questions until there are none, or until ctx is done: an answer that was cut off is none.
func (s *Scheduler) answer(ctx context.Context) {
	for r := s.question(ctx); r != nil; r = s.question(ctx) {
		if at, hosts := s.site(ctx, r.pair); ctx.Err() == nil {
			s.answered(r, at, hosts)
		}
	}
}

// question is the next one for this goroutine; nil when it may end.
func (s *Scheduler) question(ctx context.Context) *route {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.routes.ask.len() == 0 || ctx.Err() != nil {
		s.routes.active--
		return nil
	}
	return s.routes.ask.pop()
}

func (s *Scheduler) site(ctx context.Context, p pair) (string, []string) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	return s.o.Site(ctx, p.sender, p.domain)
}

// answered makes those ready who waited for their site.
func (s *Scheduler) answered(r *route, at string, hosts []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.site, r.hosts, r.known, r.asking, r.expires = at, hosts, true, false, time.Now().Add(routeLife)
	for c := range envelope.Class(envelope.Classes) {
		s.settleAt(s.queue(at, of{r.pair.sender, c}), r)
	}
	s.dispatch()
}

// settleAt puts into a queue those of its class who waited for the answer.
func (s *Scheduler) settleAt(q *queue, r *route) {
	entries, missed := r.entries[q.class], r.missed[q.class]
	r.entries[q.class], r.missed[q.class] = nil, false
	for _, e := range entries {
		if q.behind || !s.room(q.class, q.ready) {
			delete(s.entries, e.key)
			s.waiting[q.class]--
			s.missBefore(q)
			continue
		}
		s.put(q, e, r.hosts)
	}
	if missed {
		s.missBefore(q)
	}
	s.dropQueue(q)
}

// waits says that somebody waits for the answer.
func (r *route) waits() bool {
	for c := range r.entries {
		if len(r.entries[c]) > 0 {
			return true
		}
	}
	return false
}
