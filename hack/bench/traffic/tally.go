package traffic

import (
	"context"
	"fmt"
	"sync"
)

// tally counts what arrives, and wakes who waits for so much.
type tally struct {
	mu      sync.Mutex
	count   Arrived
	waiters []waiter
}

type waiter struct {
	messages int
	there    chan struct{}
}

func (t *tally) add(a Arrived) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count.Messages += a.Messages
	t.count.Recipients += a.Recipients
	t.count.Octets += a.Octets
	t.count.Refused += a.Refused
	t.count.Connections += a.Connections
	if t.waiters != nil {
		t.wake()
	}
}

// wake is called under the lock.
func (t *tally) wake() {
	var rest []waiter
	for _, w := range t.waiters {
		if t.count.Messages >= w.messages {
			close(w.there)
		} else {
			rest = append(rest, w)
		}
	}
	t.waiters = rest
}

func (t *tally) get() Arrived {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count
}

func (t *tally) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count = Arrived{}
}

func (t *tally) wait(ctx context.Context, messages int) error {
	w := waiter{messages, make(chan struct{})}
	t.mu.Lock()
	t.waiters = append(t.waiters, w)
	t.wake()
	t.mu.Unlock()
	select {
	case <-w.there:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d messages have arrived of %d: %w", t.get().Messages, messages, context.Cause(ctx))
	}
}
