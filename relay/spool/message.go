package spool

import (
	"errors"
	"fmt"
	"io"

	"github.com/postrider/postrider/relay/envelope"
)

// Message reads a stored message, octet for octet as it goes on the wire (CRLF, not dot-stuffed). One chunk is in
// memory at a time, and no octet is handed out before its chunk's checksum was verified.
type Message struct {
	// Size is the message's length in octets.
	Size int64

	s    *Store
	id   envelope.ID
	meta meta
	next uint32
	rest []byte
	read int64
	err  error
}

// Message opens a message for reading. ErrNotFound when it is not stored, or no longer; Read fails with ErrDamaged
// when it is not what was stored. It must be closed.
func (s *Store) Message(id envelope.ID) (*Message, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	m, err := readMeta(s.db, id)
	if err != nil {
		return nil, err
	}
	return &Message{Size: m.size, s: s, id: id, meta: m}, nil
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

// WriteTo implements io.WriterTo: it hands out whole chunks without another copy.
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

// advance fetches the next chunk; io.EOF after the last.
func (m *Message) advance() error {
	if m.next == m.meta.chunks {
		if m.read != m.meta.size {
			return fmt.Errorf("message %s: %d octets instead of %d: %w", m.id, m.read, m.meta.size, ErrDamaged)
		}
		return io.EOF
	}
	if err := m.s.enter(); err != nil {
		return err
	}
	defer m.s.leave()
	octets, err := readChunk(m.s.db, m.id, m.next)
	if errors.Is(err, ErrNotFound) {
		return m.missing(err)
	}
	if err != nil {
		return err
	}
	m.rest = octets
	m.next++
	return nil
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
	return nil
}
