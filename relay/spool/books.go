package spool

import (
	"bytes"
	"cmp"
	"errors"
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
	all    first
}

// tally is what the books know of one destination.
type tally struct {
	Counts
	first
}

// first is the oldest of some entries.
type first struct {
	// oldest is its id when sure, else an id that none comes before.
	oldest envelope.ID
	sure   bool
	// rev counts the entries that came and went, and seen is the oldest that came since a search began.
	rev  uint64
	seen envelope.ID
}

func (f *first) came(id envelope.ID) {
	f.rev++
	f.oldest, f.seen = min(f.oldest, id), min(f.seen, id)
}

func (f *first) went(id envelope.ID) {
	f.rev++
	f.sure = f.sure && id != f.oldest
}

// newestID comes after every id.
const newestID = "\xff"

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
		t = &tally{first: first{oldest: m.key.ID, sure: true, seen: newestID}}
		b.tally[m.key.Domain] = t
	}
	t.Counts = t.Counts.plus(m.counts)
	if t.Counts == (Counts{}) {
		delete(b.tally, m.key.Domain)
	}
	if m.created {
		t.came(m.key.ID)
		b.all.came(m.key.ID)
	}
	if m.removed {
		t.went(m.key.ID)
		b.all.went(m.key.ID)
	}
}

// list copies the destinations, without Oldest.
func (b *books) list() []Destination {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]Destination, 0, len(b.tally))
	for domain, t := range b.tally {
		all = append(all, Destination{Domain: domain, Counts: t.Counts})
	}
	return all
}

// of is what the books know of the oldest entry of a destination, or of the queue for the empty one; nil when there is
// none.
func (b *books) of(domain string) *first {
	if domain == "" {
		return &b.all
	}
	if t := b.tally[domain]; t != nil {
		return &t.first
	}
	return nil
}

// bound is an id that no entry of a destination comes before.
func (b *books) bound(domain string) envelope.ID {
	b.mu.Lock()
	defer b.mu.Unlock()
	if f := b.of(domain); f != nil && f.oldest != newestID {
		return f.oldest
	}
	return ""
}

// search begins a search for the oldest entry, of which there is one at a time.
func (b *books) search(domain string) (from envelope.ID, rev uint64, sure bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.of(domain)
	if f == nil {
		return "", 0, false
	}
	f.seen = newestID
	return f.oldest, f.rev, f.sure
}

// found ends a search. Where entries came or went meanwhile, what was found is at least an id to begin the next one at.
func (b *books) found(domain string, id envelope.ID, rev uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if f := b.of(domain); f != nil {
		f.oldest, f.sure = min(id, f.seen), f.rev == rev
	}
}

// slowest are up to n destinations, those with the oldest mail first, as far as that is known for sure, and up to limit
// others that may come before.
func (b *books) slowest(n, limit int, counts func(Counts) bool) (sure, unsure []Destination) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var best []named
	for domain, t := range b.tally {
		d := named{domain, t}
		if t.sure && counts(t.Counts) && (len(best) < n || d.compare(best[n-1]) < 0) {
			at, _ := slices.BinarySearchFunc(best, d, named.compare)
			best = slices.Insert(best, at, d)[:min(len(best)+1, n)]
		}
	}
	for domain, t := range b.tally {
		if !t.sure && counts(t.Counts) && len(unsure) < limit && (len(best) < n || t.oldest < best[n-1].oldest) {
			unsure = append(unsure, Destination{Domain: domain, Counts: t.Counts})
		}
	}
	for _, d := range best {
		sure = append(sure, Destination{Domain: d.domain, Counts: d.Counts, Oldest: AcceptedAt(d.oldest)})
	}
	return sure, unsure
}

// named is a destination and what the books know of it.
type named struct {
	domain string
	*tally
}

func (d named) compare(e named) int {
	return cmp.Or(cmp.Compare(d.oldest, e.oldest), cmp.Compare(d.domain, e.domain))
}

// Census are all domains with mail in the queue, in no order. Oldest is not looked for.
func (s *Store) Census() []Destination { return s.books.list() }

// Destinations are all domains with mail in the queue, in order.
func (s *Store) Destinations() []Destination {
	all := s.books.list()
	for i := range all {
		all[i].Oldest = s.OldestOf(all[i].Domain)
	}
	slices.SortFunc(all, func(a, b Destination) int { return cmp.Compare(a.Domain, b.Domain) })
	return all
}

// maxSearches is how many destinations Slowest looks up at most.
const maxSearches = 1000

// Slowest are up to n destinations of those whose Counts a function likes, all when it is nil, the one with the oldest
// mail first. In the first moments of a store in which mail
// waits for more than a thousand destinations, one that nobody looked up yet may be missing.
func (s *Store) Slowest(n int, counts func(Counts) bool) []Destination {
	if counts == nil {
		counts = func(Counts) bool { return true }
	}
	slowest, unsure := s.books.slowest(n, maxSearches, counts)
	for _, d := range unsure {
		if d.Oldest = s.OldestOf(d.Domain); !d.Oldest.IsZero() {
			slowest = append(slowest, d)
		}
	}
	slices.SortFunc(slowest, func(a, b Destination) int {
		return cmp.Or(a.Oldest.Compare(b.Oldest), cmp.Compare(a.Domain, b.Domain))
	})
	return slowest[:min(len(slowest), n)]
}

// Oldest is when the oldest message was accepted, to the millisecond; zero when there is none.
func (s *Store) Oldest() time.Time { return s.OldestOf("") }

// OldestOf is when the oldest message for a domain was accepted, to the millisecond; zero when there is none.
func (s *Store) OldestOf(domain string) time.Time {
	if s.enter() != nil {
		return time.Time{}
	}
	defer s.leave()
	return s.findOldest(domain)
}

// First is the oldest entry for a domain that is not damaged. ErrNotFound when there is none.
func (s *Store) First(domain string) (envelope.Envelope, error) {
	after := envelope.Key{Domain: domain, ID: s.books.bound(domain)}
	if n := len(after.ID); n > 0 {
		after.ID = after.ID[:n-1] // which comes before it, and behind all that come before it
	}
	page, err := s.List(Filter{Domain: domain}, after, 1)
	if err == nil && len(page) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return envelope.Envelope{}, err
	}
	return page[0], nil
}

// findOldest looks for the first entry of a destination, or for the first message for the empty one, and notes it.
func (s *Store) findOldest(domain string) time.Time {
	s.searching.Lock()
	defer s.searching.Unlock()
	from, rev, sure := s.books.search(domain)
	if sure {
		return AcceptedAt(from)
	}
	lower, upper := metaKey(from), []byte{kindMeta + 1}
	if domain != "" {
		lower = entryKey(envelope.Key{Domain: domain, ID: from})
		upper = append(append([]byte{kindEntry}, domain...), 1)
	}
	id, err := s.firstID(lower, upper)
	if errors.Is(err, ErrNotFound) {
		id = newestID
	} else if err != nil {
		return time.Time{}
	}
	s.books.found(domain, id, rev)
	return AcceptedAt(id)
}

// firstID is the id with which the first key between two ends. ErrNotFound when there is none.
func (s *Store) firstID(lower, upper []byte) (envelope.ID, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return "", err
	}
	id := envelope.ID("")
	if it.First() {
		id = envelope.ID(it.Key()[max(1, bytes.IndexByte(it.Key(), 0)+1):])
	}
	if err := it.Close(); err != nil || id == "" {
		return "", errors.Join(err, ErrNotFound)
	}
	return id, nil
}
