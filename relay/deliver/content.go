package deliver

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/postrider/postrider/relay/reply"
)

// content sends a message after 354, up to the final dot. With an error there is a reply that stands for it, and the
// connection is of no more use. size is how long the message must be; 0 if unknown.
func (s *conn) content(from io.Reader, size int64) (reply.Reply, error) {
	b := s.bufs.blocks.Get().(*block)
	defer s.bufs.blocks.Put(b)
	if size > 0 {
		s.writeBy = time.Now().Add(s.timeouts.Block + time.Duration(size/minRate)*time.Second)
		defer func() { s.writeBy = time.Time{} }()
	}
	sent, err := stuff(s.w, from, b[:streamSize])
	var unread readError
	switch {
	case errors.As(err, &unread):
		return reply.Reply{Code: 451, Enhanced: "4.3.0", Text: err.Error()}, err
	case err != nil:
		return s.lastWord(err), err
	case size > 0 && sent != size:
		err := wrongSize(sent, size)
		return reply.Reply{Code: 451, Enhanced: "4.3.0", Text: err.Error()}, err
	}
	// Only from here on can the message have been taken.
	if err := s.finish(); err != nil {
		return replyFor(err), err
	}
	return reply.Reply{}, nil
}

// minRate is how fast a server must take a message, in octets per second. Without it, one that takes a block every
// three minutes would keep us for days.
const minRate = 1 << 10

func wrongSize(read, stored int64) error {
	return fmt.Errorf("the message has %d octets, and %d were stored", read, stored)
}

// whole reads a message that must have size octets into b, which has room for more than that.
func whole(from io.Reader, b []byte, size int64) ([]byte, error) {
	n, err := io.ReadFull(from, b[:size+1])
	switch {
	case err == nil || int64(n) != size && (errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)):
		return nil, wrongSize(int64(n), size)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return b[:size], nil
	default:
		return nil, fmt.Errorf("read the message after %d octets: %w", n, err)
	}
}

func (s *conn) finish() error {
	s.handed.Store(true)
	if _, err := s.w.WriteString(".\r\n"); err != nil {
		return fmt.Errorf("send the message: %w", err)
	}
	if err := s.w.Flush(); err != nil {
		return fmt.Errorf("send the message: %w", err)
	}
	return nil
}

// lastWord is the reply of a server that would not hear the message out, if it said why.
func (s *conn) lastWord(broken error) reply.Reply {
	answer, err := s.read(lastWordWait, "the reply to the message")
	if err == nil && answer.Code >= 400 {
		return answer
	}
	return replyFor(fmt.Errorf("send the message: %w", broken))
}

// lastWordWait is how long such a reply is waited for: it was sent before the connection broke, or never.
const lastWordWait = 5 * time.Second

// readError says that the message could not be read to its end.
type readError struct{ error }

// stuff copies a message in blocks and doubles the dots that begin a line (RFC 5321 §4.5.2). Every other octet goes
// out as it is; CRLF is added where it does not end in one. A dot after a bare CR or LF is doubled too: such
// a message is never accepted, but if one were, no server should see its end in the middle.
func stuff(w *bufio.Writer, from io.Reader, block []byte) (octets int64, err error) {
	last := [2]byte{'\r', '\n'}
	for {
		n, err := from.Read(block)
		octets += int64(n)
		if n > 0 {
			if err := stuffBlock(w, block[:n], last[1]); err != nil {
				return octets, err
			}
			last = lastTwo(last, block[:n])
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return octets, readError{fmt.Errorf("read the message after %d octets: %w", octets, err)}
		}
	}
	if last != [2]byte{'\r', '\n'} {
		_, err = w.WriteString("\r\n")
	}
	return octets, err
}

func lastTwo(before [2]byte, block []byte) [2]byte {
	if n := len(block); n > 1 {
		return [2]byte{block[n-2], block[n-1]}
	}
	return [2]byte{before[1], block[0]}
}

// stuffBlock writes a block; before is the octet that went before it.
func stuffBlock(w *bufio.Writer, block []byte, before byte) error {
	start := 0
	for at := 0; at < len(block); at++ {
		next := bytes.IndexByte(block[at:], '.')
		if next < 0 {
			break
		}
		at += next
		if at > 0 {
			before = block[at-1]
		}
		if before != '\n' && before != '\r' {
			continue
		}
		if _, err := w.Write(block[start:at]); err != nil {
			return err
		}
		if err := w.WriteByte('.'); err != nil {
			return err
		}
		start = at
	}
	_, err := w.Write(block[start:])
	return err
}
