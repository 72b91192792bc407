package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/postrider/postrider/hack/bench/traffic"
)

// trial is a load and the world that it goes through.
type trial struct {
	work work
	// load is that of the relay. Others get their share of the messages; share is that of Postfix if it is not the usual.
	load  traffic.Load
	share float64
	sink  traffic.SinkOptions
	// oneWay is the delay in each direction between engine and sink; 0 for none.
	oneWay time.Duration
}

// shareOf is the part of the load that an engine gets.
func (t *trial) shareOf(e engine) float64 {
	if share := e.share(); share == 1 || t.share == 0 {
		return share
	}
	return t.share
}

// measured is what one round of one engine came to.
type measured struct {
	Scenario string `json:"scenario"`
	Engine   string `json:"engine"`
	Round    int    `json:"round"`
	Messages int    `json:"messages"`
	// Accepted and EndToEnd are messages per second, until the last 250 and until the last one was in the sink.
	Accepted float64 `json:"accepted"`
	EndToEnd float64 `json:"endToEnd,omitempty"`
	// CPU is the processor time per message, in microseconds, of all its processes.
	CPU float64 `json:"cpuMicros"`
	// LoadCPU is what generator, sink and proxy took of it besides.
	LoadCPU float64 `json:"loadCPUMicros"`
	// Memory is what its processes have resident at the end of the load, shared pages once (PSS); Peak is the most that
	// its first process had. Both in MiB.
	Memory float64 `json:"memoryMiB"`
	Peak   float64 `json:"peakMiB"`
}

func (m *measured) String() string {
	return fmt.Sprintf("%-12s %6.0f accepted/s %6.0f end to end/s  %5.0f µs of CPU/message (the load's %3.0f)  %4.0f MiB",
		m.Engine, m.Accepted, m.EndToEnd, m.CPU, m.LoadCPU, m.Memory)
}

// What a row may take from a round.
func acceptedRate(m *measured) float64 { return m.Accepted }
func endToEndRate(m *measured) float64 { return m.EndToEnd }
func cpuMicros(m *measured) float64    { return m.CPU }
func peakMemory(m *measured) float64   { return m.Peak }

// entrant is an engine with what it is to do.
type entrant struct {
	name   string
	engine engine
	trial  trial
}

// compared are the rounds of several entrants.
type compared []measured

// of is what the rounds of an entrant came to.
func (c compared) of(name string, figure func(*measured) float64) series {
	s := series{Name: name}
	for i := range c {
		if c[i].Engine == name {
			s.Values = append(s.Values, figure(&c[i]))
		}
	}
	return s
}

// peer is the same, for the column beside ours.
func (c compared) peer(name string, figure func(*measured) float64) *series {
	s := c.of(name, figure)
	return &s
}

// compare has engines do the same in every round.
func (b *bench) compare(ctx context.Context, t trial, engines []engine) (compared, error) {
	var entrants []entrant
	for _, e := range engines {
		entrants = append(entrants, entrant{e.name(), e, t})
	}
	return b.alternate(ctx, entrants)
}

// alternate measures each entrant once a round. They take turns in going first.
func (b *bench) alternate(ctx context.Context, entrants []entrant) (compared, error) {
	var all compared
	for n := range b.options.rounds {
		for i := range entrants {
			e := entrants[(i+n)%len(entrants)]
			m, err := b.round(ctx, e, n+1)
			if err != nil {
				return all, fmt.Errorf("round %d, %s: %w", n+1, e.name, err)
			}
			fmt.Printf("  round %d  %s\n", n+1, m)
			all = append(all, *m)
			b.results.Measured = append(b.results.Measured, *m)
		}
	}
	return all, nil
}

// roundTime is how long a round may take.
const roundTime = 5 * time.Minute

