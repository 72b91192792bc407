package deliver

import (
	"bufio"
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
)

// conn is a session with a server. One goroutine uses it at a time.
type conn struct {
	tcp      net.Conn // what abort cuts off; nc is the same, or TLS over it
	nc       net.Conn
	r        *bufio.Reader
	w        *bufio.Writer
	bufs     *buffers
	timeouts Timeouts

	key        key
	extensions map[string]string // by name in upper case, with their parameters
	limits     limits
	tls        string    // as in envelope.Outcome
	greeted    bool      // the server has said something
	messages   int       // transactions begun
	open       bool      // a transaction may be open: RSET before the next
	reused     bool      // it waited in the pool since the last transaction
	careful    bool      // no message in one flight
	writeBy    time.Time // when the content must be out; zero for no limit but that of each block
	// handed says that the last octets of a message are on their way: the server may take it from now on.
	handed atomic.Bool

	expiry *time.Timer
	place  *list.Element // in the pool; nil outside
}

// errUnreached is among the causes of a failure in which there was no connection at all.
var errUnreached = errors.New("no connection")

// session opens a session with a target, ready for MAIL; without TLS, where that may be, when TLS failed.
func (c *Client) session(ctx context.Context, t target) (*conn, error) {
	s, err := c.connect(ctx, t)
	if errors.Is(err, errNotSecure) && t.mayGoPlain() && ctx.Err() == nil {
		c.plain.remember(t.key.addr, c.o.Now())
		return c.connect(ctx, t)
	}
	return s, err
}

func (c *Client) connect(ctx context.Context, t target) (*conn, error) {
	nc, err := c.dial(ctx, t)
	if err != nil {
		return nil, err
	}
	s := c.newConn(nc, t.key)
	stop := context.AfterFunc(ctx, s.abort)
	err = s.begin(ctx, t, c.plain.holds(t.key.addr, c.o.Now()))
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		if !s.greeted && isTimeout(err) && ctx.Err() == nil {
			c.down.remember(t.key.addr, c.o.Now())
		}
		s.close()
		return nil, err
	}
	return s, nil
}

// dial opens a connection and remembers the address when it cannot.
func (c *Client) dial(ctx context.Context, t target) (net.Conn, error) {
	dialing, cancel := context.WithTimeout(ctx, c.o.Timeouts.Connect)
	defer cancel()
	nc, err := c.o.Dial(dialing, "tcp", t.key.addr.String())
	if err == nil {
		c.down.forget(t.key.addr)
		return nc, nil
	}
	if isDown(err) && ctx.Err() == nil {
		c.down.remember(t.key.addr, c.o.Now())
	}
	text := fmt.Sprintf("connect to %s: %v", t, reason(err))
	return nil, failure{reply.Reply{Code: 421, Enhanced: "4.4.1", Text: text}, fmt.Errorf("%w: %w", errUnreached, err)}
}

// isDown tells a host that is not there from trouble of our own, such as too many open files.
func isDown(err error) bool {
	return isTimeout(err) || errors.Is(err, syscall.ECONNREFUSED) ||
		errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH)
}

