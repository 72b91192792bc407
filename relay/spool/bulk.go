package spool

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postrider/postrider/relay/envelope"
)

// ChangeMany does to many entries what Change does to one, without drafts, in a single batch: either all that f changed
// is stored, synced, or nothing is. f says whether it changed an entry, and is called at most once for each; entries that
// are gone or damaged are passed over. The changed entries come back as they are now, with no recipients where they are gone.
//
// Nobody else changes the messages meanwhile, so keys are to be hundreds, not many thousands.
func (s *Store) ChangeMany(keys []envelope.Key, f func(e *envelope.Envelope) bool) ([]envelope.Envelope, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	defer s.locks.lockAll(keys)()
	t := s.begin()
	defer t.close()
	changed, err := t.changeMany(keys, f)
	if err != nil || len(changed) == 0 {
		return nil, err
	}
	return changed, t.commit(synced)
}

func (t *tx) changeMany(keys []envelope.Key, f func(e *envelope.Envelope) bool) ([]envelope.Envelope, error) {
	var changed []envelope.Envelope
	var before []envelope.Envelope
	var going []envelope.ID
	err := t.s.eachEntry(keys, func(e envelope.Envelope) {
		after := clone(e)
		if !f(&after) {
			return
		}
		before, changed = append(before, e), append(changed, after)
		if !slices.ContainsFunc(after.Recipients, isQueued) {
			going = append(going, e.ID)
		}
	})
	if err == nil {
		err = t.fetchMetas(going)
	}
	for i := range changed {
		if err != nil {
			break
		}
		err = t.change(&before[i], &changed[i])
	}
	if err != nil {
		return nil, fmt.Errorf("spool: change %d entries: %w", len(keys), err)
	}
	return changed, nil
}

// eachEntry reads entries, in the order of the store.
func (s *Store) eachEntry(keys []envelope.Key, f func(envelope.Envelope)) error {
	keys = slices.Compact(slices.SortedFunc(slices.Values(keys), func(a, b envelope.Key) int {
		return bytes.Compare(entryKey(a), entryKey(b))
	}))
	return eachRecord(s.db, kindEntry, keys, entryKey, func(k envelope.Key, record []byte) error {
		e, err := decodeEntry(k, record)
		if err != nil {
			return s.setAside(entryKey(k), err)
		}
		f(e)
		return nil
	})
}

// fetchMetas reads what is stored of messages, one after another: cheaper than each for itself.
func (t *tx) fetchMetas(ids []envelope.ID) error {
	slices.Sort(ids)
	t.metas = map[envelope.ID]meta{}
	return eachRecord(t.s.db, kindMeta, slices.Compact(ids), metaKey, func(id envelope.ID, record []byte) error {
		m, err := decodeMeta(id, record)
		if err != nil {
			return ignoreGone(err) // leave finds it
		}
		t.metas[id] = m
		return nil
	})
}

// eachRecord calls a function with the records of a kind that are there. names are in the order of their keys.
func eachRecord[N any](r pebble.Reader, kind byte, names []N, key func(N) []byte, f func(N, []byte) error) error {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: []byte{kind}, UpperBound: []byte{kind + 1}})
	if err != nil {
		return err
	}
	for _, name := range names {
		if !seek(it, key(name)) {
			continue
		}
		var value []byte
		if value, err = it.ValueAndErr(); err == nil {
			err = f(name, value)
		}
		if err != nil {
			break
		}
	}
	return errors.Join(err, it.Close())
}

// near is how many steps are cheaper than a search.
const near = 16

// seek moves an iterator forward to a key, and says whether it is there. Keys that are asked for mostly stand close
// together.
func seek(it *pebble.Iterator, key []byte) bool {
	for range near {
		if !it.Valid() {
			break
		}
		if order := bytes.Compare(it.Key(), key); order >= 0 {
			return order == 0
		}
		it.Next()
	}
	return it.SeekGE(key) && bytes.Equal(it.Key(), key)
}

func isQueued(r envelope.Recipient) bool { return r.State == "" || r.State == envelope.Queued }

// lockAll keeps others from changing any of the messages until the returned function is called. Whoever holds several
// locks took them in their order, and whoever holds one takes no other: nobody waits in a circle.
func (l *stripes) lockAll(keys []envelope.Key) (unlock func()) {
	var held []uint32
	for _, k := range keys {
		held = append(held, l.of(k.ID))
	}
	slices.Sort(held)
	held = slices.Compact(held)
	for _, i := range held {
		l[i].Lock()
	}
	return func() {
		for _, i := range held {
			l[i].Unlock()
		}
	}
}

// Keys pages through the entries like List, by their names alone where the filter asks for no more than a domain.
func (s *Store) Keys(f Filter, after envelope.Key, limit int) ([]envelope.Key, error) {
	if f != (Filter{Domain: f.Domain}) {
		page, err := s.List(f, after, limit)
		keys := make([]envelope.Key, len(page))
		for i := range page {
			keys[i] = page[i].Key()
		}
		return keys, err
	}
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	lower, upper := f.bounds(after)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("list the spool: %w", err)
	}
	keys := make([]envelope.Key, 0, limit)
	for it.First(); it.Valid() && len(keys) < limit; it.Next() {
		if k, ok := parseEntryKey(it.Key()); ok {
			keys = append(keys, k)
		}
	}
	return keys, it.Close()
}
