// Command try shows a relay at work, without a cluster and without root: bin/postrider runs the resources of
// config/samples/quickstart.yaml; a DNS server, two receivers and a closed port stand in for the world. It sends
// mail, shows what becomes of it, and fails if anything is not as it says.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

// limit is how long all of it may take.
const limit = 55 * time.Second

func main() {
	postrider := flag.String("postrider", "bin/postrider", "the program to try")
	sample := flag.String("f", "config/samples/quickstart.yaml", "the manifests to run")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := try(ctx, *postrider, *sample); err != nil {
		fmt.Fprintln(os.Stderr, "\ntry:", err)
		os.Exit(1)
	}
}

// try is the story, from beginning to end.
func try(ctx context.Context, postrider, sample string) (err error) {
	started := time.Now()
	w, err := newWorld()
	if err != nil {
		return err
	}
	defer w.close()
	r, err := newRelay(postrider, sample, w)
	if err != nil {
		return err
	}
	defer func() { err = r.finish(err) }()
	for _, step := range []func(context.Context, *world, *relay) error{
		start, publish, send, delivered, bounced, deferred, table,
	} {
		if err := step(ctx, w, r); err != nil {
			return err
		}
	}
	fmt.Printf("\nAll as it should be, after %.1f s. Nothing is left behind.\n", time.Since(started).Seconds())
	fmt.Println("On a real cluster: make demo. Your own manifests: bin/postrider local --help.")
	return nil
}

// say tells what happens next.
func say(format string, args ...any) { fmt.Printf("\n==> "+format+"\n", args...) }
