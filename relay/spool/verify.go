package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postrider/postrider/relay/envelope"
)

const (
	// verifyPage is how many records Verify reads at once.
	verifyPage = 256
	// verifyRest is how long Verify rests after each page, in the time that the page took: a tenth of one core is its.
	verifyRest = 9
)

// Verify reads what Open leaves unread so that a long queue does not keep mail waiting: the tables beyond what
// Options allow for, every entry, and the due index. A damaged table is reported as DataCorruption and counted as a damaged
// record; what is in it is found to be damaged when it is read. A damaged entry is kept aside. Where the due index does not fit an entry it
// is mended: a damaged key of it would hide an entry for ever. Verify takes a small share of the machine, and so its
// time; it is to be called once, beside everything else. It ends early, without an error, when ctx is done.
func (s *Store) Verify(ctx context.Context) error {
	began := time.Now()
	var err error
	for _, part := range []func(context.Context) error{s.verifyTables, s.verifyEntries, s.verifyDue} {
		err = errors.Join(err, part(ctx))
	}
	switch {
	case ctx.Err() != nil:
		err = nil // broken off
	case err != nil:
		err = fmt.Errorf("verify the spool: %w", err)
	default:
		s.logger.out.Info("spool: verified", "took", time.Since(began))
	}
	return err
}

// rest lets others have the machine after a piece of work. It says whether to go on.
func rest(ctx context.Context, began time.Time) bool {
	timer := time.NewTimer(verifyRest * time.Since(began))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// pages calls a function until it has come to its end. It is given the key behind which it begins, and returns that
// behind which the next page does; nil at the end.
func (s *Store) pages(ctx context.Context, kind byte, f func(after []byte) (next []byte, err error)) error {
	after := []byte{kind}
	for after != nil {
		began := time.Now()
		if err := s.enter(); err != nil {
			return err
		}
		next, err := f(after)
		s.leave()
		if err != nil {
			return err
		}
		if after = next; !rest(ctx, began) {
			return nil
		}
	}
	return nil
}

// verifyTables reads the tables that Open left. One that is gone was read, and compared, when its content moved on.
func (s *Store) verifyTables(ctx context.Context) error {
	for _, number := range s.unverified {
		began := time.Now()
		path := s.fs.PathJoin(s.dir, tableName(number))
		if err := verifyTable(s.fs, path); err != nil && !errors.Is(err, os.ErrNotExist) && s.inForce(number) {
			s.tableDamaged(number, err)
		}
		if !rest(ctx, began) {
			return nil
		}
	}
	return nil
}

// tableDamaged reports and counts a table, once.
func (s *Store) tableDamaged(number int64, err error) {
	if name := tableName(number); s.aside.add([]byte(name)) {
		s.logger.event(DataCorruption, fmt.Sprintf("table %s: %v", name, err))
		s.books.mu.Lock()
		defer s.books.mu.Unlock()
		s.books.total.Damaged++
	}
}

// inForce says that a table belongs to the store as it is now.
func (s *Store) inForce(number int64) bool {
	if s.enter() != nil {
		return false
	}
	defer s.leave()
	live, err := tablesOf(s.db)
	return err != nil || slices.Contains(live, number)
}

func (s *Store) verifyEntries(ctx context.Context) error {
	domain := ""
	return s.pages(ctx, kindEntry, func(after []byte) ([]byte, error) {
		places, next, err := s.entryPage(after)
		if err != nil {
			return nil, err
		}
		for _, p := range places {
			if p.key.Domain != domain {
				domain = p.key.Domain
				s.findOldest(domain) // a report need not
			}
		}
		missing, err := s.unindexed(places)
		return next, errors.Join(err, s.mend(missing))
	})
}

// entryPage reads entries, keeps damaged ones aside, and says where the others are to be in the due index.
func (s *Store) entryPage(after []byte) (places []place, next []byte, err error) {
	next, err = s.page(after, kindEntry, func(it *pebble.Iterator) error {
		e, err := entryAt(it)
		if err != nil {
			return s.setAside(it.Key(), err)
		}
		if due, ok := indexed(&e); ok {
			places = append(places, place{e.Class(), due, e.Key()})
		}
		return nil
	})
	return places, next, err
}

// page reads keys of a kind behind one. next is the last one; nil when there is no more.
func (s *Store) page(after []byte, kind byte, f func(*pebble.Iterator) error) (next []byte, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: append(bytes.Clone(after), 0), UpperBound: []byte{kind + 1}})
	if err != nil {
		return nil, err
	}
	n := 0
	for it.First(); it.Valid() && n < verifyPage && err == nil; it.Next() {
		n++
		next = append(next[:0], it.Key()...)
		err = f(it)
	}
	if n < verifyPage {
		next = nil
	}
	return next, errors.Join(err, it.Close())
}

