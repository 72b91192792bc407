package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postrider/postrider/relay/envelope"
)

const (
	// smallSize is up to where a message is stored by the batch of its Commit alone. A larger one is streamed.
	smallSize = 64 << 10
	// chunkSize is how much of a streamed message is in memory at once.
	chunkSize = 128 << 10
)

// Writer takes in one message. It is used by one goroutine.
type Writer struct {
	s      *Store
	id     envelope.ID
	buf    []byte
	body   int64  // octets written so far
	chunks uint32 // stored so far; number 0 is kept for the prefix
	done   bool
	also   func(*tx) error // what Take adds to the batch of Commit; may be nil
}

var errDone = errors.New("spool: the message was committed or aborted already")

// Create begins a message and gives it its id. Commit or Abort must follow.
func (s *Store) Create() *Writer {
	w := &Writer{s: s, id: s.ids.next(s.now())}
	if b, ok := s.buffers.Get().(*[]byte); ok {
		w.buf = (*b)[:0]
	}
	return w
}

// release ends the Writer's use.
func (w *Writer) release() {
	w.done = true
	buf := w.buf
	w.buf = nil
	w.s.buffers.Put(&buf)
}

// ID is the message's spool id.
func (w *Writer) ID() envelope.ID { return w.id }

// Write takes the message's next octets, as they go on the wire. A large message goes to the store in chunks, ahead
// of Commit; what a crash or Abort leaves of it is swept.
func (w *Writer) Write(p []byte) (int, error) {
	if w.done {
		return 0, errDone
	}
	written := 0
	for len(p) > 0 {
		n := min(len(p), chunkSize-len(w.buf))
		w.buf = append(w.buf, p[:n]...)
		p = p[n:]
		if len(w.buf) == chunkSize {
			if err := w.flush(); err != nil {
				return written, err
			}
		}
		written += n
		w.body += int64(n)
	}
	return written, nil
}

// flush stores the buffer as a chunk, not synced. The WAL keeps the order of batches and is synced before it is
// succeeded by another file: when Commit's batch is on disk, so are the chunks.
func (w *Writer) flush() error {
	if err := w.s.enter(); err != nil {
		return err
	}
	defer w.s.leave()
	t := w.s.begin()
	defer t.close()
	if w.chunks == 0 {
		w.chunks = 1
		t.set(streamKey(w.id), nil)
	}
	t.chunk(w.id, w.chunks, nil, w.buf)
	w.chunks++
	w.buf = w.buf[:0]
	return t.commit(later)
}

// Commit stores the message, prefix first, and its entries, one per domain. They come back with their ID and Size;
// one whose recipients are all final is counted but not kept. When Commit returns nil all of it is on stable
// storage; otherwise none of it is in the spool.
func (w *Writer) Commit(prefix []byte, entries []envelope.Envelope) ([]envelope.Envelope, error) {
	if w.done {
		return nil, errDone
	}
	created, err := w.commit(prefix, entries)
	if err != nil {
		return nil, fmt.Errorf("spool: commit message %s: %w", w.id, err)
	}
	w.release()
	return created, nil
}

func (w *Writer) commit(prefix []byte, entries []envelope.Envelope) ([]envelope.Envelope, error) {
	if len(w.buf) > 0 && (w.chunks > 0 || len(w.buf)+len(prefix) > smallSize) {
		if err := w.flush(); err != nil {
			return nil, err
		}
	}
	if err := w.s.enter(); err != nil {
		return nil, err
	}
	defer w.s.leave()
	defer w.s.locks.lock(w.id)() // nobody delivers what is not synced yet
	t := w.s.begin()
	defer t.close()
	m := meta{size: int64(len(prefix)) + w.body, chunks: max(w.chunks, 1)}
	t.chunk(w.id, 0, prefix, w.buf)
	if w.chunks > 0 {
		t.delete(streamKey(w.id))
	}
	created, err := t.create(w.id, m, entries)
	if err == nil && w.also != nil {
		err = w.also(t)
	}
	if err != nil {
		return nil, err
	}
	return created, t.commit(synced)
}

// Abort drops the message. After Commit it does nothing, so that it may be deferred.
func (w *Writer) Abort() {
	if w.done {
		return
	}
	w.release()
	if w.chunks == 0 || w.s.enter() != nil {
		return
	}
	defer w.s.leave()
	// An error leaves chunks behind that Open sweeps.
	_ = w.s.drop(w.id, w.chunks)
}

// create adds the records of a new message whose chunks are stored or in the batch.
func (t *tx) create(id envelope.ID, m meta, entries []envelope.Envelope) ([]envelope.Envelope, error) {
	var created []envelope.Envelope
	for i := range entries {
		e := clone(entries[i])
		e.ID, e.Size = id, m.size
		if err := t.admit(&e, m.domains); err != nil {
			return nil, fmt.Errorf("entry for %q: %w", e.Domain, err)
		}
		if len(e.Recipients) == 0 {
			continue
		}
		t.replace(nil, &e)
		m.domains = append(m.domains, e.Domain)
		created = append(created, e)
	}
	if len(entries) == 0 {
		return nil, errors.New("no entries")
	}
	if len(created) == 0 {
		t.discard(id, m)
		return nil, nil
	}
	t.set(metaKey(id), encodeMeta(id, m))
	return created, nil
}

// admit checks an entry, books its recipients as accepted, and fills in what it lacks.
func (t *tx) admit(e *envelope.Envelope, taken []string) error {
	switch {
	case e.Domain == "" || strings.ContainsRune(e.Domain, 0):
		return errors.New("not a domain")
	case slices.Contains(taken, e.Domain):
		return errors.New("two entries for one domain")
	case len(e.Recipients) == 0:
		return errors.New("no recipients")
	}
	if e.Accepted.IsZero() {
		e.Accepted = t.s.now()
	}
	t.ledger.Accepted += int64(len(e.Recipients))
	return t.settle(e)
}

// discard takes the chunks of a message back that has no entry left.
func (t *tx) discard(id envelope.ID, m meta) {
	for n := range m.chunks {
		t.delete(chunkKey(id, n))
	}
}

// drop removes the chunks of a message that was never committed, not synced.
func (s *Store) drop(id envelope.ID, chunks uint32) error {
	t := s.begin()
	defer t.close()
	t.discard(id, meta{chunks: chunks})
	t.delete(streamKey(id))
	return t.commit(later)
}

// sweep drops the messages whose chunks were being written when the process ended.
func (s *Store) sweep() error {
	var unfinished []envelope.ID
	err := scan(s.db, kindStream, func(key, _ []byte) error {
		unfinished = append(unfinished, envelope.ID(key[1:]))
		return nil
	})
	for _, id := range unfinished {
		chunks, failed := s.countChunks(id)
		if failed == nil {
			failed = s.drop(id, chunks)
		}
		err = errors.Join(err, failed)
	}
	return err
}

// countChunks is one more than the highest number of a message's chunks.
func (s *Store) countChunks(id envelope.ID) (uint32, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: chunkKey(id, 0), UpperBound: chunkKey(id, ^uint32(0))})
	if err != nil {
		return 0, err
	}
	chunks := uint32(0)
	if it.Last() {
		chunks = binary.BigEndian.Uint32(it.Key()[len(it.Key())-4:]) + 1
	}
	return chunks, it.Close()
}
