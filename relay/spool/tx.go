package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postrider/postrider/relay/envelope"
)

// tx is one batch and what it does to the books.
type tx struct {
	s      *Store
	batch  *pebble.Batch
	ledger Ledger
	moves  []move
	space  []share
	// metas are what the batch knows of messages; nil in one that changes a single entry.
	metas map[envelope.ID]meta
	// due is the earliest time that the batch adds to the due index, for each class that it adds to.
	due   [envelope.Classes]int64
	added [envelope.Classes]bool
	// pending says that the batch belongs to a sync that nobody waits for; see unsynced.
	pending bool
}

func (s *Store) begin() *tx { return &tx{s: s, batch: s.db.NewBatch()} }

// close frees the batch, unless the store still waits for its sync.
func (t *tx) close() {
	if !t.pending {
		_ = t.batch.Close()
	}
}

// durability is when a batch is on stable storage.
type durability int

const (
	// synced: when commit returns.
	synced durability = iota
	// soon: it is on its way there when commit returns; a crash of the process alone hardly undoes it.
	soon
	// later: with whatever is synced next. Until then it may be in the memory of the process.
	later
)

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
		t.delete(entryKey(key))
	} else {
		t.set(entryKey(key), encodeEntry(after))
	}
	t.index(before, after)
	t.moves = append(t.moves, move{
		key: key, counts: countsOf(after).minus(countsOf(before)), created: before == nil, removed: gone,
	})
}

func (t *tx) index(before, after *envelope.Envelope) {
	old, was := indexed(before)
	due, is := indexed(after)
	if was && is && old == due && before.Class() == after.Class() {
		return
	}
	if was {
		t.delete(dueKey(before.Class(), old, before.Key()))
	}
	if !is {
		return
	}
	c := after.Class()
	t.set(dueKey(c, due, after.Key()), []byte(after.SenderDomain()))
	if !t.added[c] || due < t.due[c] {
		t.due[c], t.added[c] = due, true
	}
}

// leave takes a domain off its message, and the message with its last domain.
func (t *tx) leave(k envelope.Key) error {
	m, err := t.meta(k.ID)
	if errors.Is(err, ErrDamaged) { // what else belongs to the message is not known: it stays
		return t.s.setAside(metaKey(k.ID), err)
	}
	if err != nil {
		return err
	}
	m.domains = slices.DeleteFunc(m.domains, func(d string) bool { return d == k.Domain })
	if t.metas != nil {
		t.metas[k.ID] = m
	}
	if len(m.domains) > 0 {
		t.set(metaKey(k.ID), encodeMeta(k.ID, m))
		return nil
	}
	t.discard(k.ID, m)
	t.delete(metaKey(k.ID))
	return nil
}

// meta is what is stored of a message, with what the batch changed of it.
func (t *tx) meta(id envelope.ID) (meta, error) {
	if m, ok := t.metas[id]; ok {
		return m, nil
	}
	return readMeta(t.s.db, id)
}

// draft adds a message made here.
func (t *tx) draft(d Draft) ([]envelope.Envelope, error) {
	id := t.s.ids.next(t.s.now())
	chunks := uint32(0)
	for rest := d.Content; len(rest) > 0; chunks++ {
		n := min(len(rest), chunkSize)
		t.chunk(id, chunks, rest[:n], nil)
		rest = rest[n:]
	}
	return t.create(id, meta{size: int64(len(d.Content)), chunks: chunks}, d.Entries)
}

// commit stores the batch and, once that is certain, changes the books.
func (t *tx) commit(d durability) error {
	for _, c := range t.ledger.stored() {
		if *c.n != 0 {
			t.merge(counterKey(c.name), binary.BigEndian.AppendUint64(nil, uint64(*c.n)))
		}
	}
	t.tallies()
	for c, added := range t.added {
		if added {
			defer t.s.fronts[c].arrive(t.due[c], t.moves...)()
		}
	}
	if err := t.apply(d); err != nil {
		return err
	}
	t.s.books.post(t.ledger, t.moves)
	t.s.segments.post(t.space)
	return nil
}

// apply commits the batch. An error of the disk does not come back from pebble, which calls Fatalf; should that
// return, nothing is acknowledged any more.
func (t *tx) apply(d durability) error {
	if t.s.logger.failed.Load() {
		return ErrFailed
	}
	if err := t.s.Hold(); err != nil {
		return err
	}
	if err := t.write(d); err != nil {
		return fmt.Errorf("write to the spool: %w", err)
	}
	if t.s.logger.failed.Load() {
		return ErrFailed
	}
	return nil
}

func (t *tx) write(d durability) error {
	switch d {
	case soon:
		t.pending = true
		err := t.s.db.ApplyNoSyncWait(t.batch, pebble.Sync)
		if err == nil {
			t.s.unsynced.add(t.batch)
		}
		return err
	case later:
		return t.batch.Commit(pebble.NoSync)
	default:
		earlier := t.s.unsynced.take()
		err := t.batch.Commit(pebble.Sync)
		if err == nil {
			closeSynced(earlier)
		}
		return err
	}
}

// unsynced are batches whose sync nobody waits for. They are closed after the next sync that somebody did wait for,
// which theirs precedes: then their buffers serve again.
type unsynced struct {
	mu      sync.Mutex
	batches []*pebble.Batch
}

func (u *unsynced) add(b *pebble.Batch) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.batches = append(u.batches, b)
}

func (u *unsynced) take() []*pebble.Batch {
	u.mu.Lock()
	defer u.mu.Unlock()
	taken := u.batches
	u.batches = nil
	return taken
}

func closeSynced(batches []*pebble.Batch) {
	for _, b := range batches {
		if b.SyncWait() == nil {
			_ = b.Close()
		}
	}
}

// A batch refuses keys only after it was committed.
func (t *tx) set(key, value []byte)   { _ = t.batch.Set(key, value, nil) }
func (t *tx) delete(key []byte)       { _ = t.batch.Delete(key, nil) }
func (t *tx) merge(key, value []byte) { _ = t.batch.Merge(key, value, nil) }
