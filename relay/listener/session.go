package listener

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"github.com/postrider/postrider/relay/auth"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
)

const (
	// maxLine is the longest command, CRLF included: 512 octets and room for the parameters of all extensions.
	maxLine = 4096
	// maxAuthLine is the longest line of an AUTH exchange, the command with its initial response too (RFC 4954 §4).
	maxAuthLine = 12288
	// maxReply is the longest text of a reply's line: 512 octets with code, separator and CRLF.
	maxReply = 500
	// readBuffer holds the longest line.
	readBuffer = 16 << 10
	// maxErrors is how many commands may fail, maxIdlers how many may do nothing, before the session is ended; a
	// message that is accepted clears the account. A client that is known may name more recipients that do not exist.
	maxErrors, maxIdlers, maxErrorsKnown = 20, 100, 1000
	// maxExcess is how many recipients above MaxRecipients are answered before the session is ended.
	maxExcess = 10_000
	// handshakeTimeout bounds a TLS handshake.
	handshakeTimeout = time.Minute
)

// Why a session ends. errEnd follows a reply that said so.
var (
	errEnd     = errors.New("the session is at its end")
	errLineEnd = errors.New("the line does not end in CRLF")
	errTooLong = errors.New("the line is too long")
)

// session is one connection and its state.
type session struct {
	Session
	listener *Listener
	settings *Settings
	handler  Handler
	log      *slog.Logger
	conn     *conn
	// stream is conn, or TLS over it.
	stream net.Conn
	in     *bufio.Reader
	out    *bufio.Writer
	// chunked reads messages in chunks; nil before the first.
	chunked *bufio.Reader
	// cancel ends the context of the session.
	cancel context.CancelFunc

	who                    auth.Identity // whom AUTH has proven
	anonymous              bool          // a proxy speaks for itself
	mail                   bool          // MAIL was accepted
	errors, idlers, excess int
	authFailures           int
}

func newSession(l *Listener, c net.Conn, remote netip.AddrPort) *session {
	settings := l.settings.Load()
	s := &session{
		listener: l,
		settings: settings,
		handler:  l.options.Handler,
		log:      l.options.Log.With("listener", settings.Listener.Name),
		conn:     &conn{Conn: c, timeout: l.options.Timeout, credit: l.options.Timeout},
	}
	s.Listener = settings.Listener
	s.Remote = remote
	return s
}

// holds says whether the credentials of the session are good still, by the settings that are in force now.
func (s *session) holds() bool {
	now := s.listener.settings.Load().Auth
	return now != nil && now.Holds(s.who)
}

// trusted asks the settings that are in force now.
func (s *session) trusted() bool {
	trusted := s.listener.settings.Load().Trusted
	return !s.anonymous && trusted != nil && trusted(s.Remote.Addr())
}

// known says that the client is no stranger.
func (s *session) known() bool { return s.Trusted || s.User != "" }

// use makes c the stream of the session. Replies wait in a buffer until the peer's next octet is waited for: those
// to pipelined commands go out together (RFC 2920 §3.2).
func (s *session) use(c net.Conn) {
	s.stream = c
	s.out = bufio.NewWriter(c)
	s.in = bufio.NewReaderSize(flushing{s.out, c}, readBuffer)
}

// flushing writes what is pending before it waits for more.
type flushing struct {
	out *bufio.Writer
	in  io.Reader
}

func (f flushing) Read(p []byte) (int, error) {
	if err := f.out.Flush(); err != nil {
		return 0, err
	}
	return f.in.Read(p)
}

