package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postrider/postrider/relay/envelope"
)

// Draft is a message made here, a DSN, that is stored together with the change it reports.
type Draft struct {
	Content []byte
	Entries []envelope.Envelope
}

// Get reads an entry. ErrNotFound when there is none.
func (s *Store) Get(k envelope.Key) (envelope.Envelope, error) {
	if err := s.enter(); err != nil {
		return envelope.Envelope{}, err
	}
	defer s.leave()
	return s.entry(k)
}

// Begin records that an attempt begins now: it is counted, and the entry is due again only after
// envelope.AttemptLease. The record is written but not synced: after a crash of the machine the attempt may be
// forgotten, after one of the process it is not. ErrHeld when an admin holds the entry.
func (s *Store) Begin(k envelope.Key, now time.Time) (envelope.Envelope, error) {
	return s.alter(k, func(e *envelope.Envelope) error {
		if e.Held != "" {
			return fmt.Errorf("entry %s of %s: %w", k.ID, k.Domain, ErrHeld)
		}
		for i := range e.Recipients {
			e.Recipients[i] = e.Recipients[i].Begin(now)
		}
		return nil
	})
}

// Postpone moves entries that are due to a later time each, as to says; one that has gone meanwhile is passed over.
// Like Begin it does not sync.
func (s *Store) Postpone(keys []envelope.Key, to func() time.Time) error {
	for _, k := range keys {
		due := to()
		_, err := s.alter(k, func(e *envelope.Envelope) error {
			for i := range e.Recipients {
				if e.Recipients[i].Due.Before(due) {
					e.Recipients[i].Due = due
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return nil
}

// alter changes an entry without ending any of its recipients, and without a sync.
func (s *Store) alter(k envelope.Key, f func(*envelope.Envelope) error) (envelope.Envelope, error) {
	if err := s.enter(); err != nil {
		return envelope.Envelope{}, err
	}
	defer s.leave()
	defer s.locks.lock(k.ID)()
	before, err := s.entry(k)
	if err != nil {
		return envelope.Envelope{}, err
	}
	after := clone(before)
	if err := f(&after); err != nil {
		return envelope.Envelope{}, err
	}
	t := s.begin()
	defer t.close()
	t.replace(&before, &after)
	return after, t.commit(pebble.NoSync)
}

// Change lets f change an entry and stores the result, synced, in one batch: recipients that f brought to a final
// state are counted in the ledger and leave the record; with the last one the entry goes, with the last entry the
// message. Drafts that f returns are stored in the same batch, under ids of their own. When f fails nothing is stored.
//
// after is the entry as it is now, with no recipients when it is gone. f may be called only once, under the
// message's lock; it must not call the store.
func (s *Store) Change(k envelope.Key, f func(e *envelope.Envelope) ([]Draft, error)) (after envelope.Envelope, created []envelope.Envelope, err error) {
	if err := s.enter(); err != nil {
		return envelope.Envelope{}, nil, err
	}
	defer s.leave()
	defer s.locks.lock(k.ID)()
	before, err := s.entry(k)
	if err != nil {
		return envelope.Envelope{}, nil, err
	}
	after = clone(before)
	drafts, err := f(&after)
	if err != nil {
		return envelope.Envelope{}, nil, err
	}
	t := s.begin()
	defer t.close()
	if err := t.change(&before, &after); err != nil {
		return envelope.Envelope{}, nil, fmt.Errorf("spool: change entry %s of %s: %w", k.ID, k.Domain, err)
	}
	for _, d := range drafts {
		entries, err := t.draft(d)
		if err != nil {
			return envelope.Envelope{}, nil, fmt.Errorf("spool: draft for entry %s of %s: %w", k.ID, k.Domain, err)
		}
		created = append(created, entries...)
	}
	if err := t.commit(pebble.Sync); err != nil {
		return envelope.Envelope{}, nil, err
	}
	return after, created, nil
}

func clone(e envelope.Envelope) envelope.Envelope {
	e.Recipients = slices.Clone(e.Recipients)
	return e
}

// tx is one batch and what it does to the books.
type tx struct {
	s      *Store
	batch  *pebble.Batch
	ledger Ledger
	moves  []move
	// due is the earliest time that the batch adds to the due index, if any.
	due   int64
	added bool
}

func (s *Store) begin() *tx { return &tx{s: s, batch: s.db.NewBatch()} }

func (t *tx) close() { t.batch.Close() }

// change replaces an entry and, when it was the message's last, drops the message.
func (t *tx) change(before, after *envelope.Envelope) error {
	after.ID, after.Domain, after.Size = before.ID, before.Domain, before.Size
	if len(after.Recipients) != len(before.Recipients) {
		return fmt.Errorf("%d recipients became %d: they may change their state, not their number", len(before.Recipients), len(after.Recipients))
	}
	if err := t.settle(after); err != nil {
		return err
	}
	t.replace(before, after)
	if len(after.Recipients) > 0 {
		return nil
	}
	return t.leave(after.Key())
}

// settle books the recipients that are final and takes them out of the entry.
func (t *tx) settle(e *envelope.Envelope) error {
	queued := e.Recipients[:0]
	for _, r := range e.Recipients {
		if r.State == "" || r.State == envelope.Queued {
			r.State = envelope.Queued
			queued = append(queued, r)
		} else if err := t.ledger.count(r.State); err != nil {
			return fmt.Errorf("recipient %s: %w", r.Address, err)
		}
	}
	e.Recipients = queued
	return nil
}

// replace writes an entry and its place in the due index. before is nil for a new entry; after without recipients
// takes it away.
func (t *tx) replace(before, after *envelope.Envelope) {
	key := after.Key()
	gone := len(after.Recipients) == 0
	if gone {
		t.batch.Delete(entryKey(key), nil)
	} else {
		t.batch.Set(entryKey(key), encodeEntry(after), nil)
	}
	t.index(before, after)
	t.moves = append(t.moves, move{
		key: key, counts: countsOf(after).minus(countsOf(before)), created: before == nil, removed: gone,
	})
}

func (t *tx) index(before, after *envelope.Envelope) {
	old, was := indexed(before)
	due, is := indexed(after)
	if was && is && old == due {
		return
	}
	if was {
		t.batch.Delete(dueKey(old, before.Key()), nil)
	}
	if !is {
		return
	}
	t.batch.Set(dueKey(due, after.Key()), []byte(after.SenderDomain()), nil)
	if !t.added || due < t.due {
		t.due, t.added = due, true
	}
}

// leave takes a domain off its message, and the message with its last domain.
func (t *tx) leave(k envelope.Key) error {
	m, err := t.s.meta(k.ID)
	if err != nil {
		return err
	}
	m.domains = slices.DeleteFunc(m.domains, func(d string) bool { return d == k.Domain })
	if len(m.domains) > 0 {
		return t.batch.Set(metaKey(k.ID), encodeMeta(m), nil)
	}
	for n := range m.chunks {
		t.batch.Delete(chunkKey(k.ID, n), nil)
	}
	return t.batch.Delete(metaKey(k.ID), nil)
}

// draft adds a message made here.
func (t *tx) draft(d Draft) ([]envelope.Envelope, error) {
	id := t.s.ids.next(t.s.now())
	chunks := uint32(0)
	for rest := d.Content; len(rest) > 0; chunks++ {
		n := min(len(rest), chunkSize)
		t.batch.Set(chunkKey(id, chunks), seal(id, chunks, rest[:n]), nil)
		rest = rest[n:]
	}
	return t.create(id, meta{size: int64(len(d.Content)), chunks: chunks}, d.Entries)
}

// commit stores the batch and, once that is certain, changes the books.
func (t *tx) commit(w *pebble.WriteOptions) error {
	for name, n := range t.ledger.stored() {
		if *n != 0 {
			t.batch.Merge(counterKey(name), binary.BigEndian.AppendUint64(nil, uint64(*n)), nil)
		}
	}
	if t.added {
		defer t.s.front.arrive(t.due)()
	}
	if err := t.s.apply(t.batch, w); err != nil {
		return err
	}
	t.s.books.post(t.ledger, t.moves)
	return nil
}

// apply commits a batch. An error of the disk does not come back from pebble, which calls Fatalf; should that
// return, nothing is acknowledged any more.
func (s *Store) apply(b *pebble.Batch, w *pebble.WriteOptions) error {
	if s.logger.failed.Load() {
		return ErrFailed
	}
	if err := b.Commit(w); err != nil {
		return fmt.Errorf("write to the spool: %w", err)
	}
	if s.logger.failed.Load() {
		return ErrFailed
	}
	return nil
}

// get copies a value out of the store.
func (s *Store) get(key []byte) ([]byte, error) {
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, readError(err)
	}
	return slices.Clone(value), closer.Close()
}

func readError(err error) error {
	if pebble.IsCorruptionError(err) {
		return errors.Join(ErrDamaged, err)
	}
	return err
}

func (s *Store) entry(k envelope.Key) (envelope.Envelope, error) {
	value, closer, err := s.db.Get(entryKey(k))
	if errors.Is(err, pebble.ErrNotFound) {
		return envelope.Envelope{}, fmt.Errorf("entry %s of %s: %w", k.ID, k.Domain, ErrNotFound)
	}
	if err != nil {
		return envelope.Envelope{}, fmt.Errorf("entry %s of %s: %w", k.ID, k.Domain, readError(err))
	}
	e, err := decodeEntry(k, value) // copies what it keeps
	return e, errors.Join(err, closer.Close())
}

func (s *Store) meta(id envelope.ID) (meta, error) {
	value, err := s.get(metaKey(id))
	if err != nil {
		return meta{}, fmt.Errorf("message %s: %w", id, err)
	}
	return decodeMeta(id, value)
}
