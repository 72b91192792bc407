package crash

import (
	"slices"
	"sync"
)

// book holds, for each recipient address that must reach the sink, whether its message was answered 250 and how
// often it came.
type book struct {
	mu           sync.Mutex
	acknowledged map[string]bool
	arrivals     map[string]int
	// bounces are the addresses that a DSN must reach.
	bounces map[string]bool
}

func newBook() *book {
	return &book{acknowledged: map[string]bool{}, arrivals: map[string]int{}, bounces: map[string]bool{}}
}

// acknowledge notes a 250: all of these addresses must arrive.
func (b *book) acknowledge(m message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range m.expect {
		b.acknowledged[a] = true
		b.bounces[a] = a == m.from
	}
}

func (b *book) arrived(address string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.arrivals[address]++
}

func (b *book) acknowledgedCount() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.acknowledged)
}

// close reckons up. Nothing is queued any more.
func (b *book) close(r *Result) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.Accepted = len(b.acknowledged)
	for a := range b.acknowledged {
		switch {
		case b.arrivals[a] == 0:
			r.Lost++
			r.Missing = append(r.Missing, a)
		case b.bounces[a]:
			r.Bounced++
		default:
			r.Delivered++
		}
	}
	slices.Sort(r.Missing)
	for a, n := range b.arrivals {
		r.Duplicated += n - 1
		if !b.acknowledged[a] {
			r.Unacknowledged++
		}
	}
}
