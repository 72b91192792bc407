// Command bench measures the relay beside Postfix: smtp-source, engine, smtp-sink, all on this machine, with the
// same load, in alternating rounds. Both engines sync a message to disk before they answer 250. It prints a table
// and writes bin/bench.json.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"time"

	"github.com/postrider/postrider/test/daemon"
)

// load is what every engine gets.
type load struct {
	Sessions int `json:"sessions"`
	// Octets of the body of a message.
	Octets   int `json:"octets"`
	Messages int `json:"messages"`
}

func (l load) String() string {
	return fmt.Sprintf("%d messages of %d octets over %d sessions", l.Messages, l.Octets, l.Sessions)
}

// options of the program.
type options struct {
	load   load
	rounds int
	// dir is where queues are kept: on a disk, not in memory.
	dir string
	out string
	// baseline is an older relay to measure beside the new one; empty for none.
	baseline string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, parse()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse() options {
	var o options
	flag.IntVar(&o.load.Sessions, "sessions", 50, "SMTP sessions at the same time")
	flag.IntVar(&o.load.Octets, "octets", 4096, "octets of each message")
	flag.IntVar(&o.load.Messages, "messages", 10000, "messages of a round")
	flag.IntVar(&o.rounds, "rounds", number(os.Getenv("ROUNDS"), 5), "rounds; default $ROUNDS or 5")
	flag.StringVar(&o.dir, "dir", "/var/tmp", "where queues are kept; a disk, not memory")
	flag.StringVar(&o.out, "out", "bin/bench.json", "file for the results")
	flag.StringVar(&o.baseline, "baseline", os.Getenv("BASELINE"), "an older relay program to measure in the same rounds; default $BASELINE")
	flag.Parse()
	return o
}

func number(s string, otherwise int) int {
	if n, err := strconv.Atoi(s); err == nil && n > 0 {
		return n
	}
	return otherwise
}

func run(ctx context.Context, o options) error {
	if err := install(ctx); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "postrider-bench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil { // Postfix works under a user of its own
		return err
	}
	binary, err := daemon.Build(ctx, dir)
	if err != nil {
		return err
	}
	fmt.Printf("%s, %d rounds, %s.\n%s\n\n", o.load, o.rounds, machineFacts(dir), method)
	engines := []engine{&postrider{as: "postrider", binary: binary}, &postfix{}}
	if o.baseline != "" {
		engines = append(engines, &postrider{as: "baseline", binary: o.baseline})
	}
	results, err := measure(ctx, o, dir, engines)
	if err != nil {
		return err
	}
	if err := write(o, results, machineFacts(dir)); err != nil {
		return err
	}
	return report(os.Stdout, results)
}

// method says what is compared, so that nobody has to guess.
const method = `Both engines: one listener without TLS, all mail to one smart host (smtp-sink) without TLS, at most 20 connections
to it, queue synced to disk before each 250. Postfix is as Debian ships it, with a queue of its own. Accepted: until
the last 250 to smtp-source, deliveries going on beside it. End to end: until the last message is in smtp-sink.`

// measure runs the rounds. Engines take turns in going first.
func measure(ctx context.Context, o options, dir string, engines []engine) ([]*result, error) {
	results := make([]*result, len(engines))
	for i, e := range engines {
		results[i] = &result{Name: e.name()}
	}
	for n := range o.rounds {
		for i := range engines {
			i = (i + n) % len(engines)
			one, err := round(ctx, o.load, dir, engines[i])
			if err != nil {
				return nil, fmt.Errorf("round %d, %s: %w", n+1, engines[i].name(), err)
			}
			results[i].Rounds = append(results[i].Rounds, one)
			fmt.Printf("round %d  %-10s %6.0f accepted/s %6.0f end to end/s%s\n", n+1, engines[i].name(), one.Accepted, one.EndToEnd, one.cost())
		}
	}
	return results, nil
}

// roundTime is how long a round may take.
const roundTime = 5 * time.Minute

// round measures an engine once, with an empty queue.
func round(ctx context.Context, l load, dir string, e engine) (one, error) {
	ctx, cancel := context.WithTimeout(ctx, roundTime)
	defer cancel()
	work, err := os.MkdirTemp(dir, e.name())
	if err != nil {
		return one{}, err
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err := os.Chmod(work, 0o755); err != nil {
		return one{}, err
	}
	sink, err := startSink(ctx, l)
	if err != nil {
		return one{}, err
	}
	defer sink.stop()
	address, err := e.start(ctx, work, sink.port)
	if err != nil {
		return one{}, err
	}
	measured, err := throughput(ctx, l, address, sink)
	err = errors.Join(err, e.stop())
	measured.CPU = float64(e.cpu().Microseconds()) / float64(l.Messages)
	return measured, err
}

// throughput sends the load and waits until the sink has it all.
func throughput(ctx context.Context, l load, address string, s *sink) (one, error) {
	started := time.Now()
	if err := source(ctx, l, address); err != nil {
		return one{}, err
	}
	accepted := time.Since(started)
	if err := s.wait(ctx); err != nil {
		return one{}, err
	}
	endToEnd := time.Since(started)
	return one{Accepted: rate(l, accepted), EndToEnd: rate(l, endToEnd)}, nil
}

func rate(l load, d time.Duration) float64 { return float64(l.Messages) / d.Seconds() }
