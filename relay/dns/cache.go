package dns

import (
	"container/list"
	"sync"
	"time"
)

// cache keeps answers until they expire. When it is full, the one not used for longest goes.
type cache struct {
	mu      sync.Mutex
	size    int
	entries map[question]*list.Element
	used    *list.List // of *cached, the latest first
}

type cached struct {
	question question
	answer   answer
	expires  time.Time
}

func newCache(size int) *cache {
	return &cache{size: size, entries: make(map[question]*list.Element), used: list.New()}
}

func (c *cache) get(q question, now time.Time) (answer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[q]
	if !ok {
		return answer{}, false
	}
	kept := e.Value.(*cached)
	if !now.Before(kept.expires) {
		c.remove(e)
		return answer{}, false
	}
	c.used.MoveToFront(e)
	return kept.answer, true
}

func (c *cache) put(q question, a answer, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[q]; ok {
		c.remove(e)
	}
	c.entries[q] = c.used.PushFront(&cached{q, a, now.Add(a.ttl)})
	for len(c.entries) > c.size {
		c.remove(c.used.Back())
	}
}

func (c *cache) remove(e *list.Element) {
	delete(c.entries, e.Value.(*cached).question)
	c.used.Remove(e)
}
