package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/postrider/postrider/hack/bench/traffic"
)

const (
	refusingDomain = "refusing.example"
	slowDomain     = "slow.example"
	// slowReply is how long the slow destination takes for each message.
	slowReply = 20 * time.Second

	// probes, probePace a second, are what a healthy destination is sent.
	probes    = 1000
	probePace = 100
	// probePatience is how long after the last one they may come.
	probePatience = 30 * time.Second
	// settling is how long an engine may take to have tried everything that is refused.
	settling = 3 * time.Minute
)

// receivers are where the mail of the fairness scenario goes.
type receivers struct{ healthy, refusing, slow *traffic.Sink }

// open starts them, each at a port of its own, so that each is a destination of its own to every engine.
func (r *receivers) open() error {
	for _, sink := range []**traffic.Sink{&r.healthy, &r.refusing, &r.slow} {
		var err error
		if *sink, err = traffic.NewSink(traffic.SinkOptions{}); err != nil {
			return errors.Join(err, r.close())
		}
	}
	r.refusing.Behave(refusingDomain, traffic.Behaviour{Refuse: true})
	r.slow.Behave(slowDomain, traffic.Behaviour{PerData: slowReply})
	return nil
}

func (r *receivers) close() error {
	var err error
	for _, sink := range []*traffic.Sink{r.healthy, r.refusing, r.slow} {
		if sink != nil {
			err = errors.Join(err, sink.Close())
		}
	}
	return err
}

func (r *receivers) work() work {
	return work{next: r.healthy.Address(), hops: map[string]string{refusingDomain: r.refusing.Address(), slowDomain: r.slow.Address()}}
}

// probed is how long probes took, in milliseconds, in ascending order. Those that did not come count with probePatience.
type probed struct {
	latencies traffic.Latencies
	missing   int
}

func (p probed) at(quantile float64) float64 {
	all := slices.Concat(p.latencies, make(traffic.Latencies, p.missing))
	for i := len(p.latencies); i < len(all); i++ {
		all[i] = probePatience
	}
	return float64(all.Quantile(quantile).Microseconds()) / 1000
}

func (p probed) String() string {
	return fmt.Sprintf("p50 %s, p99 %s, longest %s ms, %d of %d arrived", short(p.at(0.5)), short(p.at(0.99)), short(p.at(1)),
		len(p.latencies), len(p.latencies)+p.missing)
}

// probe sends probes to a domain of the healthy destination.
func (r *running) probe(ctx context.Context, healthy *traffic.Sink, domain string) (probed, error) {
	watch := healthy.Watch(domain)
	load := r.load(traffic.Load{Sessions: 10, Messages: probes, Octets: 4096, Domain: domain, Pace: probePace})
	if _, err := traffic.Send(ctx, load); err != nil {
		return probed{}, fmt.Errorf("probes: %w", err)
	}
	waiting, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	_ = watch.Wait(waiting, probes) // what is missing is the result
	latencies := watch.Latencies()
	latencies = latencies[:min(len(latencies), probes)]
	return probed{latencies, probes - len(latencies)}, ctx.Err()
}

// plight is what the healthy destination has to live beside.
type plight struct {
	key, text string
	goal      goal
}

func fairness(ctx context.Context, b *bench) error {
	waiting, stalled := b.options.messages/10, b.options.messages*3/100
	asked := atMost(100)
	plights := []plight{
		{"idle", "with nothing else to do", goal{}},
		{"a", fmt.Sprintf("while (a) %d wait for a refusing destination", waiting), asked},
		{"b", fmt.Sprintf("while (b) %d wait for one that takes 20 s for each", stalled), asked},
		{"c", fmt.Sprintf("(c) during a flush of these %d", waiting), asked},
		{"d", fmt.Sprintf("(d) right after a load of %d that are refused", waiting), asked},
	}
	found := map[string]map[string]probed{}
	var failed error
	for _, e := range []engine{b.relay(), &postfixEngine{}} {
		beside, err := b.beside(ctx, e, waiting, stalled)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", e.name(), err))
			continue
		}
		found[e.name()] = beside
	}
	if found[nameRelay] == nil {
		return failed
	}
	for _, p := range plights {
		b.row(p.row(found))
	}
	return failed
}

