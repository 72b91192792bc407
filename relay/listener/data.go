package listener

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/reply"
)

const (
	// lingerFor is how long a peer may go on sending a message that was refused half-way, so that it gets to read
	// the reply: closing at once could destroy it on the way.
	lingerFor = 10 * time.Second
	// minSkip is how much of a message that is too long is read to its end at least.
	minSkip = 64 << 20
)

// data takes a message. A refusal that comes before its end is given after it, so that nothing of the message is
// ever taken for a command; where its end cannot be known, the session ends.
func (s *session) data(ctx context.Context, args string) error {
	switch {
	case s.pipelined():
		return s.refusePipelining()
	case args != "":
		s.say(501, "5.5.4", "DATA takes no parameter")
	case !s.mail:
		s.say(503, "5.5.1", "Say MAIL first")
	case len(s.Recipients) == 0:
		s.say(554, "5.5.1", "No valid recipients")
	default:
		s.say(354, "", "End with CR LF . CR LF")
		defer s.reset()
		return s.receive(ctx)
	}
	return nil
}

// receive reads the message and answers it.
func (s *session) receive(ctx context.Context) error {
	m := s.message(s.in)
	answer, err := s.handle(ctx, m)
	if err != nil && !m.broken() {
		_ = m.skip(max(s.settings.MaxBytes, minSkip))
	}
	switch {
	case m.broken():
		return s.breakOff(m.err)
	case !errors.Is(m.err, io.EOF): // too long to wait for its end
		return s.breakOff(errLongMessage)
	case err != nil:
		s.fail(err)
	default:
		s.accepted(answer)
	}
	return nil
}

// message reads one from in, as the settings want it.
func (s *session) message(in *bufio.Reader) *message {
	return &message{
		in: in, left: s.settings.MaxBytes, normalize: s.settings.BareNewline == config.BareNewlineNormalize,
	}
}

// accepted answers a message that was taken. Its sender is no idler.
func (s *session) accepted(answer reply.Reply) {
	s.errors, s.idlers, s.excess = 0, 0, 0
	s.reply(answer)
}

// handle gives the message to the Handler.
func (s *session) handle(ctx context.Context, m *message) (reply.Reply, error) {
	header, err := m.header()
	switch {
	case err != nil:
		return reply.Reply{}, err
	case header[0] == ' ' || header[0] == '\t': // it would go on with the trace field above it
		return reply.Reply{}, errFolded
	}
	body := &body{message: m, session: s}
	s.EightBit = m.eightBit
	s.UTF8 = s.UTF8 || s.SMTPUTF8 && m.eightBit
	answer, err := s.handler.Data(ctx, &s.Session, header, body)
	var refusal reply.Reply
	if errors.As(m.err, &refusal) {
		return reply.Reply{}, refusal
	}
	if err == nil && !errors.Is(m.err, io.EOF) {
		return reply.Reply{}, errors.New("the handler took a message that it had not read to its end")
	}
	return answer, err
}

// body is the reader that the Handler gets. It keeps Session.EightBit true to what was read.
type body struct {
	*message
	session *session
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.message.Read(p)
	b.session.EightBit = b.eightBit
	return n, err
}

// breakOff refuses a message whose end cannot be known, and ends the session. A peer that is gone gets no answer,
// and its message is nowhere.
func (s *session) breakOff(cause error) error {
	var timeout net.Error
	var refusal reply.Reply
	switch {
	case errors.As(cause, &refusal):
		s.reply(refusal)
	case errors.As(cause, &timeout) && timeout.Timeout():
		s.say(421, "4.4.2", "%s Idle for too long", s.settings.Hostname)
	default:
		s.log.Info("the connection ended within a message", "error", cause)
		return cause
	}
	s.log.Info("message refused half-way", "reply", cause)
	s.linger()
	return errEnd
}

// linger sends what is pending, says that nothing more will come, and reads on until the peer has understood.
func (s *session) linger() {
	if err := s.out.Flush(); err != nil {
		return
	}
	if c, ok := s.stream.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	s.conn.hurry(lingerFor)
	_, _ = io.Copy(io.Discard, &io.LimitedReader{R: until{s.in, time.Now().Add(lingerFor)}, N: max(s.settings.MaxBytes, minSkip)})
}

// until reads up to a point in time.
type until struct {
	in  io.Reader
	end time.Time
}

func (u until) Read(p []byte) (int, error) {
	if time.Now().After(u.end) {
		return 0, io.EOF
	}
	return u.in.Read(p)
}
