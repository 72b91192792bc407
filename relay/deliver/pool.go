package deliver

import (
	"bufio"
	"container/list"
	"io"
	"sync"
	"time"
)

// pool keeps connections that wait for another message. The one used last is taken first, so that those not needed
// any more grow old.
type pool struct {
	max  int
	idle time.Duration

	mu     sync.Mutex
	byKey  map[key][]*conn
	oldest *list.List // of *conn
}

func newPool(limit int, idle time.Duration) *pool {
	return &pool{max: limit, idle: idle, byKey: make(map[key][]*conn), oldest: list.New()}
}

// take returns a connection that waits, or nil.
func (p *pool) take(k key) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	waiting := p.byKey[k]
	if len(waiting) == 0 {
		return nil
	}
	c := waiting[len(waiting)-1]
	p.remove(c)
	c.expiry.Stop()
	c.reused = true
	return c
}

// put lets a connection wait. It ends when nobody takes it in time, or when it is the oldest of too many.
func (p *pool) put(c *conn) {
	if surplus := p.add(c); surplus != nil {
		surplus.expiry.Stop()
		surplus.quit()
	}
}

func (p *pool) add(c *conn) (surplus *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.byKey[c.key] = append(p.byKey[c.key], c)
	c.place = p.oldest.PushBack(c)
	c.expiry = time.AfterFunc(p.idle, func() { p.expire(c) })
	if p.oldest.Len() <= p.max {
		return nil
	}
	surplus = p.oldest.Front().Value.(*conn)
	p.remove(surplus)
	return surplus
}

// expire ends a connection unless it has been taken in the meantime.
func (p *pool) expire(c *conn) {
	p.mu.Lock()
	waiting := c.place != nil
	if waiting {
		p.remove(c)
	}
	p.mu.Unlock()
	if waiting {
		c.quit()
	}
}

// remove takes a connection out of the books.
func (p *pool) remove(c *conn) {
	p.oldest.Remove(c.place)
	c.place = nil
	waiting := p.byKey[c.key]
	for i, other := range waiting {
		if other == c {
			waiting = append(waiting[:i], waiting[i+1:]...)
			break
		}
	}
	if len(waiting) == 0 {
		delete(p.byKey, c.key)
	} else {
		p.byKey[c.key] = waiting
	}
}

func (p *pool) closeAll() {
	p.mu.Lock()
	var all []*conn
	for p.oldest.Len() > 0 {
		c := p.oldest.Front().Value.(*conn)
		p.remove(c)
		c.expiry.Stop()
		all = append(all, c)
	}
	p.mu.Unlock()
	for _, c := range all {
		c.quit()
	}
}

// Sizes of buffers, in octets. A message of 4 KiB goes out in one piece; one of a block, in one flight.
const (
	readSize   = 4 << 10
	writeSize  = 8 << 10
	streamSize = 32 << 10
	blockSize  = 64 << 10
)

// block has room for one octet too many, by which a message that is longer than it should be is found out.
type block [blockSize + 1]byte

// buffers are kept for the next connection and the next message.
type buffers struct{ readers, writers, blocks sync.Pool }

func newBuffers() *buffers {
	return &buffers{
		readers: sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readSize) }},
		writers: sync.Pool{New: func() any { return bufio.NewWriterSize(io.Discard, writeSize) }},
		blocks:  sync.Pool{New: func() any { return new(block) }},
	}
}
