package traffic

import (
	"context"
	"crypto/tls"
	"fmt"
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

// Sink takes mail for any recipient and keeps nothing of it but counts. Domains are compared as they are written.
type Sink struct {
	server
	options SinkOptions
	all     tally

	known   sync.RWMutex // guards domains
	domains map[string]domain
}

// Behaviour is what a Sink does to the mail of a domain. The zero Behaviour takes it.
type Behaviour struct {
	// Refuse answers each RCPT with 451.
	Refuse bool
	// PerData is a pause before a message of such a recipient is answered. It has arrived when that is over.
	PerData time.Duration
}

// domain is what is known of one.
type domain struct {
	Behaviour
	watch *Watch
}

// Arrived is what a Sink has taken. A message that comes twice is counted twice.
type Arrived struct {
	// Messages, and the Recipients of all of them together.
	Messages, Recipients int
	// Octets of the messages as they came, stuffed dots and all.
	Octets int64
	// Refused recipients, and Connections that were begun.
	Refused, Connections int
}

// NewSink starts a sink, which Close ends.
func NewSink(o SinkOptions) (*Sink, error) {
	s := &Sink{options: o, domains: make(map[string]domain)}
	if err := s.serve(o.Address, s.talk); err != nil {
		return nil, fmt.Errorf("sink: %w", err)
	}
	return s, nil
}

// Behave sets what becomes of the mail of a domain from now on.
func (s *Sink) Behave(name string, b Behaviour) {
	s.change(name, func(d *domain) { d.Behaviour = b })
}

// Watch starts to note when the messages of a domain arrive. It takes the place of the last Watch of that domain.
func (s *Sink) Watch(name string) *Watch {
	w := &Watch{}
	s.change(name, func(d *domain) { d.watch = w })
	return w
}

func (s *Sink) change(name string, change func(*domain)) {
	s.known.Lock()
	defer s.known.Unlock()
	d := s.domains[name]
	change(&d)
	s.domains[name] = d
}

func (s *Sink) domain(name []byte) domain {
	s.known.RLock()
	defer s.known.RUnlock()
	return s.domains[string(name)]
}

// Arrived is what has arrived since the start or Reset.
func (s *Sink) Arrived() Arrived { return s.all.get() }

// Wait returns when so many messages have arrived since the start or Reset.
func (s *Sink) Wait(ctx context.Context, messages int) error { return s.all.wait(ctx, messages) }

// Reset begins to count anew. What is known of domains stays.
func (s *Sink) Reset() { s.all.reset() }
