package spool

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/postrider/postrider/relay/envelope"
)

const (
	// smallSize is up to where a message is stored by the batch of its Commit alone. The body of a larger one is
	// streamed into a segment.
	smallSize = 64 << 10
	// chunkSize is how much of a message made here stands in one value.
	chunkSize = 128 << 10
)

// Writer takes in one message. It is used by one goroutine.
type Writer struct {
	s    *Store
	id   envelope.ID
	buf  []byte
	body int64   // octets written so far
	out  *stream // of a large message, nil before
	done bool
	also func(*tx) error // what Take adds to the batch of Commit; may be nil
}

var errDone = errors.New("spool: the message was committed or aborted already")

// Create begins a message and gives it its id. Commit or Abort must follow.
func (s *Store) Create() *Writer {
	return &Writer{s: s, id: s.ids.next(s.now()), buf: s.buffer()}
}

// buffer is an empty one that was used before, if there is one.
func (s *Store) buffer() []byte {
	if b, ok := s.buffers.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return nil
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

// Write takes the message's next octets, as they go on the wire. A large message goes to a segment in frames, ahead of
// Commit; what a crash or Abort leaves of it counts for nothing.
func (w *Writer) Write(p []byte) (int, error) {
	if w.done {
		return 0, errDone
	}
	written := 0
	for len(p) > 0 {
		if len(w.buf) == frameOctets {
			if err := w.flush(); err != nil {
				return written, err
			}
		}
		n := min(len(p), frameOctets-len(w.buf))
		w.buf = append(w.buf, p[:n]...)
		p = p[n:]
		written += n
		w.body += int64(n)
	}
	return written, nil
}

// flush appends the buffer to a segment, as a frame.
func (w *Writer) flush() (err error) {
	if err := w.s.enter(); err != nil {
		return err
	}
	defer w.s.leave()
	if err := w.s.Hold(); err != nil {
		return err
	}
	if w.out == nil {
		if w.out, err = w.s.segments.begin(w.id); err != nil {
			return err
		}
	}
	if err := w.out.add(w.buf); err != nil {
		return err
	}
	w.buf = w.buf[:0]
	return nil
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
	if w.out != nil || len(w.buf)+len(prefix) > smallSize {
		if err := w.finish(); err != nil {
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
	m := meta{size: int64(len(prefix)) + w.body, chunks: 1}
	if w.out != nil {
		m.body = w.out.bodyPlace
	}
	t.chunk(w.id, 0, prefix, w.buf)
	created, err := t.create(w.id, m, entries)
	if err == nil && w.also != nil {
		err = w.also(t)
	}
	if err != nil {
		return nil, err
	}
	out := w.out
	w.out = nil // when the store fails it may name the place or not
	if err := t.commit(synced); err != nil {
		return nil, err
	}
	switch {
	case out == nil:
	case len(created) == 0:
		out.drop()
	default:
		out.keep()
	}
	return created, nil
}

// finish brings the body to stable storage, before any record can name it.
func (w *Writer) finish() error {
	if len(w.buf) > 0 {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if w.out == nil { // the prefix alone is large
		return nil
	}
	err := w.out.sync()
	if err != nil && w.s.logger.failed.Load() {
		err = errors.Join(ErrFailed, err)
	}
	return err
}

// Abort drops the message. After Commit it does nothing, so that it may be deferred.
func (w *Writer) Abort() {
	if w.done {
		return
	}
	w.release()
	if w.out != nil {
		w.out.drop()
		w.out = nil
	}
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
		m.body = bodyPlace{} // nothing names it yet
		t.discard(id, m)
		return nil, nil
	}
	t.set(metaKey(id), encodeMeta(id, m))
	if m.body.length > 0 {
		t.occupy(id, m.body)
	}
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

// discard takes the octets of a message back that has no entry left.
func (t *tx) discard(id envelope.ID, m meta) {
	for n := range m.chunks {
		t.delete(chunkKey(id, n))
	}
	if m.body.length > 0 {
		t.vacate(m.body)
	}
}

// sweep drops the large messages that a program which kept them in the store was writing when it ended.
func (s *Store) sweep() error {
	t := s.begin()
	defer t.close()
	err := scan(s.db, kindStream, func(key, _ []byte) error {
		id := envelope.ID(key[1:])
		t.delete(key)
		return t.batch.DeleteRange(chunkKey(id, 0), chunkKey(id, ^uint32(0)), nil)
	})
	if err != nil {
		return err
	}
	return t.commit(later)
}
