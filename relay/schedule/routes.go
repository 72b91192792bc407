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
	known   bool
	expires time.Time
	asking  bool
	since   time.Time // asking
	entries []*entry
	// missed says that more wait on disk.
	missed bool
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
func (s *Scheduler) offer(k envelope.Key, sender string, from spool.Cursor, refill *tenant) *tenant {
	if _, stale := s.ended[k]; stale || s.entries[k] != nil {
		return nil
	}
	e := &entry{key: k, sender: sender}
	r := s.route(pair{sender, k.Domain})
	if !r.known {
		s.await(r, e)
		return nil
	}
	t := s.tenant(r.site, sender)
	if t.behind && t != refill || !s.room(t.ready) {
		s.miss(t, from)
		return t
	}
	s.put(t, e)
	s.waiting++
	return nil
}

// route finds the answer for a pair, and asks for it when it is not known or old.
func (s *Scheduler) route(p pair) *route {
	now := s.o.Now()
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
	if !s.room(len(r.entries)) {
		r.missed = true
		return
	}
	r.entries = append(r.entries, e)
	s.entries[e.key] = e
	s.waiting++
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
		if at := s.site(ctx, r.pair); ctx.Err() == nil {
			s.answered(r, at)
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

func (s *Scheduler) site(ctx context.Context, p pair) string {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	return s.o.Site(ctx, p.sender, p.domain)
}

// answered makes those ready who waited for their site.
func (s *Scheduler) answered(r *route, at string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.site, r.known, r.asking, r.expires = at, true, false, s.o.Now().Add(routeLife)
	t := s.tenant(at, r.pair.sender)
	for _, e := range r.entries {
		if t.behind || !s.room(t.ready) {
			delete(s.entries, e.key)
			s.waiting--
			s.miss(t, spool.Cursor{})
			continue
		}
		s.put(t, e)
	}
	if r.missed {
		s.miss(t, spool.Cursor{})
	}
	s.dropTenant(t)
	r.entries, r.missed = nil, false
	s.dispatch()
}
