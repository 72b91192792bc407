// Package listener owns the receiving side of SMTP (RFC 5321, RFC 6409): ports, connections and sessions. It turns
// a session into calls of a Handler and the Handler's answers into replies. It decides what is well-formed, how long
// and how fast a peer must speak, and how many may; never who may send what, and it stores nothing.
//
// The session is our own. go-smtp, the server library of the field, reports a message that was cut off in the
// middle of a BDAT chunk as complete, cannot be told not to offer CHUNKING, and hides the end of the connection
// behind its own TLS layer, so that nothing around it can make up for that. See TestGoSMTPTakesCutMessages.
//
// Nothing is offered that is not kept: no BINARYMIME, for a next hop might not take it.
package listener

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postrider/postrider/relay/auth"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
)

// Handler decides over a session's commands. An error that is a reply.Reply, or wraps one, goes to the peer as it
// is; any other is logged and answered 451 4.3.0. A session calls one method at a time.
type Handler interface {
	// Mail is called for MAIL; s.ReversePath and s.Size are those of the command.
	Mail(ctx context.Context, s *Session) error
	// Rcpt is called for RCPT, with the address and what the command said about notices. When it returns nil and left
	// s.Recipients as it was, to is appended there; a Handler that accepts another address in its place appends that one.
	Rcpt(ctx context.Context, s *Session, to envelope.Recipient) error
	// Data is called with a message. header is its header block up to and including the blank line, at most
	// MaxHeader octets; body the rest, with CRLF at the end of each line and without dot-stuffing. The message is
	// whole only when body has returned io.EOF: any other error of body must be returned, with nothing kept. The
	// reply is for success: 250 2.0.0 queued as ID.
	Data(ctx context.Context, s *Session, header []byte, body io.Reader) (reply.Reply, error)
}

// Authenticator checks the credentials of a client: auth.Gate. Its errors are as those of a Handler.
type Authenticator interface {
	// Password returns whom a user name and a password prove.
	Password(ctx context.Context, user, password string) (auth.Identity, error)
	// Token returns whom a bearer token proves; user is empty where the client gave no name.
	Token(ctx context.Context, user, token string) (auth.Identity, error)
	// Holds says whether what proved somebody does so still. It is asked at each MAIL.
	Holds(who auth.Identity) bool
	// TakesTokens says whether the mechanisms for tokens are offered.
	TakesTokens() bool
}

// Session is what is known about a connection and its current transaction.
type Session struct {
	Listener config.Listener
	// Remote is the client; behind a proxy, what the PROXY header says.
	Remote netip.AddrPort
	// Helo is the argument of EHLO or HELO: a domain name or an address literal by its characters, otherwise unproven.
	Helo string
	// ESMTP says that the peer said EHLO.
	ESMTP bool
	// TLS is nil in clear.
	TLS *envelope.TLS
	// User is the name of whom the peer proved to be; empty when it did not authenticate.
	User string
	// UID is that of the ServiceAccount that User is; empty for any other.
	UID string
	// Trusted is what Settings.Trusted said about Remote when the transaction began.
	Trusted bool

	// ReversePath is the address of MAIL FROM, checked and quoted where it has to be; empty for <>.
	ReversePath string
	// Size is the parameter SIZE of MAIL in octets; 0 when there was none.
	Size int64
	// EightBit says that the message has octets above 127: known when its body is read to the end.
	EightBit bool
	// SMTPUTF8 says that MAIL had the parameter of that name (RFC 6531).
	SMTPUTF8 bool
	// UTF8 says that it was needed, for the reverse path or, known when Data is called, for the header. Recipients that
	// need it say so by their address: envelope.NeedsUTF8.
	UTF8 bool
	// EnvelopeID and Return are the ENVID and RET of MAIL (RFC 3461), as in envelope.Envelope.
	EnvelopeID string
	Return     envelope.Return
	// Priority is the MT-PRIORITY of MAIL (RFC 6710); nil when there was none.
	Priority *int
	// Recipients accepted so far: address, and what RCPT said about notices.
	Recipients []envelope.Recipient
}

// Limits of a session.
const (
	// MaxHeader is the longest header block, in octets.
	MaxHeader = 256 << 10
	// MaxRecipients of a transaction; more are answered 452 4.5.3 (RFC 5321 §4.5.3.1.8 wants at least 100).
	MaxRecipients = 1000
)

