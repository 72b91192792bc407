package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postrider/postrider/relay/envelope"
)

// Message reads a stored message, octet for octet as it goes on the wire (CRLF, not dot-stuffed). One chunk or frame is
// in memory at a time, and no octet is handed out before its checksum was verified.
type Message struct {
	// Size is the message's length in octets.
	Size int64

	s    *Store
	id   envelope.ID
	meta meta
	body vfs.File // nil when all of it is in chunks
	buf  []byte   // holds a chunk or a frame
	next int64    // chunk, or frame behind the chunks
	rest []byte
	read int64
	err  error
}

// Message opens a message for reading. ErrNotFound when it is not stored, or no longer; it, or Read, fails with
// ErrDamaged when it is not what was stored. It must be closed.
func (s *Store) Message(id envelope.ID) (*Message, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	m, err := readMeta(s.db, id)
	for err == nil {
		if m.body.length == 0 {
			return &Message{Size: m.size, s: s, id: id, meta: m}, nil
		}
		body, failed := s.segments.openBody(m.body)
		if failed == nil {
			return &Message{Size: m.size, s: s, id: id, meta: m, body: body}, nil
		}
		if !errors.Is(failed, os.ErrNotExist) {
			return nil, fmt.Errorf("message %s: %w", id, failed)
		}
		missed := m.body
		if m, err = readMeta(s.db, id); err == nil && m.body == missed { // else it was moved meanwhile
			err = fmt.Errorf("message %s: %w: %w", id, ErrDamaged, failed)
		}
	}
	return nil, err
}

// Read implements io.Reader.
func (m *Message) Read(p []byte) (int, error) {
	for len(m.rest) == 0 && m.err == nil {
		m.err = m.advance()
	}
	if len(m.rest) == 0 {
		return 0, m.err
	}
	n := copy(p, m.rest)
	m.rest = m.rest[n:]
	m.read += int64(n)
	return n, nil
}

// WriteTo implements io.WriterTo: it hands out whole chunks and frames without another copy.
func (m *Message) WriteTo(w io.Writer) (written int64, err error) {
	for {
		if len(m.rest) == 0 && m.err == nil {
			m.err = m.advance()
		}
		if m.err != nil {
			break
		}
		n, err := w.Write(m.rest)
		m.rest = m.rest[n:]
		m.read += int64(n)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	if errors.Is(m.err, io.EOF) {
		return written, nil
	}
	return written, m.err
}

// advance fetches the next chunk or frame; io.EOF after the last.
func (m *Message) advance() error {
	chunks := int64(m.meta.chunks)
	if m.next == chunks+m.meta.body.frames() {
		if m.read != m.meta.size {
			return fmt.Errorf("message %s: %d octets instead of %d: %w", m.id, m.read, m.meta.size, ErrDamaged)
		}
		return io.EOF
	}
	if err := m.s.enter(); err != nil {
		return err
	}
	defer m.s.leave()
	var err error
	if m.next < chunks {
		if m.buf, err = readChunk(m.buffer(), m.s.db, m.id, uint32(m.next)); err == nil {
			m.rest = m.buf
		}
	} else {
		m.rest, err = m.frame(m.next - chunks)
	}
	if errors.Is(err, ErrNotFound) {
		return m.missing(err)
	}
	m.next++
	return err
}

// buffer is one from the pool, until Close.
func (m *Message) buffer() []byte {
	if m.buf == nil {
		m.buf = m.s.buffer()
	}
	return m.buf
}

func (m *Message) frame(n int64) ([]byte, error) {
	m.buf = slices.Grow(m.buffer()[:0], frameSize)
	return m.meta.body.frame(m.body, m.id, n, m.buf[:frameSize])
}

// missing tells a message that was deleted while it was read from one that lost a chunk.
func (m *Message) missing(cause error) error {
	if _, err := readMeta(m.s.db, m.id); err != nil {
		return err
	}
	return fmt.Errorf("%w: %v", ErrDamaged, cause)
}

// Close ends reading.
func (m *Message) Close() error {
	m.rest, m.err = nil, errors.New("spool: the message was closed")
	if buf := m.buf; buf != nil {
		m.buf = nil
		m.s.buffers.Put(&buf)
	}
	if m.body == nil {
		return nil
	}
	body := m.body
	m.body = nil
	return body.Close()
}
