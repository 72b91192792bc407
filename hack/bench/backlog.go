package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postrider/postrider/hack/bench/traffic"
	"github.com/postrider/postrider/relay/smtptest"
)

// Domains of the backlog.
const (
	// deletedDomain has a tenth of the mail, oneDomain four tenths, and manyDomains domains the rest.
	deletedDomain = "deleted.example"
	oneDomain     = "one.example"
	manyDomains   = 1000
	healthyDomain = "healthy.example"

	// retryLater keeps deferred mail where it is while it is measured.
	retryLater = 4 * time.Hour
	// dueMessages wait for a destination when the relay is killed.
	dueMessages = 200
	backlogTime = 30 * time.Minute
)

// long is the backlog scenario: a relay with a long queue, and its world.
type long struct {
	*bench
	messages int
	sink     *traffic.Sink
	dns      *smtptest.DNS
	relay    *relayEngine
	running  *running
}

func backlog(ctx context.Context, b *bench) error {
	ctx, cancel := context.WithTimeout(ctx, backlogTime)
	defer cancel()
	l := &long{bench: b, messages: b.options.messages, relay: b.relay()}
	if err := l.open(); err != nil {
		return err
	}
	defer func() { _ = l.sink.Close() }()
	defer l.dns.Close()
	w := work{next: l.sink.Address(), resolver: l.dns.Addr(), retry: retryLater}
	return b.with(ctx, l.relay, w, func(r *running) error {
		l.running = r
		for _, step := range []func(context.Context) error{l.fill, l.weigh, l.list, func(ctx context.Context) error { return l.accept(ctx, w) }, l.restart, l.remove} {
			if err := step(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

func many(i int) string { return fmt.Sprintf("d%04d.example", i) }

func due(round int) string { return fmt.Sprintf("due%d.example", round) }

// open starts the sink and the DNS server of the domains.
func (l *long) open() error {
	var err error
	if l.sink, err = traffic.NewSink(traffic.SinkOptions{}); err != nil {
		return err
	}
	refusing := []string{deletedDomain, oneDomain}
	for i := range manyDomains {
		refusing = append(refusing, many(i))
	}
	var records []string
	for _, domain := range refusing {
		l.sink.Behave(domain, traffic.Behaviour{Refuse: true})
		records = append(records, mx(domain)...)
	}
	records = append(records, mx(healthyDomain)...)
	for n := range l.options.rounds {
		records = append(records, mx(due(n))...)
	}
	if l.dns, err = smtptest.NewDNS(records...); err != nil {
		return errors.Join(err, l.sink.Close())
	}
	return nil
}

// mx are the records of a domain whose MX host is its own.
func mx(domain string) []string {
	return []string{fmt.Sprintf("%s. 86400 MX 10 mx.%[1]s.", domain), fmt.Sprintf("mx.%s. 86400 A 127.0.0.1", domain)}
}

// fill loads the queue and waits until everything has been tried once.
func (l *long) fill(ctx context.Context) error {
	started := time.Now()
	for domain, messages := range map[string]int{deletedDomain: l.messages / 10, oneDomain: l.messages * 4 / 10} {
		if _, err := traffic.Send(ctx, l.load(50, messages, domain)); err != nil {
			return fmt.Errorf("load for %s: %w", domain, err)
		}
	}
	if err := l.fillMany(ctx, l.messages-l.messages/10-l.messages*4/10); err != nil {
		return err
	}
	accepted := time.Since(started)
	fmt.Printf("  loaded %d in %.0f s\n", l.messages, accepted.Seconds())
	if err := l.deferred(ctx); err != nil {
		return err
	}
	l.row(row{
		Figure: fmt.Sprintf("loading %d messages of 4 KiB to %d refusing destinations, accepted", l.messages, manyDomains+2), Unit: "/s",
		Ours: one(float64(l.messages) / accepted.Seconds()), Note: fmt.Sprintf("once; all deferred after %.0f s", time.Since(started).Seconds()),
	})
	return nil
}

func one(value float64) series { return series{nameRelay, []float64{value}} }

func (l *long) load(sessions, messages int, domain string) traffic.Load {
	return l.running.load(traffic.Load{Sessions: sessions, Messages: messages, Octets: 4096, Domain: domain})
}

// fillMany spreads messages over the many domains, 50 of them at a time.
func (l *long) fillMany(ctx context.Context, messages int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(50)
	for i := range manyDomains {
		share := messages/manyDomains + max(0, min(1, messages%manyDomains-i))
		if share == 0 {
			break
		}
		group.Go(func() error {
			_, err := traffic.Send(ctx, l.load(1, share, many(i)))
			return err
		})
	}
	return group.Wait()
}

// deferred waits until all mail has been tried.
func (l *long) deferred(ctx context.Context) error {
	for {
		s, err := l.relay.Status(ctx)
		if err != nil {
			return err
		}
		if s.Queue.Deferred >= int64(l.messages) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d are deferred: %w", s.Queue.Deferred, l.messages, context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// weigh measures memory and disk, once a second.
func (l *long) weigh(ctx context.Context) error {
	resident := series{Name: nameRelay}
	var last usage
	for range max(l.options.rounds, 1) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Second):
		}
		var err error
		if last, err = l.running.usage(); err != nil {
			return err
		}
		resident.Values = append(resident.Values, mebibytes(last.RSS))
	}
	what := fmt.Sprintf("%d deferred messages of 4 KiB: ", l.messages)
	l.row(row{
		Figure: what + "resident memory", Unit: "MiB", Goal: atMost(256), Ours: resident,
		Note: fmt.Sprintf("VmRSS, each second; PSS %.0f, the most so far %.0f", mebibytes(last.PSS), mebibytes(last.Peak)),
	})
	if l.options.profiles != "" {
		if err := l.profile(ctx, l.relay, "heap", "/debug/pprof/heap"); err != nil {
			return err
		}
	}
	disk, err := allocated(l.relay.DataDir())
	if err != nil {
		return err
	}
	payload := float64(l.messages) * 4096
	l.row(row{Figure: what + "disk over payload", Unit: "×", Goal: atMost(1.5), Ours: one(float64(disk) / payload), Note: "the whole data directory, once"})
	return nil
}

// list has the CLI show the first page.
func (l *long) list(ctx context.Context) error {
	took, asked := series{Name: nameRelay}, series{Name: "admin socket"}
	for range l.options.rounds {
		started := time.Now()
		if err := l.cli(ctx, "queue", "ls"); err != nil {
			return err
		}
		took.Values = append(took.Values, milliseconds(started))
		started = time.Now()
		if _, err := l.relay.Ask(ctx, "GET", "/queue", ""); err != nil {
			return err
		}
		asked.Values = append(asked.Values, milliseconds(started))
	}
	l.row(row{Figure: fmt.Sprintf("queue ls with %d messages, first page", l.messages), Unit: "ms", Goal: atMost(100), Ours: took, Peer: &asked, Note: "the CLI, start and all"})
	return nil
}

func milliseconds(since time.Time) float64 { return float64(time.Since(since).Microseconds()) / 1000 }

// cli runs the postrider program on the relay.
func (l *long) cli(ctx context.Context, args ...string) error {
	args = append(args, filepath.Base(l.running.dir), "--data", filepath.Dir(l.running.dir))
	out, err := exec.CommandContext(ctx, l.program("postrider"), args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("postrider %v: %w\n%.2000s", args, err, out)
	}
	return nil
}

// accept measures loads for a healthy destination with the backlog and, in turn, with an empty queue.
func (l *long) accept(ctx context.Context, w work) error {
	const empty = "empty queue"
	return l.with(ctx, l.bench.relay(), w, func(beside *running) error {
		var all compared
		for n := range l.options.rounds + 1 { // the first one warms up
			contestants := []struct {
				name string
				r    *running
			}{{nameRelay, l.running}, {empty, beside}}
			for i := range contestants {
				c := contestants[(i+n)%2]
				m, err := l.acceptOnce(ctx, c.r, c.name, n)
				if err != nil {
					return err
				}
				if n > 0 {
					fmt.Printf("  round %d  %s\n", n, m)
					all = append(all, *m)
				}
			}
		}
		l.results.Measured = append(l.results.Measured, all...)
		figure := fmt.Sprintf("with %d messages in the queue: ", l.messages)
		l.row(row{Figure: figure + "accepted while delivering", Unit: "/s", Goal: atLeast(0.9), Ours: all.of(nameRelay, acceptedRate), Peer: all.peer(empty, acceptedRate)})
		l.row(row{Figure: figure + "end to end", Unit: "/s", Ours: all.of(nameRelay, endToEndRate), Peer: all.peer(empty, endToEndRate)})
		return nil
	})
}

// acceptOnce is one load of one of the two.
func (l *long) acceptOnce(ctx context.Context, r *running, name string, n int) (*measured, error) {
	if r == l.running {
		defer l.profileCPU(ctx, entrant{name: name, engine: l.relay}, n)()
	}
	l.sink.Reset()
	m := &measured{Scenario: l.scenario, Engine: name, Round: n, Messages: l.scaled(15_000)}
	load := r.load(traffic.Load{Sessions: 50, Messages: m.Messages, Octets: 4096, Domain: healthyDomain})
	return m, m.take(ctx, r, load, l.sink, false)
}

// restart kills the relay while mail is due, and starts it again.
func (l *long) restart(ctx context.Context) error {
	greeted, delivered := series{Name: nameRelay}, series{Name: nameRelay}
	for n := range l.options.rounds {
		greeting, delivery, err := l.restartOnce(ctx, due(n))
		if err != nil {
			return err
		}
		fmt.Printf("  restart %d: 220 after %.2f s, a due message after %.2f s\n", n+1, greeting.Seconds(), delivery.Seconds())
		greeted.Values = append(greeted.Values, greeting.Seconds())
		delivered.Values = append(delivered.Values, delivery.Seconds())
	}
	figure := fmt.Sprintf("SIGKILL with %d messages in the queue: ", l.messages)
	l.row(row{Figure: figure + "first 220", Unit: "s", Goal: atMost(1), Ours: greeted, Note: "from the start of the new process"})
	l.row(row{Figure: figure + "first delivery of a due message", Unit: "s", Goal: atMost(2), Ours: delivered, Note: "from the start of the new process"})
	return nil
}

// restartOnce has mail wait for a domain whose replies take long, kills the relay, and times the next one. The sink is
// quick by then.
func (l *long) restartOnce(ctx context.Context, domain string) (greeting, delivery time.Duration, err error) {
	l.sink.Behave(domain, traffic.Behaviour{PerData: time.Minute})
	if _, err := traffic.Send(ctx, l.load(20, dueMessages, domain)); err != nil {
		return 0, 0, err
	}
	if err := l.relay.Kill(); err != nil {
		return 0, 0, err
	}
	l.sink.Behave(domain, traffic.Behaviour{})
	watch := l.sink.Watch(domain)
	started := time.Now()
	var took time.Duration
	arrived := make(chan error, 1)
	go func() { // ends with the first message, or the scenario
		failed := watch.Wait(ctx, 1)
		took = time.Since(started)
		arrived <- failed
	}()
	if err := l.relay.Start(ctx); err != nil {
		return 0, 0, err
	}
	greeting = time.Since(started)
	err = <-arrived
	return greeting, took, err
}

// remove deletes the mail of one destination.
func (l *long) remove(ctx context.Context) error {
	before, err := l.relay.Status(ctx)
	if err != nil {
		return err
	}
	started := time.Now()
	if err := l.cli(ctx, "queue", "delete", "--domain", deletedDomain, "--reason", "bench", "--yes"); err != nil {
		return err
	}
	took := milliseconds(started) / 1000
	after, err := l.relay.Status(ctx)
	if err != nil {
		return err
	}
	if removed := after.Ledger.Removed - before.Ledger.Removed; removed != int64(l.messages/10) {
		return fmt.Errorf("%d recipients were removed, not %d", removed, l.messages/10)
	}
	l.row(row{Figure: "queue delete of " + strconv.Itoa(l.messages/10) + " by destination", Unit: "s", Goal: atMost(1), Ours: one(took), Note: "the CLI, once"})
	return nil
}
