// Package deliver owns one delivery attempt: the client's side of SMTP (RFC 5321) and LMTP (RFC 2033), from the
// connection to the reply that decides over each recipient. It sends exactly the octets it is given, never converts
// them for a server that cannot take them, and decides neither where mail goes nor when it is tried again.
package deliver

import (
	"context"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/route"
)

// Timeouts are how long each step may take as a whole, however the peer spreads its octets. Zero fields get the
// defaults, which are those of RFC 5321 §4.5.3.2 where it names one.
type Timeouts struct {
	Connect   time.Duration // TCP: 30 s, per address
	Greeting  time.Duration // 5 min
	Hello     time.Duration // EHLO, HELO, STARTTLS, AUTH: 5 min each
	Handshake time.Duration // TLS: 1 min
	Mail      time.Duration // 5 min
	Rcpt      time.Duration // 5 min, for all recipients of a transaction together
	Data      time.Duration // until 354: 2 min
	Block     time.Duration // for each piece of the content to be taken: 3 min
	Done      time.Duration // from the final dot to its reply: 10 min
}

func (t Timeouts) withDefaults() Timeouts {
	for _, f := range []struct {
		value *time.Duration
		usual time.Duration
	}{
		{&t.Connect, 30 * time.Second}, {&t.Greeting, 5 * time.Minute}, {&t.Hello, 5 * time.Minute},
		{&t.Handshake, time.Minute}, {&t.Mail, 5 * time.Minute}, {&t.Rcpt, 5 * time.Minute},
		{&t.Data, 2 * time.Minute}, {&t.Block, 3 * time.Minute}, {&t.Done, 10 * time.Minute},
	} {
		if *f.value <= 0 {
			*f.value = f.usual
		}
	}
	return t
}

// Options of a Client. The zero value is ready to use.
type Options struct {
	Timeouts Timeouts
	// Dial opens a TCP connection to an address, host:port; that of net.Dialer if nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// IdleTimeout is how long a connection waits for another message; 30 s if zero.
	IdleTimeout time.Duration
	// MaxIdle is how many connections may wait, over all hosts; 200 if zero.
	MaxIdle int
	// LastReply is how long a server that was sent a whole message is waited for after ctx is done; Timeouts.Done if zero.
	LastReply time.Duration
	// Now tells the time of outcomes; time.Now if nil.
	Now func() time.Time
	// Observe, when set, is told of every host that Do tried: nil when it got as far as MAIL over one of its addresses,
	// else why not. It is called on the goroutine of Do.
	Observe func(hop route.Hop, err error)
	// Log is told of panics; nothing is logged if nil.
	Log *slog.Logger
}

const (
	// maxTries is how many addresses are tried in one attempt.
	maxTries = 10
	// usualRecipients is how many recipients a transaction has (RFC 5321 §4.5.3.1.8: a server takes at least 100).
	usualRecipients = 100
	// usualMessages is how many messages a connection carries.
	usualMessages = 100
	// plainFor is how long a host whose TLS failed is spoken to without.
	plainFor = 10 * time.Minute
	// carefulFor is how long a host that broke off, or did not understand, when it got a message in one flight gets it
	// step by step.
	carefulFor = time.Hour
	// downFor is how long an address that could not be connected to is passed over.
	downFor = time.Minute
)

// Client delivers, and keeps connections for the next message. It is safe for concurrent use. It starts no
// goroutine of its own.
type Client struct {
	o    Options
	pool *pool
	bufs *buffers
	// plain, careful and down are the addresses that plainFor, carefulFor and downFor are about.
	plain, careful, down *memory
}

// New returns a client.
func New(o Options) *Client {
	o.Timeouts = o.Timeouts.withDefaults()
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = 30 * time.Second
	}
	if o.MaxIdle <= 0 {
		o.MaxIdle = 200
	}
	if o.LastReply <= 0 {
		o.LastReply = o.Timeouts.Done
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Client{o: o, pool: newPool(o.MaxIdle, o.IdleTimeout), bufs: newBuffers(),
		plain: newMemory(plainFor), careful: newMemory(carefulFor), down: newMemory(downFor)}
}

// CloseIdle ends the connections that wait for another message.
func (c *Client) CloseIdle() { c.pool.closeAll() }

// Do makes one attempt for all recipients of e and returns an outcome for each, in the same order. It calls open
// for the content once per transaction, most often once; ehlo is our own name.
//
// Addresses and hosts are tried in the order of the plan, ten addresses at most, while the trouble is the host's: it
// cannot be reached, it refuses us in its greeting or at EHLO, it breaks the connection before it was given the
// content. Any reply to MAIL, RCPT, DATA or the content decides over the recipients it concerns, and no other host is
// asked about them. When the connection breaks after the content was sent, the recipients are deferred and no other
// host is tried: the message may have arrived. A host that lacks 8BITMIME or SMTPUTF8 for the message is left for the
// next; when no host takes it, it fails with what that one lacked, or is deferred when one before it in the plan could
// not be asked. An address that could not be connected to within
// the last minute is passed over, unless there is no other.
//
// When ctx ends, connections are cut off and what is undecided is deferred; but a server that has been sent the whole
// message is waited for, LastReply at most, for it may have taken it and would get it twice. After a panic, too, what is
// undecided is deferred.
func (c *Client) Do(ctx context.Context, ehlo string, e *envelope.Envelope, open func() (io.ReadCloser, error), plan route.Plan) []envelope.Outcome {
	return newAttempt(c, ehlo, e, open, plan).run(ctx)
}

// Probe asks whether a next hop would take mail for an address, by MAIL FROM:<>, RCPT TO and RSET, on the hosts of
// the plan in order. The outcome's reply is that to RCPT; 421 4.4.x or 4.3.2 when no host would say. 550 5.6.7 is for
// an address that needs SMTPUTF8 where no host has it.
func (c *Client) Probe(ctx context.Context, ehlo string, plan route.Plan, address string, utf8 bool) envelope.Outcome {
	e := &envelope.Envelope{UTF8: utf8, Recipients: []envelope.Recipient{{Address: address}}}
	return newAttempt(c, ehlo, e, nil, plan).run(ctx)[0]
}

// Greet says whether a next hop is up: over one of its addresses a new connection gets to where MAIL could be said,
// with the TLS and AUTH that the hop asks for. The connection then waits for a message. The error is that of the
// last address.
func (c *Client) Greet(ctx context.Context, ehlo string, hop route.Hop) error {
	err := error(failure{reply: noNextHop()})
	for _, addr := range hop.Addrs {
		var s *conn
		if s, err = c.session(ctx, newTarget(hop, addr, ehlo)); err == nil {
			c.pool.put(s)
			return nil
		}
	}
	return err
}
