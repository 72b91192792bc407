package spool

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postrider/postrider/relay/envelope"
)

// Item is an entry's place in the due index.
type Item struct {
	Key          envelope.Key
	Due          time.Time
	SenderDomain string
}

// Cursor is a place in the due index; the zero Cursor is its beginning.
type Cursor struct{ after []byte }

// After is the place behind everything of a class that is due at or before t.
func After(c envelope.Class, t time.Time) Cursor { return Cursor{dueAfter(c, t)} }

// Due lists entries of a class that are due at or before until, the earliest first, at most limit of them, beginning
// behind from, which is a place in that class. The returned Cursor goes on behind the last one. Held entries are not due, and new ones only once they are on
// stable storage: what a crash may undo must not have been delivered.
func (s *Store) Due(c envelope.Class, from Cursor, until time.Time, limit int) ([]Item, Cursor, error) {
	if err := s.enter(); err != nil {
		return nil, from, err
	}
	defer s.leave()
	var items []Item
	next := from.after
	var err error
	if next == nil {
		items, next, err = s.dueFirst(c, until, limit)
	} else {
		items, next, err = s.dueRange(c, append(slices.Clone(next), 0), dueAfter(c, until), limit)
	}
	if err != nil {
		return nil, from, fmt.Errorf("read the due index: %w", err)
	}
	if next == nil {
		return items, from, nil
	}
	return items, Cursor{next}, nil
}

// dueFirst reads a class from its beginning.
func (s *Store) dueFirst(c envelope.Class, until time.Time, limit int) ([]Item, []byte, error) {
	first, watched := s.fronts[c].search()
	found := first
	if watched {
		defer func() { s.fronts[c].searched(found) }()
	}
	items, next, err := s.dueRange(c, dueBound(c, first), dueAfter(c, until), limit)
	if err != nil || limit <= 0 {
		return nil, nil, err
	}
	found = nanos(until)
	if len(items) > 0 {
		found = nanos(items[0].Due)
	}
	return items, next, nil
}

// dueAfter is the smallest key of a class that is due after until.
func dueAfter(c envelope.Class, until time.Time) []byte {
	n := nanos(until)
	if n == math.MaxInt64 {
		return append(dueBound(c, n), 0xff) // no domain begins so
	}
	return dueBound(c, n+1)
}

// dueRange reads the index between two keys and returns the last key it read.
func (s *Store) dueRange(c envelope.Class, lower, upper []byte, limit int) ([]Item, []byte, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, nil, err
	}
	var items []Item
	var last []byte
	for it.First(); it.Valid() && len(items) < limit && err == nil; it.Next() {
		var item Item
		last = append(last[:0], it.Key()...)
		if item, err = dueItem(it); err != nil {
			err = s.setAside(it.Key(), err)
		} else if !s.keptAside(item.Key) && !s.fronts[c].isComing(item.Key) {
			items = append(items, item)
		}
	}
	return items, last, errors.Join(err, it.Close())
}

func dueItem(it *pebble.Iterator) (Item, error) {
	p, ok := parseDueKey(it.Key())
	value, err := it.ValueAndErr()
	if err == nil && !ok {
		err = fmt.Errorf("key %q: %w", it.Key(), ErrDamaged)
	}
	return Item{Key: p.key, Due: time.Unix(0, p.due).UTC(), SenderDomain: string(value)}, err
}

// front remembers a time before which a class of the due index is empty. Whatever was delivered has left a tombstone there, and
// walking over a hundred thousand of them to find the first entry would take longer than all the rest.
type front struct {
	mu sync.Mutex
	// first: nothing is stored that is due earlier.
	first int64
	// coming are the times of batches that are being committed: a search may or may not see them.
	coming map[*int64]struct{}
	// created are the entries that such batches make.
	created map[envelope.Key]struct{}
	// searching says that a search is running, seen the earliest time that came before or during it.
	searching bool
	seen      int64
}

// arrive announces a batch that adds to the index from due on, before it is committed. The returned function is called
// after.
func (f *front) arrive(due int64, moves ...move) (done func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.first = min(f.first, due)
	f.seen = min(f.seen, due)
	if f.coming == nil {
		f.coming, f.created = map[*int64]struct{}{}, map[envelope.Key]struct{}{}
	}
	key := &due
	f.coming[key] = struct{}{}
	for i := range moves {
		if moves[i].created {
			f.created[moves[i].key] = struct{}{}
		}
	}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.coming, key)
		for i := range moves {
			delete(f.created, moves[i].key)
		}
	}
}

// isComing says that the batch which makes an entry is being committed.
func (f *front) isComing(k envelope.Key) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, coming := f.created[k]
	return coming
}

// search is where a search may begin. At most one at a time is the watched one, which calls searched at its end.
func (f *front) search() (first int64, watched bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.searching {
		return f.first, false
	}
	f.searching, f.seen = true, math.MaxInt64
	for due := range f.coming {
		f.seen = min(f.seen, *due)
	}
	return f.first, true
}

// searched ends the watched search, which saw nothing due before found.
func (f *front) searched(found int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.searching = false
	f.first = max(f.first, min(found, f.seen))
}
