package smtptest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postrider/postrider/relay/reply"
)

// Options of a Sink. The zero value accepts everything in plaintext on a free port of 127.0.0.1.
type Options struct {
	// Addr is the address to listen on, host:port.
	Addr string
	// Hostname is the name in the greeting; "sink.test" if empty.
	Hostname string
	// TLS, when set, is offered by STARTTLS.
	TLS *tls.Config
	// Discard counts messages without keeping them.
	Discard bool
	// Replies to RCPT, by recipient address ("someone@example.com") or by domain ("@example.com"), both lower
	// case; others get 250.
	Replies map[string]reply.Reply
	// Data, when set, decides on a message once it is there; a reply of code 0 accepts it. It runs on the
	// connection's goroutine, so that it can also make the sink slow.
	Data func(Message) reply.Reply
	// MaxBytes is announced by SIZE and enforced; 0 for no limit.
	MaxBytes int64
	// MaxRecipients of a transaction; the others get 452 4.5.3. 0 for no limit.
	MaxRecipients int
	// Without are extensions not to offer: "PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE".
	Without []string
	// Offer are further extensions, as lines of the reply to EHLO: "CHUNKING", "DSN", "LIMITS RCPTMAX=2 MAILMAX=10".
	// BDAT is obeyed, the parameters of DSNs are kept with the message, limits are merely said.
	Offer []string
	// LMTP makes it speak that (RFC 2033): LHLO alone, and a reply for each accepted recipient after the content.
	LMTP bool
	// Each, when set, decides on a message for each recipient that Data would have accepted it for, with LMTP alone; a
	// reply of code 0 accepts it.
	Each func(m Message, to string) reply.Reply
	// Auth, when set, is asked whether credentials are good. AUTH PLAIN, LOGIN and XOAUTH2 are offered under TLS then,
	// and MAIL wants one of them first. The secret is the password or the access token.
	Auth func(mechanism, user, secret string) bool
}

// Message is a message that a sink took, or is asked about.
type Message struct {
	// From is the reverse path and To the accepted recipients, without brackets.
	From string
	To   []string
	// Params are what followed the address in MAIL: "SIZE=12 BODY=8BITMIME"; RecipientParams the same in RCPT, for each
	// of To.
	Params          string
	RecipientParams []string
	// Chunked says that it came by BDAT.
	Chunked bool
	// User is who authenticated; empty for nobody.
	User string
	// Data is the content as it was before dot-stuffing; nil for a sink that discards.
	Data []byte
	// Size is the length of Data, in octets.
	Size int64
	// Helo is the name the client gave, TLS whether it was encrypted, Remote its address, Connection which of the
	// sink's connections it came over, from 1.
	Helo       string
	TLS        bool
	Remote     net.Addr
	Connection int64
	// At is when the message was answered.
	At time.Time
}

// Sink is an SMTP server that accepts and keeps mail. It is fast enough to measure a relay with.
type Sink struct {
	o        Options
	listener net.Listener
	wait     sync.WaitGroup

	accepted    atomic.Int64
	recipients  atomic.Int64
	octets      atomic.Int64
	connections atomic.Int64

	mu       sync.Mutex
	closed   bool
	open     map[net.Conn]struct{}
	most     int
	messages []Message
}

// NewSink starts a sink.
func NewSink(o Options) (*Sink, error) {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.Hostname == "" {
		o.Hostname = "sink.test"
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("sink: %w", err)
	}
	s := &Sink{o: o, listener: l, open: make(map[net.Conn]struct{})}
	s.wait.Go(s.accept)
	return s, nil
}

// Addr is host:port of the sink.
func (s *Sink) Addr() string { return s.listener.Addr().String() }

// Port is the port of the sink.
func (s *Sink) Port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// Close refuses further connections, ends those that are open and waits until they are gone.
func (s *Sink) Close() {
	s.mu.Lock()
	s.closed = true
	_ = s.listener.Close()
	for c := range s.open {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wait.Wait()
}

// Messages returns what has been accepted so far, in the order of the replies; nothing for a sink that discards.
func (s *Sink) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Message(nil), s.messages...)
}

// Accepted is how many messages were answered 250.
func (s *Sink) Accepted() int64 { return s.accepted.Load() }

// Recipients is how many recipients the accepted messages had together.
func (s *Sink) Recipients() int64 { return s.recipients.Load() }

// Octets is how long the accepted messages were together.
func (s *Sink) Octets() int64 { return s.octets.Load() }

// Connections is how many connections have been accepted.
func (s *Sink) Connections() int64 { return s.connections.Load() }

// Open is how many connections are open, and the most that were at the same time.
func (s *Sink) Open() (now, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open), s.most
}

func (s *Sink) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return // closed; a sink has no other way to fail that is worth a retry
		}
		if !s.add(c) {
			_ = c.Close()
			return
		}
		n := s.connections.Add(1)
		s.wait.Go(func() {
			newSinkConn(s, c, n).serve()
			_ = c.Close()
			s.remove(c)
		})
	}
}

func (s *Sink) add(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.open[c] = struct{}{}
		s.most = max(s.most, len(s.open))
	}
	return !s.closed
}

func (s *Sink) remove(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

func (s *Sink) take(m Message) {
	s.accepted.Add(1)
	s.recipients.Add(int64(len(m.To)))
	s.octets.Add(m.Size)
	if s.o.Discard {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = append(s.messages, m)
}
