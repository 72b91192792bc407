// Command bench-operator measures the control plane: the real operator, as a process of its own with the rights of its
// ServiceAccount, against a real API server and the real controller of StatefulSets. Nodes and relay pods are played: they
// take up a configuration at once and answer over mutual TLS as relays do. DNS is played, too, and always right.
//
// It prints a table and writes bin/bench-operator.json. It refuses to count for the operator what it waited for itself: the
// objects are there before the operator starts, and the time of making DKIM keys is measured apart.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// options of the program.
type options struct {
	// relays and domains are how many MailRelays and SendingDomains there are, spread over namespaces.
	relays, domains, namespaces int
	// keyless domains come later, without keys, so that the operator makes them.
	keyless int
	// changes is how many specs of each kind are changed, one after the other.
	changes int
	// rest is how long the operator is watched while nothing changes.
	rest time.Duration
	// manager is the program; profile is where its profiles go, empty for none.
	manager, profile string
	out              string
	// print is a file of results to print as Markdown, in place of measuring.
	print string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, parse()); err != nil {
		fmt.Fprintln(os.Stderr, "bench-operator:", err)
		os.Exit(1)
	}
}

func parse() options {
	var o options
	flag.IntVar(&o.relays, "relays", number("RELAYS", 1000), "MailRelays; default $RELAYS or 1000")
	flag.IntVar(&o.domains, "domains", number("DOMAINS", 10_000), "SendingDomains; default $DOMAINS or 10000")
	flag.IntVar(&o.namespaces, "namespaces", 20, "namespaces they are spread over")
	flag.IntVar(&o.keyless, "keyless", number("KEYLESS", 100), "SendingDomains whose DKIM keys the operator makes; default $KEYLESS or 100")
	flag.IntVar(&o.changes, "changes", number("CHANGES", 200), "changes of each kind; default $CHANGES or 200")
	flag.DurationVar(&o.rest, "rest", time.Duration(number("REST", 180))*time.Second, "how long to watch it at rest; default $REST seconds or 180")
	flag.StringVar(&o.manager, "manager", "bin/manager", "the operator")
	flag.StringVar(&o.profile, "profile", os.Getenv("PROFILE"), "directory for profiles of the operator; default $PROFILE or none")
	flag.StringVar(&o.out, "out", "bin/bench-operator.json", "file for the results")
	flag.StringVar(&o.print, "print", "", "print the results in this file as Markdown, and measure nothing")
	flag.Parse()
	o.namespaces = min(o.namespaces, o.relays)
	o.changes = min(o.changes, o.relays, o.domains)
	return o
}

func number(variable string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

func run(ctx context.Context, o options) error {
	if o.print != "" {
		return printFile(o.print)
	}
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer b.close()
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"making the objects", b.load},
		{"reconciling all of them", b.reconcileAll},
		{"at rest", b.atRest},
		{"changing specs", b.change},
		{"counts on their way into status", b.staleness},
		{"making DKIM keys", b.makeKeys},
	} {
		began := time.Now()
		fmt.Printf("==> %s\n", step.what)
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		fmt.Printf("    %.1f s\n", time.Since(began).Seconds())
		if err := b.results.write(o.out); err != nil { // after each, so that a long run that breaks off is not lost
			return err
		}
	}
	return b.results.print(os.Stdout)
}