// serve identifies the client, counts it, and runs its session. Nothing that goes wrong in here ends more than the
// connection.
func (s *session) serve(ctx context.Context, caps *Caps) {
	defer func() { _ = s.conn.Close() }()
	defer s.survive()
	if err := s.identify(); err != nil {
		s.log.Info("connection closed", "client", s.Remote.String(), "error", err)
		return
	}
	s.log = s.log.With("client", s.Remote.String())
	s.Trusted = s.trusted()
	s.use(s.conn)
	release, ok := caps.take(s.Remote.Addr())
	defer release()
	if !ok {
		s.refuse(reply.Reply{Code: 421, Enhanced: "4.7.0", Text: s.settings.Hostname + " Too many connections"})
		return
	}
	s.run(ctx)
}

// survive ends a session that panicked, and no other. Its peer is told to try again.
func (s *session) survive() {
	cause := recover()
	if cause == nil {
		return
	}
	s.log.Error("a session panicked", "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
	if s.out != nil {
		s.say(421, "4.3.0", "%s Local trouble; try again later", s.settings.Hostname)
		_ = s.out.Flush()
	}
}

// refuse answers a connection that is not to have a session. With implicit TLS nobody would understand the reply.
func (s *session) refuse(r reply.Reply) {
	if s.settings.Listener.TLS != config.TLSImplicit {
		s.reply(r)
		_ = s.out.Flush()
	}
}

// run serves the connection until it ends.
func (s *session) run(ctx context.Context) {
	if s.settings.Listener.TLS == config.TLSImplicit {
		if err := s.handshake(ctx); err != nil {
			s.log.Info("TLS handshake failed", "error", err)
			return
		}
	}
	err := s.greet()
	for err == nil {
		err = s.step(ctx)
	}
	s.log.Debug("session ended", "reason", err)
	_ = s.out.Flush()
	_ = s.stream.Close()
}

// greet says who we are. Strangers on a Relay listener wait a moment for it: those who cannot are no mail servers, or
// speak what somebody else put into their mouth (RFC 5321 §4.3.1).
func (s *session) greet() error {
	if s.Listener.Mode == config.ModeRelay && !s.Trusted && s.listener.options.Greeting > 0 {
		s.conn.allow(s.listener.options.Greeting)
		_, err := s.in.Peek(1)
		var timeout net.Error
		switch {
		case err == nil:
			return s.dismiss(errEarly)
		case !errors.As(err, &timeout) || !timeout.Timeout():
			return err
		}
	}
	s.say(220, "", "%s ESMTP Postrider", s.settings.Hostname)
	return nil
}

// handshake puts TLS on top of the connection.
func (s *session) handshake(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	c := tls.Server(s.conn, s.listener.certificate.config)
	if err := c.HandshakeContext(ctx); err != nil {
		return err
	}
	s.TLS = envelope.NewTLS(c.ConnectionState())
	s.use(c)
	return nil
}

// step reads and obeys one command. An error ends the session.
func (s *session) step(ctx context.Context) error {
	verb, args, err := s.readVerb()
	if err != nil {
		return s.readFailed(err)
	}
	if !s.mail && s.listener.draining() {
		s.reply(stoppingReply())
		return errEnd
	}
	if err := s.obey(ctx, verb, args); err != nil {
		return err
	}
	return s.patience()
}

// readVerb waits for the next command, as long as the session is not to be ended.
func (s *session) readVerb() (verb, args string, err error) {
	s.conn.await(!s.mail)
	defer s.conn.arrived()
	return s.readCommand()
}

// readCommand reads it within the credit of time that the peer has left.
func (s *session) readCommand() (verb, args string, err error) {
	line, err := s.readLine(maxAuthLine)
	if err != nil {
		return "", "", err
	}
	verb, args, _ = strings.Cut(strings.TrimRight(line, " \t"), " ")
	verb = strings.ToUpper(verb)
	if len(line)+len("\r\n") > maxLine && verb != "AUTH" {
		return "", "", errTooLong
	}
	return verb, args, nil
}

// readLine returns the next line without its CRLF.
func (s *session) readLine(limit int) (string, error) {
	line, err := s.in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull) || len(line) > limit:
		return "", errTooLong
	case err != nil:
		return "", err
	}
	text, ok := strings.CutSuffix(string(line), "\r\n")
	if !ok {
		return "", errLineEnd
	}
	return text, nil
}

