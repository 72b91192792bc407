package relay

import (
	"strings"
	"sync"
)

const (
	// labelled is how many values of a label are told apart.
	labelled = 50
	// candidates is how many values are remembered while they have not earned a label.
	candidates = 1000
	// otherLabel is the label that all other values share.
	otherLabel = "other"
)

// capped bounds the values of a label whose values come from outside. The first that occur often enough get a label
// of their own and keep it until the process ends, so that no counter ever falls.
type capped struct {
	// worth is how often a value must occur.
	worth int

	mu    sync.Mutex
	named map[string]bool
	seen  map[string]int // those without a label
}

func newCapped(worth int) *capped {
	return &capped{worth: worth, named: map[string]bool{"": true}, seen: map[string]int{}}
}

// label is what stands for a value that has occurred once more. An empty one stays empty.
func (c *capped) label(value string) string {
	value = readable(value)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.named[value]:
		return value
	case len(c.named) > labelled: // the empty one is among them
		return otherLabel
	}
	if c.seen[value]++; c.seen[value] >= c.worth {
		c.named[value] = true
		delete(c.seen, value)
		return value
	}
	if len(c.seen) > candidates {
		clear(c.seen)
	}
	return otherLabel
}

// readable makes a value one that a label may have: one that is no UTF-8 would spoil the answer to a scraper.
func readable(value string) string { return strings.ToValidUTF8(value, "?") }
