// Package crash is the oracle of the promise that no mail is lost: it loads a relay over SMTP, kills it again and
// again with SIGKILL, lets it drain at the end, and compares what was answered 250 with what arrived. It trusts
// nothing that the relay says but its 250s.
package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/smtptest"
	"github.com/postrider/postrider/test/daemon"
)

// Options of a run.
type Options struct {
	// Binary is the relay program; Dir is where its spool and log go.
	Binary, Dir string
	// Kills is how often it is killed, Sessions how many clients load it.
	Kills, Sessions int
	// Seed makes the pauses between kills and the mix of messages repeatable.
	Seed uint64
	// Log tells how it goes on.
	Log func(format string, args ...any)
}

// Result is what a run found. It counts recipients; a message that bounces counts by its DSN.
type Result struct {
	Ledger
	// Missing are the lost.
	Missing []string
	// Unacknowledged arrived although the client saw no 250: the relay was killed just before it.
	Unacknowledged int
	// Slowest is the longest time from the start of the relay to its greeting.
	Slowest time.Duration
}

const (
	// connections is how many deliveries the relay may have in flight.
	connections = 20
	// drainTime is how long it may take at the end to deliver what is left.
	drainTime = 2 * time.Minute
)

// run is the oracle at work.
type run struct {
	Options
	book   *book
	sink   *smtptest.Sink
	dns    *smtptest.DNS
	relay  *daemon.Daemon
	result Result
}

// Run does it. The error says why there is no result; loss is in the result.
func Run(ctx context.Context, o Options) (Result, error) {
	r := newRun(o)
	r.result.InFlight = o.Kills * connections
	if err := r.setUp(); err != nil {
		return r.result, err
	}
	defer r.dns.Close()
	defer r.sink.Close()
	if err := r.relay.Start(ctx); err != nil {
		return r.result, err
	}
	err := r.load(ctx, r.kill)
	if err == nil {
		err = r.drain(ctx)
	}
	err = errors.Join(err, r.relay.Stop())
	r.book.close(&r.result)
	return r.result, err
}

func newRun(o Options) *run { return &run{Options: o, book: newBook()} }

// setUp starts the sink and the DNS, and prepares the relay.
func (r *run) setUp() error {
	var err error
	if r.sink, err = smtptest.NewSink(smtptest.Options{
		Discard: true,
		Replies: map[string]reply.Reply{"@refuse.crash.test": {Code: 550, Enhanced: "5.1.1", Text: "unknown"}},
		Data:    r.arrive,
	}); err != nil {
		return err
	}
	records := []string{"mx.crash.test. A 127.0.0.1"}
	for _, domain := range []string{"a", "b", "refuse", "sender"} {
		records = append(records, domain+".crash.test. MX 10 mx.crash.test.")
	}
	if r.dns, err = smtptest.NewDNS(records...); err != nil {
		return err
	}
	port, err := daemon.FreePort()
	if err != nil {
		return err
	}
	r.relay, err = daemon.New(daemon.Options{Binary: r.Binary, Dir: r.Dir, Relay: r.config(port)})
	return err
}

func (r *run) config(port int) config.Relay {
	return config.Relay{
		Namespace: "test", Name: "crash", Hostname: "relay.crash.test", Postmaster: "ops@sender.crash.test",
		Listeners: []config.Listener{{Name: "smtp", Port: port, Mode: config.ModeRelay, TLS: config.TLSNone}},
		Access:    config.Access{TrustedCIDRs: []string{"127.0.0.0/8"}, UndeclaredSenders: config.SendersAccept},
		Queue:     config.Queue{RetryInitialSeconds: 1, RetryMaxSeconds: 2, MaxMessageAgeSeconds: 86400, MaxMessageBytes: 10 << 20},
		Routes:    []config.Route{{Name: "sink", MX: &config.MX{Port: r.sink.Port(), AllowCIDRs: []string{"127.0.0.0/8"}}}},
		DNS:       config.DNS{Resolvers: []string{r.dns.Addr()}},
		Policies:  []config.RatePolicy{{Name: "test/cap", Stage: config.StageDelivery, Key: config.KeySite, MaxConnections: connections}},
	}
}

// arrive notes what reaches the sink. One message in twenty is asked to come again.
func (r *run) arrive(m smtptest.Message) reply.Reply {
	if rand.IntN(20) == 0 {
		return reply.Reply{Code: 451, Enhanced: "4.7.1", Text: "come again"}
	}
	for _, to := range m.To {
		r.book.arrived(to)
	}
	return reply.Reply{}
}

// load keeps the clients going while the relay is disturbed.
func (r *run) load(ctx context.Context, disturb func(context.Context) error) error {
	loading, stop := context.WithCancel(ctx)
	defer stop()
	var clients errgroup.Group
	for i := range r.Sessions {
		c := client{address: r.relay.Address(), book: r.book, dice: rand.New(rand.NewPCG(r.Seed, uint64(i))), name: strconv.Itoa(i)}
		clients.Go(func() error { return c.run(loading) })
	}
	err := disturb(ctx)
	stop()
	return errors.Join(err, clients.Wait())
}

func (r *run) kill(ctx context.Context) error {
	dice := rand.New(rand.NewPCG(r.Seed, 1<<32))
	for i := range r.Kills {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(20+dice.IntN(200)) * time.Millisecond):
		}
		if err := r.relay.Kill(); err != nil {
			return err
		}
		started := time.Now()
		if err := r.relay.Start(ctx); err != nil {
			return fmt.Errorf("after kill %d: %w", i+1, err)
		}
		r.result.Slowest = max(r.result.Slowest, time.Since(started))
		if (i+1)%50 == 0 {
			r.Log("%d kills, %d recipients acknowledged, %d arrived", i+1, r.book.acknowledgedCount(), r.sink.Recipients())
		}
	}
	return nil
}

// drain waits until the relay says that its queue is empty, and that its books are right.
func (r *run) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	for {
		s, err := r.relay.Status(ctx)
		if err != nil {
			return fmt.Errorf("while draining: %w", err)
		}
		if s.Queue.Queued == 0 {
			if !s.Ledger.Balanced() {
				return fmt.Errorf("the relay's books are wrong: %+v", s.Ledger)
			}
			return nil
		}
		if err := r.relay.Flush(ctx); err != nil {
			return fmt.Errorf("%d recipients are left in the queue: %w", s.Queue.Queued, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d recipients are still in the queue after %s", s.Queue.Queued, drainTime)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// dial is a client's way in; a relay that is being started again refuses for a while.
func dial(ctx context.Context, address string) (net.Conn, error) {
	for {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil || ctx.Err() != nil {
			return c, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
}