// readFailed says goodbye where there is somebody to hear it.
func (s *session) readFailed(err error) error {
	var timeout net.Error
	switch {
	case errors.Is(err, errTooLong):
		s.say(500, "5.5.2", "Line too long")
		s.linger()
	case errors.Is(err, errLineEnd):
		s.say(500, "5.5.2", "Lines end in CR LF")
		s.linger()
	case errors.As(err, &timeout) && timeout.Timeout() && s.listener.draining():
		s.reply(stoppingReply())
	case errors.As(err, &timeout) && timeout.Timeout():
		s.say(421, "4.4.2", "%s Idle for too long", s.settings.Hostname)
	}
	return fmt.Errorf("read a command: %w", err)
}

// patience ends a session that only wastes time.
func (s *session) patience() error {
	limit := maxErrors
	if s.known() {
		limit = maxErrorsKnown
	}
	if s.errors < limit && s.idlers < maxIdlers && s.excess < maxExcess {
		return nil
	}
	return s.dismiss(reply.Reply{Code: 421, Enhanced: "4.7.0", Text: s.settings.Hostname + " Too many commands that lead nowhere"})
}

// pipelined says that octets wait behind a command that must be the last of its group (RFC 2920 §3.1): a peer that
// did not wait for the reply may not be speaking to us alone.
func (s *session) pipelined() bool { return s.in.Buffered() > 0 }

func (s *session) refusePipelining() error {
	s.say(554, "5.5.0", "Wait for the reply before you send more")
	s.linger()
	return errEnd
}

// reset ends the transaction.
func (s *session) reset() {
	s.mail = false
	s.ReversePath, s.Size, s.EightBit, s.SMTPUTF8, s.UTF8, s.Recipients = "", 0, false, false, false, nil
	s.EnvelopeID, s.Return = "", envelope.ReturnDefault
}

// say writes a reply. A refusal is counted.
func (s *session) say(code int, enhanced, format string, args ...any) {
	s.reply(reply.Reply{Code: code, Enhanced: enhanced, Text: fmt.Sprintf(format, args...)})
}

// reply writes a reply of one or more lines, each with the enhanced code (RFC 2034 §4).
func (s *session) reply(r reply.Reply) {
	if r.Code >= 500 {
		s.errors++
	}
	lines := strings.Split(r.Text, "\n")
	for i, line := range lines {
		separator := "-"
		if i == len(lines)-1 {
			separator = " "
		}
		if r.Enhanced != "" {
			line = r.Enhanced + " " + line
		}
		fmt.Fprintf(s.out, "%03d%s%s\r\n", r.Code, separator, printable(line))
	}
}

// fail answers a command with what a Handler or Authenticator returned: its reply, or 451 for trouble of our own. A
// stranger is not told for ever to try again later.
func (s *session) fail(err error) {
	r := s.replyOf(err)
	if r.Code < 500 && !s.known() {
		s.idlers++
	}
	s.reply(r)
}

func (s *session) replyOf(err error) reply.Reply {
	var r reply.Reply
	if errors.As(err, &r) && r.Code >= 400 && r.Code < 600 {
		return r
	}
	s.log.Error("answered 451", "error", err)
	return reply.Reply{Code: 451, Enhanced: "4.3.0", Text: "Local trouble; try again later"}
}

var errEarly = reply.Reply{Code: 554, Enhanced: "5.5.1", Text: "Wait for the greeting before you speak"}

func stoppingReply() reply.Reply {
	return reply.Reply{Code: 421, Enhanced: "4.3.2", Text: "Stopping; try again later"}
}

// printable keeps a line of a reply one line of ASCII, no longer than a reply may be (RFC 5321 §4.5.3.1.5).
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s[:min(len(s), maxReply)])
}
