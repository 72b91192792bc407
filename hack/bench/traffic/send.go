package traffic

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Load is what Send sends.
type Load struct {
	// Address of the engine, host:port.
	Address string
	// Sessions at the same time, one when 0, and Messages over all of them: a session that is free sends the next one.
	Sessions, Messages int
	// Octets of each message, header included, as SIZE counts them (RFC 1870). The body is random text that hardly
	// compresses, another one for each message.
	Octets int
	// Recipients of each message, at Domain; one when 0.
	Recipients int
	// From is the reverse path and the From field. The recipients are r0@Domain, r1@Domain, and so on.
	From, Domain string
	// Per is how many messages a connection is for; 0 for all that its session sends.
	Per int
	// TLS, if set, is used with STARTTLS.
	TLS *tls.Config
	// Pace is how many messages are due per second over all sessions; 0 for as fast as they go. A message counts from when
	// it was due: what waits because all sessions wait for the engine is late, not left out.
	Pace float64
	// Priority is that of MT-PRIORITY (RFC 6710), left out when 0.
	Priority int
	// Pipelining sends MAIL, all RCPT and DATA in one flight (RFC 2920), to an engine that offers it. Otherwise each
	// command waits for its reply, as smtp-source and most clients of a submission server do.
	Pipelining bool
	// Timed keeps the time that each message took.
	Timed bool
}

// Sent is what came of a load.
type Sent struct {
	// Accepted messages: those answered 250.
	Accepted int
	// Elapsed is the time from before the first connection to the last 250.
	Elapsed time.Duration
	// Latencies are the times from MAIL, or from when it was due, to 250 when Load.Timed.
	Latencies Latencies
}

// run is a load on its way.
type run struct {
	Load
	text    text
	id      uint64
	started time.Time
	next    atomic.Int64
	mu      sync.Mutex
	sent    Sent
}

// Send sends a load and returns when the last message was answered. It ends with an error at the first one that is not
// answered 250, and with what was accepted until then. It waits for a reply as long as ctx lets it.
func Send(ctx context.Context, l Load) (Sent, error) {
	l.Recipients, l.Sessions = max(l.Recipients, 1), max(l.Sessions, 1)
	r := &run{Load: l, id: rand.Uint64()}
	if smallest := len(r.header(nil, 0, time.Now())) + 2*len(crlf); l.Octets < smallest {
		return Sent{}, fmt.Errorf("a message of %d octets: its header alone takes %d", l.Octets, smallest)
	}
	r.text = newText(l.Octets+lineOctets+min(textOctets, l.Octets*l.Messages), rand.New(rand.NewPCG(r.id, 0)))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.started = time.Now()
	var sessions sync.WaitGroup
	for i := range min(l.Sessions, l.Messages) {
		sessions.Go(func() {
			if err := r.session(ctx, uint64(i)); err != nil {
				cancel(fmt.Errorf("session %d: %w", i, err))
			}
		})
	}
	sessions.Wait()
	slices.Sort(r.sent.Latencies)
	if r.sent.Accepted < l.Messages {
		return r.sent, context.Cause(ctx)
	}
	return r.sent, nil
}

// session sends messages until there are none left.
func (r *run) session(ctx context.Context, number uint64) error {
	s := &session{run: r, random: rand.New(rand.NewPCG(r.id, number+1))}
	defer s.report()
	for n := int(r.next.Add(1)); n <= r.Messages; {
		c, err := dial(ctx, r.Load)
		if err != nil {
			return err
		}
		if n, err = s.connection(ctx, c, n); err != nil {
			c.close()
			return err
		}
		c.quit()
	}
	return nil
}

// session is one after another of the messages of a run.
type session struct {
	*run
	random    *rand.Rand
	accepted  int
	ended     time.Time
	latencies Latencies
}

// connection sends message n and what comes next over one connection. It returns the message that is left over.
func (s *session) connection(ctx context.Context, c *client, n int) (int, error) {
	for sent := 0; n <= s.Messages && (s.Per == 0 || sent < s.Per); sent++ {
		due, err := s.due(ctx, n)
		if err != nil {
			return n, err
		}
		if err := s.message(c, n, due); err != nil {
			return n, err
		}
		s.accepted++
		s.ended = time.Now()
		if s.Timed {
			s.latencies = append(s.latencies, s.ended.Sub(due))
		}
		n = int(s.next.Add(1))
	}
	return n, nil
}

// due waits until message n is due.
func (r *run) due(ctx context.Context, n int) (time.Time, error) {
	if r.Pace == 0 {
		return time.Now(), nil
	}
	due := r.started.Add(time.Duration(float64(n-1) / r.Pace * float64(time.Second)))
	select {
	case <-time.After(time.Until(due)):
		return due, nil
	case <-ctx.Done():
		return due, context.Cause(ctx)
	}
}

// report adds what the session has done to what the run has.
func (s *session) report() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent.Accepted += s.accepted
	s.sent.Latencies = append(s.sent.Latencies, s.latencies...)
	if s.accepted > 0 {
		s.sent.Elapsed = max(s.sent.Elapsed, s.ended.Sub(s.started))
	}
}
