package listener

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/auth"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/smtptest"
)

// spool is a Handler that keeps what it accepts.
type spool struct {
	mu       sync.Mutex
	messages []stored
	// mail, rcpt and data answer in place of the default, which accepts.
	mail func(s *Session) error
	rcpt func(s *Session, to envelope.Recipient) error
	data func(s *Session, header []byte, body io.Reader) (reply.Reply, error)
}

type stored struct {
	Session
	header, body string
}

func (h *spool) Mail(_ context.Context, s *Session) error {
	if h.mail != nil {
		return h.mail(s)
	}
	return nil
}

func (h *spool) Rcpt(_ context.Context, s *Session, to envelope.Recipient) error {
	if h.rcpt != nil {
		return h.rcpt(s, to)
	}
	return nil
}

func (h *spool) Data(_ context.Context, s *Session, header []byte, body io.Reader) (reply.Reply, error) {
	if h.data != nil {
		return h.data(s, header, body)
	}
	content, err := io.ReadAll(body)
	if err != nil {
		return reply.Reply{}, fmt.Errorf("read the body: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.messages = append(h.messages, stored{*s, string(header), string(content)})
	return reply.Reply{Code: 250, Enhanced: "2.0.0", Text: fmt.Sprintf("queued as %d", len(h.messages))}, nil
}

func (h *spool) all() []stored {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]stored(nil), h.messages...)
}

// passwords is an Authenticator with one user, and one token where there is a name for who has it. Nobody is known any
// more when changed says so.
type passwords struct {
	holder  string
	changed bool
}

var errWrong = reply.Reply{Code: 535, Enhanced: "5.7.8", Text: "wrong"}

func (passwords) Password(_ context.Context, user, password string) (auth.Identity, error) {
	switch {
	case user == "busy":
		return auth.Identity{}, reply.Reply{Code: 454, Enhanced: "4.7.0", Text: "busy"}
	case user != "alice" || password != "secret":
		return auth.Identity{}, errWrong
	}
	return auth.Identity{Name: user}, nil
}

func (p passwords) Token(_ context.Context, user, token string) (auth.Identity, error) {
	switch {
	case user == "busy":
		return auth.Identity{}, reply.Reply{Code: 454, Enhanced: "4.7.0", Text: "busy"}
	case strings.HasPrefix(token, "right") && (user == "" || user == "pod" || user == "p,=d"):
		return auth.Identity{Name: p.holder}, nil
	}
	return auth.Identity{}, errWrong
}

func (p passwords) Holds(who auth.Identity) bool { return who.Name != "" && !p.changed }

func (p passwords) TakesTokens() bool { return p.holder != "" }

// rig is a Listener that serves, with what a test wants to look at.
type rig struct {
	*Listener
	t       *testing.T
	ca      *smtptest.CA
	dir     string
	handler *spool
}