// reason is why a connection could not be made, without the address that net repeats.
func reason(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

func (c *Client) newConn(nc net.Conn, k key) *conn {
	s := &conn{tcp: nc, nc: nc, key: k, bufs: c.bufs, timeouts: c.o.Timeouts, careful: c.careful.holds(k.addr, c.o.Now())}
	s.r = c.bufs.readers.Get().(*bufio.Reader)
	s.w = c.bufs.writers.Get().(*bufio.Writer)
	s.r.Reset(nc)
	s.w.Reset(blockWriter{s})
	return s
}

// begin goes from the greeting to where MAIL can be said.
func (s *conn) begin(ctx context.Context, t target, plain bool) error {
	greeting, err := s.read(s.timeouts.Greeting, "the greeting")
	if err != nil {
		return err
	}
	if greeting.Class() != reply.Success {
		return unwelcome("greeted with", greeting)
	}
	s.greeted = true
	if err := s.hello(); err != nil {
		return err
	}
	if err := s.secure(ctx, t, plain); err != nil {
		return err
	}
	return s.authenticate(ctx)
}

// hello says EHLO, and HELO to a server that does not know it (RFC 5321 §3.2); with LMTP only LHLO will do
// (RFC 2033 §4.1).
func (s *conn) hello() error {
	verb := "EHLO"
	if s.key.lmtp {
		verb = "LHLO"
	}
	s.extensions, s.limits = nil, limits{}
	answer, err := s.ask(s.timeouts.Hello, verb, verb+" "+s.key.ehlo)
	if err != nil {
		return err
	}
	if answer.Class() == reply.Success {
		s.extensions = parseExtensions(answer.Text)
		s.limits = parseLimits(s.extensions["LIMITS"])
		return nil
	}
	if answer.Class() == reply.Permanent && !s.key.lmtp {
		verb = "HELO"
		if answer, err = s.ask(s.timeouts.Hello, verb, verb+" "+s.key.ehlo); err != nil {
			return err
		}
	}
	if answer.Class() != reply.Success {
		return unwelcome("answered "+verb+" with", answer)
	}
	return nil
}

// unwelcome is the failure of a host that does not want to talk to us. It is never final: it says nothing about
// the recipients, and most often something about our address that can be put right.
func unwelcome(how string, r reply.Reply) error {
	if r.Class() == reply.Permanent {
		r = reply.Reply{Code: 421, Enhanced: "4.3.2", Text: how + ": " + r.String()}
	}
	return failure{reply: r}
}

// errNotSecure is the cause of a failure in which TLS could not be agreed on.
var errNotSecure = errors.New("no TLS")

func notSecure(format string, args ...any) error {
	return failure{reply.Reply{Code: 454, Enhanced: "4.7.5", Text: fmt.Sprintf(format, args...)}, errNotSecure}
}

// secure turns the session to TLS as the key asks for.
func (s *conn) secure(ctx context.Context, t target, plain bool) error {
	required := s.key.tls == config.HopRequired
	switch {
	case s.key.tls == config.HopNone, plain && t.mayGoPlain():
		return nil
	case !s.offers("STARTTLS") && required:
		return notSecure("%s offers no STARTTLS, and TLS is required", t)
	case !s.offers("STARTTLS"):
		return nil
	}
	answer, err := s.ask(s.timeouts.Hello, "STARTTLS", "STARTTLS")
	if err != nil {
		return err
	}
	if answer.Class() != reply.Success {
		if required {
			return notSecure("%s answered STARTTLS with: %s", t, answer)
		}
		return nil
	}
	if s.r.Buffered() > 0 {
		return notSecure("%s sent octets in clear after its reply to STARTTLS", t)
	}
	if err := s.handshake(ctx, t); err != nil {
		return err
	}
	return s.hello()
}

func (s *conn) handshake(ctx context.Context, t target) error {
	required := s.key.tls == config.HopRequired
	secure := tls.Client(s.nc, &tls.Config{
		ServerName: t.host,
		RootCAs:    s.key.roots,
		MinVersion: tls.VersionTLS12,
		// Opportunistic TLS keeps listeners out; whom it is spoken with, nobody can know (RFC 7435).
		InsecureSkipVerify: !required,
		// Small records help who shows half a page; a message is of use when it is whole.
		DynamicRecordSizingDisabled: true,
	})
	limited, cancel := context.WithTimeout(ctx, s.timeouts.Handshake)
	defer cancel()
	_ = s.nc.SetDeadline(time.Now().Add(s.timeouts.Handshake))
	if err := secure.HandshakeContext(limited); err != nil {
		return notSecure("TLS with %s: %v", t, err)
	}
	s.tls = envelope.NewTLS(secure.ConnectionState()).String()
	s.nc = secure
	s.r.Reset(secure)
	s.w.Reset(blockWriter{s})
	return nil
}

// outcome is an outcome over this session, but for the reply and the time.
func (s *conn) outcome(t target) envelope.Outcome {
	return envelope.Outcome{NextHop: t.String(), TLS: s.tls}
}

// blockWriter gives every write its own time, and all of the content together the time it has.
type blockWriter struct{ s *conn }

func (w blockWriter) Write(p []byte) (int, error) {
	deadline := time.Now().Add(w.s.timeouts.Block)
	if by := w.s.writeBy; !by.IsZero() && by.Before(deadline) {
		deadline = by
	}
	if err := w.s.nc.SetWriteDeadline(deadline); err != nil {
		return 0, err
	}
	return w.s.nc.Write(p)
}

// ask sends one command and reads its reply. What names the command in errors.
func (s *conn) ask(limit time.Duration, what, command string) (reply.Reply, error) {
	if err := s.send(command); err != nil {
		return reply.Reply{}, fmt.Errorf("send %s: %w", what, err)
	}
	if err := s.w.Flush(); err != nil {
		return reply.Reply{}, fmt.Errorf("send %s: %w", what, err)
	}
	return s.read(limit, "the reply to "+what)
}

// send puts a command into the buffer. A server that has already said more than it was asked is not asked further:
// its replies would be taken for answers to what it has not heard.
func (s *conn) send(command string) error {
	if s.r.Buffered() > 0 {
		return failure{reply: reply.Reply{Code: 451, Enhanced: "4.5.0", Text: "the server sent a reply before it was asked"}}
	}
	_, err := s.w.WriteString(command)
	if err == nil {
		_, err = s.w.WriteString("\r\n")
	}
	return err
}

// read reads a reply; all of it must be there in time.
func (s *conn) read(limit time.Duration, what string) (reply.Reply, error) {
	return s.readBy(time.Now().Add(limit), what)
}

func (s *conn) readBy(deadline time.Time, what string) (reply.Reply, error) {
	if err := s.nc.SetReadDeadline(deadline); err != nil {
		return reply.Reply{}, fmt.Errorf("wait for %s: %w", what, err)
	}
	answer, err := readReply(s.r)
	if err != nil {
		return reply.Reply{}, fmt.Errorf("wait for %s: %w", what, err)
	}
	return answer, nil
}

// interrupt cuts the connection off, from any goroutine; when a message was handed over, only after so long.
func (s *conn) interrupt(patience time.Duration) {
	if s.handed.Load() {
		time.AfterFunc(patience, s.abort) // its connection is not used again
		return
	}
	s.abort()
}

// abort cuts the connection off, from any goroutine.
func (s *conn) abort() { _ = s.tcp.Close() }

// close ends the connection without a word, and gives the buffers back.
func (s *conn) close() {
	_ = s.tcp.Close()
	s.r.Reset(nil)
	s.w.Reset(nil)
	s.bufs.readers.Put(s.r)
	s.bufs.writers.Put(s.w)
	s.r, s.w = nil, nil
}

// quit says QUIT and does not wait for the answer: there is nothing in it for us.
func (s *conn) quit() {
	if s.send("QUIT") == nil {
		_ = s.nc.SetWriteDeadline(time.Now().Add(time.Second))
		_ = s.w.Flush()
	}
	s.close()
}

// errStale says that a connection that waited was no longer any good, before it was given anything.
var errStale = errors.New("the connection did not survive its wait")
