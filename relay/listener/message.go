package listener

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/postrider/postrider/relay/reply"
)

// message reads what follows a 354 up to the line with a single dot (RFC 5321 §4.5.2). It takes away the
// dot-stuffing and nothing else. CR and LF occur together or not at all, and NUL never: the first octet that breaks
// this ends the reading, because two servers may differ about where such a message ends.
type message struct {
	in *bufio.Reader
	// left is how many octets are still allowed.
	left int64
	// lineStart says that the next octet begins a line; middle is its opposite, so that the zero value is a start.
	middle bool
	// ready is how many octets at the front of in have been judged and belong to the message.
	ready    int
	eightBit bool
	// err is how the message ended: io.EOF at its dot. It sticks.
	err error
}

// The ways in which a message cannot be read, beside io.EOF in its right place and the connection's errors.
var (
	errMalformed   = reply.Reply{Code: 550, Enhanced: "5.6.0", Text: "CR and LF stand together, and NUL nowhere, in a message"}
	errEndOfData   = reply.Reply{Code: 550, Enhanced: "5.5.2", Text: "A message ends in CR LF . CR LF"}
	errLongHeader  = reply.Reply{Code: 552, Enhanced: "5.3.4", Text: fmt.Sprintf("The header is longer than %d octets", MaxHeader)}
	errLongMessage = reply.Reply{Code: 552, Enhanced: "5.3.4", Text: "The message is too long"}
)

// Read implements io.Reader for the Handler.
func (m *message) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) && (n == 0 || m.ready > 0 || m.in.Buffered() > 0) {
		piece, err := m.next(len(p) - n)
		if err != nil {
			if n > 0 {
				return n, nil // err sticks
			}
			return 0, err
		}
		n += copy(p[n:], piece)
	}
	return n, nil
}

// next returns up to limit octets, valid until the next call.
func (m *message) next(limit int) ([]byte, error) {
	if m.err != nil {
		return nil, m.err
	}
	if m.ready == 0 {
		if m.ready, m.err = m.judge(); m.err != nil {
			return nil, m.err
		}
	}
	if int64(m.ready) > m.left {
		m.err = errLongMessage
		return nil, m.err
	}
	n := min(m.ready, limit)
	piece, _ := m.in.Peek(n)
	_, _ = m.in.Discard(n)
	m.ready -= n
	m.left -= int64(n)
	return piece, nil
}

// judge looks at what comes next and returns how many octets of it are good: at most a line.
func (m *message) judge() (int, error) {
	first, err := m.in.Peek(1)
	if err != nil {
		return 0, cut(err)
	}
	if !m.middle && first[0] == '.' {
		if err := m.dot(); err != nil {
			return 0, err
		}
		if first, err = m.in.Peek(1); err != nil {
			return 0, cut(err)
		}
	}
	if first[0] == '\r' { // alone at the end of the buffer, perhaps
		if _, err := m.in.Peek(2); err != nil {
			return 0, cut(err)
		}
	}
	block, _ := m.in.Peek(m.in.Buffered())
	return m.line(block)
}

// line returns how many octets of block belong to its first line.
func (m *message) line(block []byte) (int, error) {
	text, ended := block, false
	if end := bytes.IndexByte(block, '\n'); end >= 0 {
		block = block[:end+1]
		if text, ended = bytes.CutSuffix(block, []byte("\r\n")); !ended {
			return 0, errMalformed
		}
	} else if len(block) > 1 { // a CR at the end is judged with what follows it
		block = bytes.TrimSuffix(block, []byte("\r"))
		text = block
	}
	if bytes.IndexByte(text, 0) >= 0 || bytes.IndexByte(text, '\r') >= 0 {
		return 0, errMalformed
	}
	m.middle = !ended
	m.eightBit = m.eightBit || hasHighBit(text)
	return len(block), nil
}

// hasHighBit says whether there is an octet above 127, eight at a time.
func hasHighBit(text []byte) bool {
	const high = 0x8080808080808080
	for ; len(text) >= 8; text = text[8:] {
		if binary.LittleEndian.Uint64(text)&high != 0 {
			return true
		}
	}
	for _, c := range text {
		if c >= 0x80 {
			return true
		}
	}
	return false
}

// dot judges a line that begins with a dot: io.EOF when that is all there is. Otherwise the dot is taken away.
func (m *message) dot() error {
	next, err := m.in.Peek(2)
	if err != nil {
		return cut(err)
	}
	switch next[1] {
	case '\n', 0:
		return errEndOfData
	case '\r':
		end, err := m.in.Peek(3)
		if err != nil {
			return cut(err)
		}
		if end[2] != '\n' {
			return errEndOfData
		}
		_, _ = m.in.Discard(3)
		return io.EOF
	}
	_, _ = m.in.Discard(1)
	m.middle = true
	return nil
}

// header reads the header block, the blank line included. A message that ends without one is given it.
func (m *message) header() ([]byte, error) {
	var block []byte
	for {
		starts := !m.middle
		line, err := m.next(readBuffer)
		switch {
		case errors.Is(err, io.EOF):
			return append(block, "\r\n"...), nil
		case err != nil:
			return nil, err
		case len(block)+len(line) > MaxHeader:
			m.err = errLongHeader
			return nil, m.err
		}
		block = append(block, line...)
		if starts && string(line) == "\r\n" {
			return block, nil
		}
	}
}

// skip reads on to the end of a message that is refused, but not further than limit octets.
func (m *message) skip(limit int64) error {
	for m.err == nil || isTooLong(m.err) {
		m.err = nil
		m.left = readBuffer
		piece, err := m.next(readBuffer)
		if err != nil {
			break
		}
		if limit -= int64(len(piece)); limit < 0 {
			return errLongMessage
		}
	}
	return m.err
}

// broken says that the message ended where no reader can say what follows it, or that the peer is gone.
func (m *message) broken() bool {
	return m.err != nil && !errors.Is(m.err, io.EOF) && !isTooLong(m.err)
}

func isTooLong(err error) bool {
	return errors.Is(err, errLongHeader) || errors.Is(err, errLongMessage)
}

// cut is the error of a message that did not end: never io.EOF, which would make it whole.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
