package sendingdomain

import (
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// memory is what the operator remembers of a domain between two looks. It can be lost at any time.
type memory struct {
	// about is what the last look was about.
	about string
	// next is when to look again.
	next time.Time
	// amiss is since when a record is not as it should be; zero while all are.
	amiss time.Time
	// failures counts look-ups that failed in a row, by purpose and name.
	failures map[string]int
}

type memories struct {
	mu sync.Mutex
	of map[client.ObjectKey]*memory
}

// get returns the memory of a domain. One domain is never reconciled twice at the same time.
func (m *memories) get(key client.ObjectKey) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of[key] == nil {
		m.of[key] = &memory{}
	}
	return m.of[key]
}

func (m *memories) drop(key client.ObjectKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.of, key)
}
