package verify

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// key names an answer; without an address it is about the whole site.
type key struct{ site, address string }

// answers are kept until they expire. When there are too many, the one not used for longest goes.
type answers struct {
	most int

	mu    sync.Mutex
	byKey map[key]*list.Element
	used  *list.List // of *kept, the latest first
}

type kept struct {
	key     key
	answer  answer
	expires time.Time
}

func newAnswers(most int) *answers {
	return &answers{most: most, byKey: map[key]*list.Element{}, used: list.New()}
}

func (a *answers) get(k key, now time.Time) (answer, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.byKey[k]
	if e == nil || !now.Before(e.Value.(*kept).expires) {
		return answer{}, false
	}
	a.used.MoveToFront(e)
	return e.Value.(*kept).answer, true
}

func (a *answers) put(k key, given answer, expires time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e := a.byKey[k]; e != nil {
		a.used.Remove(e)
	}
	a.byKey[k] = a.used.PushFront(&kept{k, given, expires})
	if len(a.byKey) > a.most {
		oldest := a.used.Back()
		a.used.Remove(oldest)
		delete(a.byKey, oldest.Value.(*kept).key)
	}
}

// slots bound what is done at the same time for each name.
type slots struct {
	most int

	mu     sync.Mutex
	byName map[string]*slot
}

type slot struct {
	taken chan struct{}
	users int // that hold one or wait for one
}

func newSlots(most int) *slots { return &slots{most: most, byName: map[string]*slot{}} }

// take waits for a slot until ctx is done, and says whether there was one.
func (s *slots) take(ctx context.Context, name string) (release func(), ok bool) {
	at := s.join(name)
	select {
	case at.taken <- struct{}{}:
		return func() {
			<-at.taken
			s.leave(name)
		}, true
	case <-ctx.Done():
		s.leave(name)
		return nil, false
	}
}

func (s *slots) join(name string) *slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.byName[name]
	if at == nil {
		at = &slot{taken: make(chan struct{}, s.most)}
		s.byName[name] = at
	}
	at.users++
	return at
}

func (s *slots) leave(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.byName[name]
	if at.users--; at.users == 0 {
		delete(s.byName, name)
	}
}
