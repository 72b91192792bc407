package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postrider/postrider/relay/envelope"
)

// Counts are recipients in the queue.
type Counts struct {
	// Queued is all of them: waiting, deferred and held.
	Queued int64
	// Deferred have been attempted at least once.
	Deferred int64
	// Held are kept back by an admin.
	Held int64
}

// Ledger counts recipients since the spool was made. Accepted = Delivered + Queued + Failed + Suppressed + Removed.
type Ledger struct {
	Accepted, Delivered, Queued, Failed, Suppressed, Removed int64
}

// Destination is what is queued for one domain.
type Destination struct {
	Domain string
	Counts
	// Oldest is when the oldest of its messages was accepted, to the millisecond.
	Oldest time.Time
}

func (c Counts) plus(d Counts) Counts {
	return Counts{c.Queued + d.Queued, c.Deferred + d.Deferred, c.Held + d.Held}
}

func (c Counts) minus(d Counts) Counts {
	return Counts{c.Queued - d.Queued, c.Deferred - d.Deferred, c.Held - d.Held}
}

// countsOf counts the recipients of an entry, all queued; nil counts nothing.
func countsOf(e *envelope.Envelope) (c Counts) {
	if e == nil {
		return c
	}
	c.Queued = int64(len(e.Recipients))
	for i := range e.Recipients {
		if e.Recipients[i].Attempts > 0 {
			c.Deferred++
		}
	}
	if e.Held != "" {
		c.Held = c.Queued
	}
	return c
}

// stored are the counters that cannot be derived from the entries, with their names on disk.
func (l *Ledger) stored() map[string]*int64 {
	return map[string]*int64{
		"accepted": &l.Accepted, "delivered": &l.Delivered, "failed": &l.Failed,
		"suppressed": &l.Suppressed, "removed": &l.Removed,
	}
}

// count books a recipient that reached a final state.
func (l *Ledger) count(d envelope.Disposition) error {
	switch d {
	case envelope.Delivered:
		l.Delivered++
	case envelope.Failed:
		l.Failed++
	case envelope.Suppressed:
		l.Suppressed++
	case envelope.Removed:
		l.Removed++
	default:
		return fmt.Errorf("unknown disposition %q", d)
	}
	return nil
}

func (l *Ledger) add(d Ledger) {
	l.Accepted += d.Accepted
	l.Delivered += d.Delivered
	l.Queued += d.Queued
	l.Failed += d.Failed
	l.Suppressed += d.Suppressed
	l.Removed += d.Removed
}

// Totals counts the whole queue.
func (s *Store) Totals() Counts {
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	return s.books.total
}

// Ledger is the balance at this moment.
func (s *Store) Ledger() Ledger {
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	return s.books.ledger
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
	case t.Queued == 0:
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

// loadBooks counts the entries and reads the stored counters.
func (s *Store) loadBooks() error {
	s.books.tally = map[string]*tally{}
	err := s.scan(kindEntry, func(key, value []byte) error {
		k, ok := parseEntryKey(key)
		if !ok {
			return fmt.Errorf("entry key %q: %w", key, ErrDamaged)
		}
		c, err := decodeCounts(value)
		if err != nil {
			return fmt.Errorf("entry %s of %s: %w", k.ID, k.Domain, err)
		}
		s.books.apply(move{key: k, counts: c, created: true})
		return nil
	})
	if err != nil {
		return err
	}
	s.books.ledger.Queued = s.books.total.Queued
	return s.loadLedger(&s.books.ledger)
}

func (s *Store) loadLedger(l *Ledger) error {
	for name, n := range l.stored() {
		value, err := s.get(counterKey(name))
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil || len(value) != 8 {
			return fmt.Errorf("counter %s: %w", name, errors.Join(err, ErrDamaged))
		}
		*n = int64(binary.BigEndian.Uint64(value))
	}
	return nil
}

// scan calls f for every key of a kind, in order. What f is given is valid only during the call.
func (s *Store) scan(kind byte, f func(key, value []byte) error) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kind}, UpperBound: []byte{kind + 1}})
	if err != nil {
		return err
	}
	for it.First(); it.Valid() && err == nil; it.Next() {
		var value []byte
		if value, err = it.ValueAndErr(); err == nil {
			err = f(it.Key(), value)
		}
	}
	return errors.Join(err, it.Close())
}

// adder merges counters. Its name is on disk.
var adder = &pebble.Merger{
	Name: "postrider.add.1",
	Merge: func(_, value []byte) (pebble.ValueMerger, error) {
		s := new(sum)
		return s, s.MergeNewer(value)
	},
}

type sum int64

func (s *sum) MergeNewer(value []byte) error {
	if len(value) != 8 {
		return fmt.Errorf("counter of %d octets: %w", len(value), ErrDamaged)
	}
	*s += sum(binary.BigEndian.Uint64(value))
	return nil
}

func (s *sum) MergeOlder(value []byte) error { return s.MergeNewer(value) }

func (s *sum) Finish(bool) ([]byte, io.Closer, error) {
	return binary.BigEndian.AppendUint64(nil, uint64(*s)), nil, nil
}
