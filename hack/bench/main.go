// Command bench measures the relay beside Debian's Postfix and the floor program, all on this machine, with load and
// sink of its own (hack/bench/traffic). It owns the scenarios and what is asked of each figure; it prints a table and
// writes bin/bench.json. It refuses to judge what it did not measure in the same run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

// options of the program.
type options struct {
	// only names the scenarios to run, separated by commas; empty for all.
	only string
	list bool
	// print is a file of results to print as Markdown, in place of measuring.
	print string
	// rounds of what is cheap to repeat; messages are those of the backlog.
	rounds, messages int
	// scale divides the loads of the rounds: for trying a scenario out.
	scale int
	// dir is where queues are kept: on a disk, not in memory.
	dir string
	out string
	// baseline is an older relay to measure beside the new one; empty for none.
	baseline string
	// profiles is where the relay's CPU and heap profiles go; empty for none.
	profiles string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, parse()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse() options {
	var o options
	flag.StringVar(&o.only, "run", os.Getenv("BENCH"), "scenarios to run, separated by commas; default $BENCH or all")
	flag.BoolVar(&o.list, "list", false, "list the scenarios")
	flag.StringVar(&o.print, "print", "", "print the results in this file as Markdown, and measure nothing")
	flag.IntVar(&o.rounds, "rounds", number(os.Getenv("ROUNDS"), 5), "rounds of what is repeated; default $ROUNDS or 5")
	flag.IntVar(&o.messages, "messages", number(os.Getenv("MESSAGES"), 1_000_000), "messages of the backlog; default $MESSAGES or 1000000")
	flag.IntVar(&o.scale, "scale", 1, "divides the load of the rounds, to try a scenario out")
	flag.StringVar(&o.dir, "dir", "/var/tmp", "where queues are kept; a disk, not memory")
	flag.StringVar(&o.out, "out", "bin/bench.json", "file for the results")
	flag.StringVar(&o.baseline, "baseline", os.Getenv("BASELINE"), "an older relay program to measure in the same rounds; default $BASELINE")
	flag.StringVar(&o.profiles, "profile", os.Getenv("PROFILE"), "directory for profiles of the relay; default $PROFILE or none")
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
	chosen, err := choose(scenarios(), o.only)
	switch {
	case err != nil:
		return err
	case o.list:
		for _, s := range chosen {
			fmt.Printf("%-12s %s\n", s.name, s.about)
		}
		return nil
	case o.print != "":
		r, err := readResults(o.print)
		if err != nil {
			return err
		}
		return r.markdown(os.Stdout)
	}
	if err := install(ctx, chosen); err != nil {
		return err
	}
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer b.close()
	return b.all(ctx, chosen)
}

// all runs the scenarios in turn. One that fails does not keep the others from being measured.
func (b *bench) all(ctx context.Context, chosen []scenario) error {
	fmt.Printf("%s.\n\n", b.results.Machine)
	var failed error
	for _, s := range chosen {
		fmt.Printf("%s: %s\n", s.name, s.about)
		if err := s.run(ctx, b.in(s.name)); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", s.name, err))
			b.results.Failed = append(b.results.Failed, fmt.Sprintf("%s: %v", s.name, err))
		}
		if ctx.Err() != nil {
			break
		}
		failed = errors.Join(failed, b.results.write(b.options.out)) // after each, so that a long run that breaks off is not lost
	}
	if len(b.results.Rows) > 0 {
		failed = errors.Join(b.results.table(os.Stdout), failed)
	}
	return failed
}
