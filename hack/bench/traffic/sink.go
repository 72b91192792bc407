package traffic

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// SinkOptions say where a Sink listens and what it offers. PIPELINING, 8BITMIME and SIZE are always there.
type SinkOptions struct {
	// Address to listen on; a free port of 127.0.0.1 when empty.
	Address string
	// TLS, if set, is offered with STARTTLS.
	TLS *tls.Config
	// NoChunking leaves CHUNKING (RFC 3030) out.
	NoChunking bool
}

// Sink takes mail for any recipient and keeps nothing of it but counts.
type Sink struct {
	options  SinkOptions
	listener net.Listener
	// done is closed by Close.
	done     chan struct{}
	sessions sync.WaitGroup
	all      tally

	mu      sync.RWMutex
	conns   map[net.Conn]struct{}
	domains map[string]*domain
}

// Behaviour is what a Sink does to the mail of a domain. The zero Behaviour takes it.
type Behaviour struct {
	// Refuse answers each RCPT with 451.
	Refuse bool
	// PerData is a pause before a message of such a recipient is answered.
	PerData time.Duration
}

// domain is what is known of one.
type domain struct {
	Behaviour
	watch *Watch
}

// Arrived is what a Sink has taken.
type Arrived struct {
	// Messages, and Recipients of these. A message that came twice is counted twice.
	Messages, Recipients int
	// Octets of the messages as they came, dots and all.
	Octets int64
	// Refused recipients.
	Refused int
}

// NewSink starts a sink.
func NewSink(o SinkOptions) (*Sink, error) {
	if o.Address == "" {
		o.Address = "127.0.0.1:0"
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("sink: %w", err)
	}
	s := &Sink{options: o, listener: l, done: make(chan struct{}), conns: make(map[net.Conn]struct{}), domains: make(map[string]*domain)}
	s.sessions.Go(s.accept)
	return s, nil
}

// Address is host:port of the sink.
func (s *Sink) Address() string { return s.listener.Addr().String() }

// Port is that of the address.
func (s *Sink) Port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// Behave sets what becomes of the mail of a domain from now on.
func (s *Sink) Behave(name string, b Behaviour) {
	s.change(name, func(d *domain) { d.Behaviour = b })
}

// Watch starts to note when the messages of a domain arrive.
func (s *Sink) Watch(name string) *Watch {
	w := &Watch{}
	s.change(name, func(d *domain) { d.watch = w })
	return w
}

// change replaces what is known of a domain: sessions may have the old one in their hands.
func (s *Sink) change(name string, change func(*domain)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name = strings.ToLower(name)
	var d domain
	if old := s.domains[name]; old != nil {
		d = *old
	}
	change(&d)
	s.domains[name] = &d
}

// domain is what is known of a domain; nil for nothing.
func (s *Sink) domain(name []byte) *domain {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.domains[string(name)]
}

// Arrived is what has arrived since the start or Reset.
func (s *Sink) Arrived() Arrived { return s.all.get() }

// Wait returns when so many messages have arrived since the start or Reset.
func (s *Sink) Wait(ctx context.Context, messages int) error { return s.all.wait(ctx, messages) }

// Reset begins to count anew. Behaviours stay.
func (s *Sink) Reset() { s.all.reset() }

// Close ends all connections and returns when nothing of the sink is left.
func (s *Sink) Close() error {
	close(s.done)
	err := s.listener.Close()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.sessions.Wait()
	return err
}

// accept ends with the listener.
func (s *Sink) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				time.Sleep(10 * time.Millisecond)
				continue
			}
			return
		}
		if s.keep(c) {
			s.sessions.Go(func() { s.serve(c) })
		}
	}
}

// keep notes a connection so that Close can end it.
func (s *Sink) keep(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.done:
		_ = c.Close()
		return false
	default:
		s.conns[c] = struct{}{}
		return true
	}
}

func (s *Sink) forget(c net.Conn) {
	_ = c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// Watch is when the messages of a domain arrived, from the call of Sink.Watch on.
type Watch struct {
	tally
	times Latencies
}

// Arrived is how many messages of the domain there were, and recipients.
func (w *Watch) Arrived() Arrived { return w.get() }

// Wait returns when so many messages of the domain have arrived.
func (w *Watch) Wait(ctx context.Context, messages int) error { return w.wait(ctx, messages) }

// Latencies are the times from when messages of Send were due until they had arrived. Other messages have none.
func (w *Watch) Latencies() Latencies {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := slices.Clone(w.times)
	slices.Sort(l)
	return l
}

func (w *Watch) note(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.times = append(w.times, d)
}