// unindexed are the places at which the due index has no key.
func (s *Store) unindexed(places []place) (missing []place, err error) {
	at := func(p place) []byte { return dueKey(p.class, p.due, p.key) }
	there := map[place]bool{}
	err = eachRecord(s.db, kindDue, ordered(places, at), at, func(p place, _ []byte) error {
		there[p] = true
		return nil
	})
	return slices.DeleteFunc(places, func(p place) bool { return there[p] }), err
}

// mend puts entries into the due index, where it still lacks them.
func (s *Store) mend(missing []place) error {
	mended := 0
	for _, p := range missing {
		did, err := s.mendOne(p.key)
		if err != nil {
			return err
		}
		if did {
			mended++
		}
	}
	if mended > 0 {
		s.logger.event(RecordDamaged, fmt.Sprintf("the due index lacked %d entries: it is mended", mended))
	}
	return nil
}

func (s *Store) mendOne(k envelope.Key) (did bool, err error) {
	defer s.locks.lock(k.ID)()
	e, err := readEntry(s.db, k)
	due, ok := indexed(&e)
	if err != nil || !ok {
		return false, ignoreGone(err)
	}
	_, err = get(s.db, dueKey(e.Class(), due, k))
	if !errors.Is(err, ErrNotFound) {
		return false, err // it came since
	}
	t := s.begin()
	defer t.close()
	t.index(nil, &e)
	return true, t.commit(later)
}

// ignoreGone passes on what is not the end of an entry, nor its damage, which the next who reads it finds.
func ignoreGone(err error) error {
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
		return nil
	}
	return err
}

// verifyDue looks for keys of the due index that belong to nothing: each would be an attempt that comes to nothing, again
// and again.
func (s *Store) verifyDue(ctx context.Context) error {
	return s.pages(ctx, kindDue, func(after []byte) ([]byte, error) {
		var places []place
		var odd [][]byte
		next, err := s.page(after, kindDue, func(it *pebble.Iterator) error {
			if p, ok := parseDueKey(it.Key()); ok {
				places = append(places, p)
			} else {
				odd = append(odd, bytes.Clone(it.Key()))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		wrong, err := s.misplaced(places)
		return next, errors.Join(err, s.prune(wrong, odd))
	})
}

// misplaced are the places that no entry claims.
func (s *Store) misplaced(places []place) (wrong []place, err error) {
	of := func(p place) []byte { return entryKey(p.key) }
	right := map[place]bool{}
	err = eachRecord(s.db, kindEntry, ordered(places, of), of, func(p place, record []byte) error {
		right[p] = p.claimed(record)
		return nil
	})
	return slices.DeleteFunc(places, func(p place) bool { return right[p] }), err
}

// ordered sorts places by their keys.
func ordered(places []place, key func(place) []byte) []place {
	slices.SortFunc(places, func(a, b place) int { return bytes.Compare(key(a), key(b)) })
	return places
}

// claimed says that an entry, or one whose record is damaged, is due there.
func (p place) claimed(record []byte) bool {
	if record == nil {
		return false
	}
	e, err := decodeEntry(p.key, record)
	due, ok := indexed(&e)
	return err != nil || ok && due == p.due && e.Class() == p.class
}

// prune removes keys of the due index that are still wrong, and those that are none.
func (s *Store) prune(wrong []place, odd [][]byte) error {
	pruned := len(odd)
	for _, p := range wrong {
		did, err := s.pruneOne(p)
		if err != nil {
			return err
		}
		if did {
			pruned++
		}
	}
	if pruned == 0 {
		return nil
	}
	s.logger.event(RecordDamaged, fmt.Sprintf("%d keys of the due index belonged to nothing: they are removed", pruned))
	return s.batch(later, func(t *tx) error {
		for _, key := range odd {
			t.delete(key)
		}
		return nil
	})
}

func (s *Store) pruneOne(p place) (did bool, err error) {
	defer s.locks.lock(p.key.ID)()
	record, err := get(s.db, entryKey(p.key))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return false, ignoreGone(err)
	}
	key := dueKey(p.class, p.due, p.key)
	if _, gone := get(s.db, key); p.claimed(record) || gone != nil {
		return false, ignoreGone(gone) // it went with its entry since
	}
	return true, s.batch(later, func(t *tx) error { t.delete(key); return nil })
}
