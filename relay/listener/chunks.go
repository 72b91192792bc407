package listener

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/postrider/postrider/relay/reply"
)

const (
	// smallChunk is the size in octets below which a chunk that is not the last counts as small, maxSmallChunks how
	// many of these a message may have.
	smallChunk, maxSmallChunks = 1 << 10, 1000
)

// errBrokenOff is what the Handler reads when a message in chunks does not go on.
var errBrokenOff = errors.New("the message was broken off between two chunks")

// chunks are the octets of a message that comes in chunks (RFC 3030), as one stream. Where a chunk ends it is
// answered, and the command with the next one waited for. The octets of a chunk are never read as commands: where
// their number is not known, or too large, the session ends.
type chunks struct {
	session *session
	// size is that of the current chunk, left how much of it has not been read, total the size of all so far.
	size, left, total int64
	small             int
	last              bool
	// then is what is to be done when the Handler has let go of a message that was broken off.
	then func(context.Context) error
	// err is how the stream ended: io.EOF at the end of the last chunk. It sticks.
	err error
}

// bdat takes a message in chunks, or the octets of a chunk that nobody wants.
func (s *session) bdat(ctx context.Context, args string) error {
	c := &chunks{session: s}
	err := c.begin(args)
	switch {
	case err != nil:
		return s.dismiss(err)
	case s.mail && len(s.Recipients) > 0:
		return s.receiveChunks(ctx, c)
	}
	if err := c.skip(); err != nil {
		return s.breakOff(err)
	}
	if s.mail {
		s.say(554, "5.5.1", "No valid recipients")
	} else {
		s.say(503, "5.5.1", "Say MAIL first")
	}
	return nil
}

// receiveChunks gives the message to the Handler. One that is refused is answered at the end of the chunk that was
// being read, and the transaction is over.
func (s *session) receiveChunks(ctx context.Context, c *chunks) error {
	if s.chunked == nil {
		s.chunked = bufio.NewReaderSize(nil, readBuffer)
	}
	s.chunked.Reset(c)
	m := s.message(s.chunked)
	m.raw = true
	answer, err := s.handle(ctx, m)
	if c.then == nil && err != nil {
		_ = c.skip()
	}
	s.reset()
	switch {
	case c.then != nil:
		return c.then(ctx)
	case err != nil:
		s.fail(err)
	default:
		s.accepted(answer)
	}
	return nil
}

// Read implements io.Reader.
func (c *chunks) Read(p []byte) (int, error) {
	for c.left == 0 && c.err == nil {
		c.err = c.next()
	}
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.session.in.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if err != nil {
		c.err = c.lost(err)
	}
	return n, c.err
}

// skip reads to the end of the current chunk.
func (c *chunks) skip() error {
	n, err := io.CopyN(io.Discard, c.session.in, c.left)
	if c.left -= n; err != nil {
		c.err = c.lost(err)
		return cut(err)
	}
	return nil
}

// next answers a chunk and waits for the following one: io.EOF when there is none. The message is one, and so is the
// credit of time for it: small chunks with long pauses are a trickle.
func (c *chunks) next() error {
	if c.last {
		return io.EOF
	}
	s := c.session
	s.say(250, "2.0.0", "%d octets received", c.size)
	for {
		verb, args, err := s.readCommand()
		if err != nil {
			return c.breakOff(func(context.Context) error { return s.readFailed(err) })
		}
		switch verb {
		case "BDAT":
			if err := c.begin(args); err != nil {
				return c.breakOff(func(context.Context) error { return s.dismiss(err) })
			}
			return nil
		case "NOOP", "VRFY":
			s.idle(verb)
		case "MAIL", "RCPT", "DATA":
			s.say(503, "5.5.1", "A message is on its way in chunks")
		default:
			return c.breakOff(func(ctx context.Context) error { return s.obey(ctx, verb, args) })
		}
		if err := s.patience(); err != nil {
			return c.breakOff(func(context.Context) error { return err })
		}
	}
}

// begin takes the arguments of BDAT. Its error is a reply after which the session ends, because octets follow whose
// number is not known, or is too large.
func (c *chunks) begin(args string) error {
	number, keyword, _ := strings.Cut(args, " ")
	size, err := strconv.ParseUint(number, 10, 63)
	tooLong := err == nil && int64(size) > c.session.settings.MaxBytes-c.total
	switch {
	case errors.Is(err, strconv.ErrRange) || tooLong:
		return errLongMessage
	case err != nil || keyword != "" && !strings.EqualFold(keyword, "LAST"):
		return badParam("BDAT size [LAST] was expected")
	}
	c.size, c.left, c.last = int64(size), int64(size), keyword != ""
	c.total += c.size
	if !c.last && c.size < smallChunk {
		c.small++
	}
	if c.small > maxSmallChunks {
		return reply.Reply{Code: 421, Enhanced: "4.7.0", Text: c.session.settings.Hostname + " Too many small chunks"}
	}
	return nil
}

// breakOff ends the stream within a message.
func (c *chunks) breakOff(then func(context.Context) error) error {
	c.then = then
	return errBrokenOff
}

// lost ends it where the peer is gone, or silent.
func (c *chunks) lost(err error) error {
	_ = c.breakOff(func(context.Context) error { return c.session.breakOff(cut(err)) })
	return fmt.Errorf("read a chunk: %w", cut(err))
}

// dismiss refuses what cannot be followed any more, and ends the session.
func (s *session) dismiss(refusal error) error {
	s.fail(refusal)
	s.linger()
	return errEnd
}
