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
}

func newBook() *book { return &book{acknowledged: map[string]bool{}, arrivals: map[string]int{}} }

// acknowledge notes a 250: all of these addresses must arrive.
func (b *book) acknowledge(addresses []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range addresses {
		b.acknowledged[a] = true
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

// close reckons up.
func (b *book) close(r *Result) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.Acknowledged = len(b.acknowledged)
	for a := range b.acknowledged {
		if b.arrivals[a] == 0 {
			r.Lost = append(r.Lost, a)
		} else {
			r.Arrived++
		}
	}
	slices.Sort(r.Lost)
	for a, n := range b.arrivals {
		r.Duplicates += n - 1
		if !b.acknowledged[a] {
			r.Unacknowledged++
		}
	}
}
