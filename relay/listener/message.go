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

// message reads what follows a 354 up to the line with a single dot (RFC 5321 §4.5.2), or chunks up to the end of
// the last. It takes away the dot-stuffing, ends the last line in CRLF, and changes nothing else. CR and LF occur
// together or not at all, and NUL never: the first octet that breaks this ends the reading, because two servers may
// differ about where such a message ends.
type message struct {
	in *bufio.Reader
	// left is how many octets are still allowed.
	left int64
	// raw says that it comes in chunks: dots mean nothing, and the message ends where in does.
	raw bool
	// normalize says that an LF alone becomes CRLF. It still ends no message: a line behind it that begins with a dot
	// is refused, because readers differ about what that dot is.
	normalize bool
	// lineStart says that the next octet begins a line; middle is its opposite, so that the zero value is a start.
	middle bool
	// afterLF says that the line before ended in an LF alone.
	afterLF bool
	// inBody says that the header was read: from there on nobody asks where a line ends.
	inBody bool
	// owed is what the reader gets in place of an LF alone, or of the end of a line that has none.
	owed []byte
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
	errFolded      = reply.Reply{Code: 550, Enhanced: "5.6.0", Text: "A message does not begin with white space"}
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
	if m.ready == 0 && len(m.owed) == 0 {
		if m.ready, m.err = m.judge(); m.err != nil {
			return nil, m.err
		}
	}
	if int64(m.ready+len(m.owed)) > m.left {
		m.err = errLongMessage
		return nil, m.err
	}
	if m.ready == 0 {
		piece := m.owed[:min(len(m.owed), limit)]
		m.owed = m.owed[len(piece):]
		m.left -= int64(len(piece))
		return piece, nil
	}
	n := min(m.ready, limit)
	piece, _ := m.in.Peek(n)
	_, _ = m.in.Discard(n)
	m.ready -= n
	m.left -= int64(n)
	return piece, nil
}

// judge looks at what comes next and returns how many octets of it are good: at most a line in the header. With none,
// there are some in owed.
func (m *message) judge() (int, error) {
	first, err := m.in.Peek(1)
	if err != nil {
		return 0, m.end(err)
	}
	if !m.middle && first[0] == '.' && !m.raw {
		if err := m.dot(); err != nil {
			return 0, err
		}
		if first, err = m.in.Peek(1); err != nil {
			return 0, cut(err)
		}
	}
	if first[0] == '\r' { // alone at the end of the buffer, perhaps
		if _, err := m.in.Peek(2); m.raw && errors.Is(err, io.EOF) {
			return 0, errMalformed
		} else if err != nil {
			return 0, cut(err)
		}
	}
	block, _ := m.in.Peek(m.in.Buffered())
	return m.line(block)
}

// end judges that nothing more comes: the end of the last chunk, where a line that was begun is ended.
func (m *message) end(err error) error {
	switch {
	case !m.raw || !errors.Is(err, io.EOF):
		return cut(err)
	case m.middle:
		m.owe()
		m.left += int64(len(m.owed)) // they are not the peer's
		return nil
	}
	return io.EOF
}

// owe gives the reader the end of a line that does not stand in the message.
func (m *message) owe() { m.owed, m.middle = []byte("\r\n"), false }

// line returns how many octets of all belong to its first line, or to the first lines where nothing is to be done about
// them.
func (m *message) line(all []byte) (int, error) {
	block, text, ended := all, all, false
	if end := bytes.IndexByte(block, '\n'); end >= 0 {
		block = block[:end+1]
		if text, ended = bytes.CutSuffix(block, []byte("\r\n")); !ended {
			if block, text = block[:end], block[:end]; !m.normalize {
				return 0, errMalformed
			}
		}
	} else if len(block) > 1 { // a CR at the end is judged with what follows it
		block = bytes.TrimSuffix(block, []byte("\r"))
		text = block
	}
	if len(block) == 0 {
		_, _ = m.in.Discard(1)
		m.afterLF = true
		m.owe()
		return 0, nil
	}
	if bytes.IndexByte(text, 0) >= 0 || bytes.IndexByte(text, '\r') >= 0 {
		return 0, errMalformed
	}
	m.middle, m.afterLF = !ended, false
	if ended && m.inBody {
		block = m.lines(block, all)
	}
	m.eightBit = m.eightBit || hasHighBit(block)
	return len(block), nil
}

// lines adds to the first line of a block those after it that are whole, plain and need no change: most of most bodies.
func (m *message) lines(first, block []byte) []byte {
	n := len(first)
	for n < len(block) && (block[n] != '.' || m.raw) {
		end := bytes.IndexByte(block[n:], '\n')
		if end < 1 || block[n+end-1] != '\r' {
			break
		}
		if text := block[n : n+end-1]; bytes.IndexByte(text, '\r') >= 0 || bytes.IndexByte(text, 0) >= 0 {
			break
		}
		n += end + 1
	}
	return block[:n]
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
	if m.afterLF {
		return errEndOfData
	}
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
			m.inBody = true
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
