package spool

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postrider/postrider/relay/envelope"
)

// books are the counters in memory. They change after the batch they belong to is stored, under the lock of the
// message it changes.
type books struct {
	mu     sync.Mutex
	ledger Ledger
	total  Counts
	tally  map[string]*tally
}

// tally is what the books know of one destination.
type tally struct {
	Counts
	// oldest is the first id of the destination when sure, else an id that none comes before.
	oldest envelope.ID
	sure   bool
	// rev counts the entries that came and went.
	rev uint64
}

// move is what a batch changes for one entry.
type move struct {
	key     envelope.Key
	counts  Counts
	created bool
	removed bool
}

func (b *books) post(l Ledger, moves []move) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range moves {
		b.apply(m)
		l.Queued += m.counts.Queued
	}
	b.ledger.add(l)
}

func (b *books) apply(m move) {
	b.total = b.total.plus(m.counts)
	t := b.tally[m.key.Domain]
	if t == nil {
		t = &tally{oldest: m.key.ID, sure: true}
		b.tally[m.key.Domain] = t
	}
	t.Counts = t.Counts.plus(m.counts)
	switch {
	case t.Counts == Counts{}:
		delete(b.tally, m.key.Domain)
	case m.created:
		t.rev++
		t.oldest = min(t.oldest, m.key.ID)
	case m.removed:
		t.rev++
		t.sure = t.sure && m.key.ID != t.oldest
	}
}

// list copies the destinations. Oldest is zero where it must be looked for.
func (b *books) list() []Destination {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]Destination, 0, len(b.tally))
	for _, domain := range slices.Sorted(maps.Keys(b.tally)) {
		d := Destination{Domain: domain, Counts: b.tally[domain].Counts}
		if t := b.tally[domain]; t.sure {
			d.Oldest = acceptedAt(t.oldest)
		}
		all = append(all, d)
	}
	return all
}

func (b *books) searchFrom(domain string) (from envelope.ID, rev uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.tally[domain]; t != nil {
		return t.oldest, t.rev
	}
	return "", 0
}

func (b *books) found(k envelope.Key, rev uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.tally[k.Domain]; t != nil && t.rev == rev {
		t.oldest, t.sure = k.ID, true
	}
}

// loadBooks counts the entries, reads the stored counters, and looks whether the due index fits.
func (s *Store) loadBooks() error {
	s.books.tally = map[string]*tally{}
	indexed := int64(0)
	err := scan(s.db, kindEntry, func(key, value []byte) error {
		k, ok := parseEntryKey(key)
		if !ok {
			return s.setAside(key, ErrDamaged)
		}
		c, err := decodeCounts(key, value)
		if err != nil {
			return s.setAside(key, fmt.Errorf("entry %s of %s: %w", k.ID, k.Domain, err))
		}
		if c.Held == 0 {
			indexed++
		}
		s.books.apply(move{key: k, counts: c, created: true})
		return nil
	})
	if err != nil {
		return err
	}
	if err := loadLedger(s.db, &s.books.ledger); err != nil {
		return err
	}
	s.books.unread()
	return s.mend(indexed)
}

// Destinations are all domains with mail in the queue, in order.
func (s *Store) Destinations() []Destination {
	if s.enter() != nil {
		return nil
	}
	defer s.leave()
	all := s.books.list()
	for i := range all {
		if all[i].Oldest.IsZero() {
			all[i].Oldest = s.findOldest(all[i].Domain)
		}
	}
	return all
}

// findOldest looks for the first entry of a domain and notes what it found, unless the books changed meanwhile.
func (s *Store) findOldest(domain string) time.Time {
	from, rev := s.books.searchFrom(domain)
	key, err := s.firstEntry(envelope.Key{Domain: domain, ID: from})
	if err != nil {
		return time.Time{}
	}
	s.books.found(key, rev)
	return acceptedAt(key.ID)
}

// firstEntry is the first entry of the domain at or after an id.
func (s *Store) firstEntry(from envelope.Key) (envelope.Key, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: entryKey(from),
		UpperBound: append(append([]byte{kindEntry}, from.Domain...), 1),
	})
	if err != nil {
		return envelope.Key{}, err
	}
	key, found := envelope.Key{}, false
	if it.First() {
		key, found = parseEntryKey(it.Key())
	}
	if err := it.Close(); err != nil || !found {
		return envelope.Key{}, errors.Join(err, ErrNotFound)
	}
	return key, nil
}