// serve starts a Listener of this mode; change may change its options before.
func serve(t *testing.T, mode config.ListenerMode, tlsMode config.TLSMode, change func(o *Options)) *rig {
	t.Helper()
	r := &rig{t: t, ca: smtptest.NewCA(), dir: t.TempDir(), handler: &spool{}}
	r.writeCertificate()
	o := Options{
		Settings: Settings{
			Listener: config.Listener{Name: "test", Mode: mode, TLS: tlsMode, CertFile: "cert.pem", KeyFile: "key.pem"},
			Path:     func(file string) string { return filepath.Join(r.dir, file) },
			Hostname: "mx.example.com",
			MaxBytes: 1 << 20,
			Trusted:  func(netip.Addr) bool { return true },
		},
		Bind:      "127.0.0.1",
		Handler:   r.handler,
		Timeout:   10 * time.Second,
		Greeting:  time.Millisecond,
		AuthDelay: time.Millisecond,
		Log:       slog.New(slog.DiscardHandler),
	}
	if mode == config.ModeSubmission {
		o.Auth = passwords{}
	}
	if change != nil {
		change(&o)
	}
	r.Listener = New(o)
	served := make(chan error, 1)
	go func() { served <- r.Serve(context.Background()) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = r.Shutdown(ctx)
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return r
}

func (r *rig) writeCertificate() {
	r.t.Helper()
	cert, key := r.ca.PairPEM("mx.example.com")
	for name, data := range map[string][]byte{"cert.pem": cert, "key.pem": key} {
		if err := os.WriteFile(filepath.Join(r.dir, name), data, 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rig) tls() *tls.Config {
	return &tls.Config{RootCAs: r.ca.Pool(), ServerName: "mx.example.com"}
}

// dial connects without reading the greeting.
func (r *rig) dial() *peer {
	r.t.Helper()
	<-r.Ready()
	c, err := net.Dial("tcp", r.Status().Address)
	if err != nil {
		r.t.Fatal(err)
	}
	p := &peer{t: r.t, raw: c}
	p.use(c)
	r.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return p
}

// greeted connects and says EHLO.
func (r *rig) greeted() *peer {
	r.t.Helper()
	p := r.dial()
	if r.settings.Load().Listener.TLS == config.TLSImplicit {
		p.secure(r.tls())
	}
	p.expect("220 ")
	p.do("EHLO client.example.net", "250 ")
	return p
}

// encrypted connects, says STARTTLS where it has to, and EHLO.
func (r *rig) encrypted() *peer {
	r.t.Helper()
	p := r.greeted()
	if _, ok := p.Conn.(*tls.Conn); !ok {
		p.do("STARTTLS", "220 2.0.0 ")
		p.secure(r.tls())
		p.do("EHLO client.example.net", "250 ")
	}
	return p
}

// peer is the client's end of a connection.
type peer struct {
	net.Conn
	t   *testing.T
	raw net.Conn
	in  *bufio.Reader
}

func (p *peer) use(c net.Conn) { p.Conn, p.in = c, bufio.NewReader(c) }

func (p *peer) secure(c *tls.Config) {
	p.t.Helper()
	secured := tls.Client(p.Conn, c)
	if err := secured.Handshake(); err != nil {
		p.t.Fatal(err)
	}
	p.use(secured)
}

func (p *peer) send(octets string) {
	p.t.Helper()
	if _, err := io.WriteString(p.Conn, octets); err != nil {
		p.t.Fatalf("send: %v", err)
	}
}

// reply reads one reply, all its lines joined by LF.
func (p *peer) reply() (string, error) {
	var lines []string
	for {
		line, err := p.in.ReadString('\n')
		if err != nil {
			return strings.Join(lines, "\n"), err
		}
		lines = append(lines, strings.TrimSuffix(line, "\r\n"))
		if len(line) < 4 || line[3] != '-' {
			return strings.Join(lines, "\n"), nil
		}
	}
}

// expect reads one reply, whose last line must begin with want, and returns all of it.
func (p *peer) expect(want string) string {
	p.t.Helper()
	got, err := p.reply()
	if err != nil {
		p.t.Fatalf("want %q, got %q and %v", want, got, err)
	}
	if last := got[strings.LastIndexByte(got, '\n')+1:]; !strings.HasPrefix(last, want) {
		p.t.Fatalf("want %q, got %q", want, got)
	}
	return got
}

// expectEnd wants the connection closed by the server, with nothing more said.
func (p *peer) expectEnd() {
	p.t.Helper()
	if rest, err := io.ReadAll(p.in); err != nil || len(rest) > 0 {
		p.t.Fatalf("want the end of the connection, got %q and %v", rest, err)
	}
}

// do sends lines and expects replies in turn: do("NOOP", "250 ", "QUIT", "221 ").
func (p *peer) do(lines ...string) string {
	p.t.Helper()
	var got string
	for i := 0; i < len(lines); i += 2 {
		p.send(lines[i] + "\r\n")
		got = p.expect(lines[i+1])
	}
	return got
}

// begin opens a transaction up to the 354.
func (p *peer) begin() {
	p.t.Helper()
	p.do("MAIL FROM:<a@example.com>", "250 2.1.0", "RCPT TO:<b@example.org>", "250 2.1.5", "DATA", "354 ")
}