// Defaults of Options.
const (
	DefaultGreeting  = 100 * time.Millisecond
	DefaultAuthDelay = time.Second
)

// Settings can change while a Listener serves; new sessions see the new ones.
type Settings struct {
	// Listener's Port must stay as it is.
	Listener config.Listener
	// Path is where a file named in the configuration is: config.Config.Path.
	Path func(file string) string
	// Hostname is the name in the greeting.
	Hostname string
	// MaxBytes is the longest message in octets, header included; a message of exactly that length is accepted.
	MaxBytes int64
	// Trusted says which clients may relay without AUTH; nil for none.
	Trusted func(netip.Addr) bool
	// Auth checks credentials on Submission listeners; nil when AUTH is not offered.
	Auth Authenticator
	// BareNewline says what becomes of an LF without CR in a message; empty is Reject.
	BareNewline config.BareNewline

	// proxies are those of Listener.ProxyCIDRs.
	proxies []netip.Prefix
}

// Options of a Listener.
type Options struct {
	Settings
	// Bind is the address to listen on, without a port; empty for all.
	Bind    string
	Handler Handler
	// Caps are shared by listeners that count together; nil for the default ones.
	Caps *Caps
	// Timeout is how long a peer may be silent; 0 for five minutes (RFC 5321 §4.5.3.2.7).
	Timeout time.Duration
	// Greeting is how long strangers wait for the greeting of a Relay listener, which unmasks those who do not; 0 for
	// DefaultGreeting, negative for not at all.
	Greeting time.Duration
	// AuthDelay is how long the first wrong password of a session waits for its answer, and each one longer by as much;
	// 0 for DefaultAuthDelay.
	AuthDelay time.Duration
	Log       *slog.Logger
}

// Status is one port as it is.
type Status struct {
	Name, Address string
	// Error says why the listener does not listen, or serves without TLS; empty when all is well.
	Error string
	// CertificateExpires is zero without a certificate.
	CertificateExpires time.Time
}

// Listener is one port.
type Listener struct {
	name        string
	port        int
	options     Options
	settings    atomic.Pointer[Settings]
	certificate *certificate
	ready       chan struct{}

	mu       sync.Mutex
	listener net.Listener
	failure  error
	stopping bool
	sessions map[*session]struct{}
	serving  sync.WaitGroup
	// stopped is closed when stopping begins.
	stopped chan struct{}
}

// New makes a Listener that does not listen yet. A certificate that cannot be read is no error: see Status.
func New(o Options) *Listener {
	o.Timeout = cmp.Or(o.Timeout, 5*time.Minute)
	o.Greeting = cmp.Or(o.Greeting, DefaultGreeting)
	o.AuthDelay = cmp.Or(o.AuthDelay, DefaultAuthDelay)
	if o.Caps == nil {
		o.Caps = NewCaps(DefaultConnections, DefaultPerClient)
	}
	l := &Listener{
		name:        o.Listener.Name,
		port:        o.Listener.Port,
		options:     o,
		certificate: newCertificate(),
		ready:       make(chan struct{}),
		sessions:    make(map[*session]struct{}),
		stopped:     make(chan struct{}),
	}
	l.Reconfigure(o.Settings)
	return l
}

// Reconfigure puts s in force for new sessions.
func (l *Listener) Reconfigure(s Settings) {
	if s.Listener.TLS != config.TLSNone {
		l.certificate.use(s.Path(s.Listener.CertFile), s.Path(s.Listener.KeyFile))
	}
	var err error
	if s.proxies, err = parseProxies(s.Listener.ProxyCIDRs); err != nil {
		l.options.Log.Error("some proxies cannot connect", "listener", l.name, "error", err)
	}
	l.settings.Store(&s)
}

// Ready is closed when the port is open.
func (l *Listener) Ready() <-chan struct{} { return l.ready }

// Serve opens the port and serves until Shutdown, or until ctx is done, which breaks sessions off. A port that
// cannot be opened is tried again until it can: Status says why. One with implicit TLS is not opened before there is
// a certificate. Its error is that of ctx.
func (l *Listener) Serve(ctx context.Context) error {
	defer context.AfterFunc(ctx, l.abort)()
	for !l.listen(ctx) {
		select {
		case <-l.stopped:
			return ctx.Err()
		case <-time.After(recheck):
		}
	}
	l.accept(ctx)
	l.serving.Wait()
	return ctx.Err()
}