// round measures an entrant once: a new process with an empty queue, warmed up with a tenth of the load.
func (b *bench) round(ctx context.Context, e entrant, n int) (*measured, error) {
	ctx, cancel := context.WithTimeout(ctx, roundTime)
	defer cancel()
	t := e.trial
	t.load.Messages = max(int(float64(b.scaled(t.load.Messages))*t.shareOf(e.engine)), 10)
	sink, err := traffic.NewSink(t.sink)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sink.Close() }()
	t.work.next = sink.Address()
	if t.oneWay > 0 {
		proxy, err := traffic.NewProxy(sink.Address(), t.oneWay)
		if err != nil {
			return nil, err
		}
		defer func() { _ = proxy.Close() }()
		t.work.next = proxy.Address()
	}
	m := &measured{Scenario: b.scenario, Engine: e.name, Round: n, Messages: t.load.Messages}
	err = b.with(ctx, e.engine, t.work, func(r *running) error {
		warm := r.load(t.load)
		warm.Messages = max(warm.Messages/10, min(warm.Sessions, warm.Messages))
		if _, _, err := through(ctx, warm, sink, t.work.hold); err != nil {
			return fmt.Errorf("warming up: %w", err)
		}
		sink.Reset()
		defer b.profileCPU(ctx, e, n)()
		return m.take(ctx, r, r.load(t.load), sink, t.work.hold)
	})
	return m, err
}

// take measures a load.
func (m *measured) take(ctx context.Context, r *running, l traffic.Load, sink *traffic.Sink, hold bool) error {
	before, err := r.usage()
	if err != nil {
		return err
	}
	own := ownCPU()
	accepted, endToEnd, err := through(ctx, l, sink, hold)
	if err != nil {
		return err
	}
	own = ownCPU() - own
	after, err := r.usage()
	if err != nil {
		return err
	}
	m.LoadCPU = float64(own.Microseconds()) / float64(l.Messages)
	m.Accepted = float64(l.Messages) / accepted.Seconds()
	if !hold {
		m.EndToEnd = float64(l.Messages) / endToEnd.Seconds()
	}
	m.CPU = float64((after.CPU - before.CPU).Microseconds()) / float64(l.Messages)
	m.Memory, m.Peak = mebibytes(after.PSS), mebibytes(after.Peak)
	return nil
}

func mebibytes(octets int64) float64 { return float64(octets) / (1 << 20) }

// through sends a load and, unless it is held, waits until all of it is in the sink.
func through(ctx context.Context, l traffic.Load, sink *traffic.Sink, hold bool) (accepted, endToEnd time.Duration, err error) {
	started := time.Now()
	sent, err := traffic.Send(ctx, l)
	if err != nil || hold {
		return sent.Elapsed, 0, err
	}
	err = arrive(ctx, sink, l)
	return sent.Elapsed, time.Since(started), err
}

// arrive waits until all recipients of a load have their message. An engine may split a message with many recipients,
// so that there may be more of them than were sent.
func arrive(ctx context.Context, sink *traffic.Sink, l traffic.Load) error {
	if err := sink.Wait(ctx, l.Messages); err != nil {
		return err
	}
	for recipients := l.Messages * max(l.Recipients, 1); ; {
		got := sink.Arrived().Recipients
		if got >= recipients {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d recipients have their message: %w", got, recipients, context.Cause(ctx))
		case <-time.After(time.Millisecond):
		}
	}
}

// profileTime is how long the CPU profile of a round is taken.
const profileTime = 3

// profileCPU takes a profile of the relay in its first round, if that is wanted. What it returns waits for its end.
func (b *bench) profileCPU(ctx context.Context, e entrant, n int) (wait func()) {
	relay, ours := e.engine.(*relayEngine)
	if b.options.profiles == "" || !ours || relay.as != nameRelay || n > 1 {
		return func() {}
	}
	done := make(chan error, 1)
	go func() { // ends with the profile, which wait waits for
		done <- b.profile(ctx, relay, e.name+"-cpu", fmt.Sprintf("/debug/pprof/profile?seconds=%d", profileTime))
	}()
	return func() {
		if err := <-done; err != nil {
			fmt.Fprintln(os.Stderr, "no profile:", err)
		}
	}
}

// profile writes what the relay says of itself to SCENARIO-NAME.pprof.
func (b *bench) profile(ctx context.Context, relay *relayEngine, name, path string) error {
	data, err := relay.Ask(ctx, "GET", path, "")
	if err != nil {
		return err
	}
	return errors.Join(
		os.MkdirAll(b.options.profiles, 0o755),
		os.WriteFile(filepath.Join(b.options.profiles, b.scenario+"-"+name+".pprof"), data, 0o644),
	)
}