// row judges the relay's p99, or the longest of its probes when not all came: that is what is asked. Postfix is only
// shown.
func (p plight) row(found map[string]map[string]probed) row {
	ours := found[nameRelay][p.key]
	r := row{
		Figure: fmt.Sprintf("p99 of %d probes %s", probes, p.text), Unit: "ms", Goal: p.goal,
		Ours: series{nameRelay, []float64{ours.at(0.99)}}, Note: "once; " + ours.String(),
	}
	if ours.missing > 0 {
		r.Ours.Values = []float64{ours.at(1)}
	}
	if theirs, measured := found[namePostfix][p.key]; measured {
		r.Peer = &series{namePostfix, []float64{theirs.at(0.99)}}
		r.Note += "; postfix " + theirs.String()
	}
	return r
}

// beside probes in all plights.
func (b *bench) beside(ctx context.Context, e engine, waiting, stalled int) (map[string]probed, error) {
	found, err := b.besideRefused(ctx, e, waiting)
	if err == nil {
		found["b"], err = b.besideSlow(ctx, e, stalled)
	}
	return found, err
}

// besideRefused probes right after a load that is refused, when all of it has been, and with the relay while it is
// flushed.
func (b *bench) besideRefused(ctx context.Context, e engine, messages int) (map[string]probed, error) {
	found := map[string]probed{}
	var to receivers
	if err := to.open(); err != nil {
		return nil, err
	}
	defer func() { _ = to.close() }()
	err := b.with(ctx, e, to.work(), func(r *running) error {
		var err error
		if found["idle"], err = b.probeFor(ctx, r, &to, "idle"); err != nil {
			return err
		}
		load := r.load(traffic.Load{Sessions: 50, Messages: messages, Octets: 4096, Domain: refusingDomain})
		sent, err := traffic.Send(ctx, load)
		if err != nil {
			return err
		}
		fmt.Printf("  %-10s loaded %d in %.0f s\n", e.name(), sent.Accepted, sent.Elapsed.Seconds())
		if found["d"], err = b.probeFor(ctx, r, &to, "d"); err != nil {
			return err
		}
		if err := to.settle(ctx, messages); err != nil {
			return err
		}
		if found["a"], err = b.probeFor(ctx, r, &to, "a"); err != nil {
			return err
		}
		relay, ours := e.(*relayEngine)
		if !ours {
			return nil
		}
		flushed := make(chan error, 1)
		go func() { // ends with the act, which is waited for
			started := time.Now()
			err := relay.Flush(ctx)
			fmt.Printf("  %-10s the flush took %.1f s\n", e.name(), time.Since(started).Seconds())
			flushed <- err
		}()
		found["c"], err = b.probeFor(ctx, r, &to, "c")
		return errors.Join(err, <-flushed)
	})
	return found, err
}

// besideSlow probes while mail stalls.
func (b *bench) besideSlow(ctx context.Context, e engine, messages int) (probed, error) {
	var to receivers
	if err := to.open(); err != nil {
		return probed{}, err
	}
	defer func() { _ = to.close() }()
	var found probed
	err := b.with(ctx, e, to.work(), func(r *running) error {
		_, err := traffic.Send(ctx, r.load(traffic.Load{Sessions: 50, Messages: messages, Octets: 4096, Domain: slowDomain}))
		if err == nil {
			found, err = b.probeFor(ctx, r, &to, "b")
		}
		return err
	})
	return found, err
}

func (b *bench) probeFor(ctx context.Context, r *running, to *receivers, plight string) (probed, error) {
	found, err := r.probe(ctx, to.healthy, "probe-"+plight+".example")
	if err == nil {
		fmt.Printf("  %-10s (%s) %s\n", r.name(), plight, found)
	}
	return found, err
}

// settle waits until everything has been refused once, or for as long as that may take.
func (r *receivers) settle(ctx context.Context, messages int) error {
	deadline := time.Now().Add(settling)
	for r.refusing.Arrived().Refused < messages && time.Now().Before(deadline) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}
