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

// route is the answer to where a pair's mail goes, or the question, with those who wait for it.
type route struct {
	pair    pair
	site    string
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

// offer takes an entry read from disk into memory, if it is not there and there is room. When there is none it stays
// on disk, its queue remembers that there is more from the cursor on, and is returned.
func (s *Scheduler) offer(k envelope.Key, sender string, from spool.Cursor) *tenant {
	if _, stale := s.ended[k]; stale || s.entries[k] != nil {
		return nil
	}
	e := &entry{key: k, sender: sender}
	r := s.route(pair{sender, k.Domain})
	if r.asking {
		s.await(r, e)
		return nil
	}
	t, ok := s.put(e, r.site)
	if !ok {
		s.miss(t, from)
		return t
	}
	s.entries[k] = e
	s.waiting++
	return nil
}

// offerNew is offer for an entry that was stored just now. It does not overtake what its queue has on disk.
func (s *Scheduler) offerNew(k envelope.Key, sender string) {
	r := s.route(pair{sender, k.Domain})
	if !r.asking {
		if t := s.tenant(r.site, sender); t.behind {
			s.miss(t, t.from)
			return
		}
	}
	delete(s.ended, k) // whatever was read of it before, this is how it is now
	s.offer(k, sender, spool.Cursor{})
}

// route finds the answer for a pair, or asks for it.
func (s *Scheduler) route(p pair) *route {
	now := s.o.Now()
	r := s.routes.byPair[p]
	if r != nil && (r.asking || now.Before(r.expires)) {
		return r
	}
	s.routes.trim(now)
	r = &route{pair: p, asking: true, since: now}
	s.routes.byPair[p] = r
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

// answer works on questions until there are none.
func (s *Scheduler) answer(ctx context.Context) {
	for {
		s.mu.Lock()
		if s.routes.ask.len() == 0 || ctx.Err() != nil {
			s.routes.active--
			s.mu.Unlock()
			return
		}
		r := s.routes.ask.pop()
		s.mu.Unlock()
		s.answered(r, s.site(ctx, r.pair))
	}
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
	r.site, r.asking, r.expires = at, false, s.o.Now().Add(routeLife)
	if r.missed {
		s.miss(s.tenant(at, r.pair.sender), spool.Cursor{})
	}
	for _, e := range r.entries {
		if t, ok := s.put(e, at); !ok {
			delete(s.entries, e.key)
			s.waiting--
			s.miss(t, spool.Cursor{})
		}
	}
	r.entries, r.missed = nil, false
	s.dispatch()
}