// listen opens the port and says whether that is settled: a listener that is being stopped stays closed.
func (l *Listener) listen(ctx context.Context) bool {
	if l.settings.Load().Listener.TLS == config.TLSImplicit && !l.certificate.usable() {
		return false
	}
	var lc net.ListenConfig
	opened, err := lc.Listen(ctx, "tcp", net.JoinHostPort(l.options.Bind, strconv.Itoa(l.port)))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure = err; err != nil {
		return l.stopping
	}
	l.listener = opened
	close(l.ready)
	if l.stopping {
		_ = opened.Close()
	}
	return true
}

// accept takes connections until the port is closed.
func (l *Listener) accept(ctx context.Context) {
	l.mu.Lock()
	listener := l.listener
	l.mu.Unlock()
	if listener == nil {
		return
	}
	for {
		c, err := listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of file descriptors, or the peer was faster: it passes
			l.options.Log.Warn("accept a connection", "listener", l.name, "error", err)
			time.Sleep(10 * time.Millisecond)
		default:
			l.start(ctx, c)
		}
	}
}

// start gives a connection its session. A Listener that is being stopped refuses it: a line into a fresh socket does
// not block.
func (l *Listener) start(ctx context.Context, c net.Conn) {
	s := newSession(l, c, remoteOf(c))
	if !l.begin(ctx, s) {
		s.use(s.conn)
		s.refuse(stoppingReply())
		_ = c.Close()
	}
}

// begin runs a session, unless the Listener is being stopped.
func (l *Listener) begin(ctx context.Context, s *session) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopping {
		return false
	}
	ctx, s.cancel = context.WithCancel(ctx)
	l.sessions[s] = struct{}{}
	l.serving.Go(func() {
		defer l.end(s)
		s.serve(ctx, l.options.Caps)
	})
	return true
}

func (l *Listener) end(s *session) {
	s.cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sessions, s)
}

// Drain ends the sessions: idle ones and new commands get 421 4.3.2, and transactions that have begun may end until ctx
// is done. The port stays open until Shutdown, so that who connects gets the 421, too, and not the silence that
// would have some take the host for dead.
func (l *Listener) Drain(ctx context.Context) error {
	l.stop()
	return l.finish(ctx)
}

// Shutdown closes the port; its sessions end as with Drain.
func (l *Listener) Shutdown(ctx context.Context) error {
	l.closePort()
	return l.finish(ctx)
}

// finish waits for the sessions until ctx is done, and cuts off those that are left.
func (l *Listener) finish(ctx context.Context) error {
	finished := make(chan struct{})
	go func() { l.serving.Wait(); close(finished) }()
	select {
	case <-finished:
		return nil
	case <-ctx.Done():
		l.cutOff()
		<-finished
		return fmt.Errorf("listener %s: transactions were broken off: %w", l.name, ctx.Err())
	}
}

// stop begins no new session, and ends each when it is idle.
func (l *Listener) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.stopping {
		l.stopping = true
		close(l.stopped)
	}
	for s := range l.sessions {
		s.conn.drain()
	}
}

func (l *Listener) closePort() {
	l.stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener != nil {
		_ = l.listener.Close()
	}
}

// abort closes the port and all connections.
func (l *Listener) abort() {
	l.closePort()
	l.cutOff()
}

// cutOff closes all connections.
func (l *Listener) cutOff() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s := range l.sessions {
		s.cancel()
		_ = s.conn.Close()
	}
}

func (l *Listener) draining() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stopping
}

// Status is the port as it is now.
func (l *Listener) Status() Status {
	s := Status{Name: l.name}
	l.mu.Lock()
	if l.listener != nil {
		s.Address = l.listener.Addr().String()
	}
	failure := l.failure
	l.mu.Unlock()
	if l.settings.Load().Listener.TLS != config.TLSNone {
		expires, err := l.certificate.state()
		s.CertificateExpires = expires
		failure = errors.Join(failure, err)
	}
	if failure != nil {
		s.Error = failure.Error()
	}
	return s
}
