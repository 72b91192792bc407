package spool

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postrider/postrider/relay/envelope"
)

// A message leaves for another spool as a whole and under its id. At each side a row of a table says how far that has
// come, stored in the same batch as the step itself: a crash leaves a step done, with its row, or not done.

var (
	// ErrTaken says that a row with this key is there already: what it stands for was done or refused before.
	ErrTaken = errors.New("taken or refused before")
	// ErrPresent says that the spool holds a message of this id.
	ErrPresent = errors.New("the spool holds a message of this id already")
)

// Messages pages through the ids of all messages in order, beginning behind after. A page shorter than limit is the
// last.
func (s *Store) Messages(after envelope.ID, limit int) ([]envelope.ID, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: append(metaKey(after), 0), UpperBound: []byte{kindMeta + 1}})
	if err != nil {
		return nil, fmt.Errorf("list the messages: %w", err)
	}
	var ids []envelope.ID
	for it.First(); it.Valid() && len(ids) < limit; it.Next() {
		ids = append(ids, envelope.ID(it.Key()[1:]))
	}
	if err := it.Close(); err != nil {
		return nil, fmt.Errorf("list the messages: %w", readError(err))
	}
	return ids, nil
}

// Bind stores a row about a message that is to leave, synced, and returns all of its entries as they are at that
// moment. allow is asked first, under the message's lock, and must not call the store: when it fails nothing is
// stored. Who changes entries must look whether they are bound: the store does not.
func (s *Store) Bind(id envelope.ID, table string, row Row, allow func([]envelope.Envelope) error) ([]envelope.Envelope, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	defer s.locks.lock(id)()
	_, entries, err := s.readMessage(id)
	if err == nil {
		err = allow(entries)
	}
	if err != nil {
		return nil, err
	}
	t := s.begin()
	defer t.close()
	t.set(tableKey(table, row.Key), row.Value)
	return entries, t.commit(synced)
}

// readMessage reads all that is known of a message.
func (s *Store) readMessage(id envelope.ID) (meta, []envelope.Envelope, error) {
	m, err := readMeta(s.db, id)
	if err != nil {
		return m, nil, err
	}
	var entries []envelope.Envelope
	for _, domain := range m.domains {
		e, err := s.readEntryAside(envelope.Key{ID: id, Domain: domain})
		if err != nil {
			return m, nil, err
		}
		entries = append(entries, e)
	}
	return m, entries, nil
}

// HandOut removes a message that another spool has on stable storage, books its recipients as handed out, and puts
// the row about it in place, in one synced batch. It returns the entries that went.
func (s *Store) HandOut(id envelope.ID, table string, row Row) ([]envelope.Envelope, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	defer s.locks.lock(id)()
	m, entries, err := s.readMessage(id)
	if err != nil {
		return nil, err
	}
	t := s.begin()
	defer t.close()
	for i := range entries {
		gone := entries[i]
		gone.Recipients = nil
		t.replace(&entries[i], &gone)
		t.ledger.HandedOut += int64(len(entries[i].Recipients))
	}
	t.discard(id, m)
	t.delete(metaKey(id))
	t.set(tableKey(table, row.Key), row.Value)
	return entries, t.commit(synced)
}

// Receive begins a message that another spool hands over: it keeps its id. Take or Abort must follow. Not more than one
// Writer may be at work on an id.
func (s *Store) Receive(id envelope.ID) *Writer {
	w := s.Create()
	w.id = id
	return w
}

// Take stores a message from another spool, its entries as they were there, and the row that says so, in one synced
// batch. Its recipients are booked as handed in. ErrTaken when the row is there, ErrPresent when the message is; then
// as with any other error nothing is stored.
func (w *Writer) Take(table string, row Row, entries []envelope.Envelope) ([]envelope.Envelope, error) {
	for i := range entries {
		if entries[i].Size != w.body {
			return nil, fmt.Errorf("spool: message %s has %d octets instead of %d: %w", w.id, w.body, entries[i].Size, ErrDamaged)
		}
	}
	w.also = func(t *tx) error {
		if err := errors.Join(t.s.absent(tableKey(table, row.Key), ErrTaken), t.s.absent(metaKey(w.id), ErrPresent)); err != nil {
			return err
		}
		t.set(tableKey(table, row.Key), row.Value)
		t.ledger.HandedIn, t.ledger.Accepted = t.ledger.Accepted, 0
		return nil
	}
	return w.Commit(nil, entries)
}

// absent is present if there is such a key.
func (s *Store) absent(key []byte, present error) error {
	switch _, err := get(s.db, key); {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	return present
}

// Refuse stores a row, synced, under which the message can be taken no more. ErrTaken when the row is there.
func (s *Store) Refuse(id envelope.ID, table string, row Row) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	defer s.locks.lock(id)()
	if err := s.absent(tableKey(table, row.Key), ErrTaken); err != nil {
		return err
	}
	return s.batch(synced, func(t *tx) error { t.set(tableKey(table, row.Key), row.Value); return nil })
}

// DropAll removes rows of a table, synced, as one.
func (s *Store) DropAll(table string, keys []string) error {
	return s.write(func(t *tx) {
		for _, key := range keys {
			t.delete(tableKey(table, key))
		}
	})
}

// EncodeEntry is an entry as the spool keeps it, sealed with a checksum: nothing is lost or changed on its way to
// another spool. DecodeEntry of this version or a later one reads it.
func EncodeEntry(e *envelope.Envelope) []byte { return slices.Clone(encodeEntry(e)) }

// DecodeEntry reads what EncodeEntry wrote. ErrDamaged when it is not that, or of another key.
func DecodeEntry(k envelope.Key, record []byte) (envelope.Envelope, error) {
	return decodeEntry(k, record)
}
