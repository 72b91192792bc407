package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/postrider/postrider/hack/bench/traffic"
	"github.com/postrider/postrider/test/daemon"
)

// Names of the mail of the bench.
const (
	hostname     = "relay.bench.example"
	senderDomain = "bench.example"
	sinkDomain   = "sink.example"
)

// bench is a run of the program.
type bench struct {
	options options
	// scenario is the name of the one that runs.
	scenario string
	// dir is removed at the end. It holds the programs and, while they run, the engines' queues.
	dir     string
	results *results
}

func newBench(ctx context.Context, o options) (*bench, error) {
	dir, err := os.MkdirTemp(o.dir, "postrider-bench")
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, dir: dir}
	if err := b.prepare(ctx); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// prepare builds the programs.
func (b *bench) prepare(ctx context.Context) error {
	if err := os.Chmod(b.dir, 0o755); err != nil { // Postfix works under a user of its own
		return err
	}
	for _, program := range []string{"cmd/relay", "cmd/postrider", "hack/bench/floor"} {
		if _, err := daemon.BuildProgram(ctx, b.dir, program); err != nil {
			return err
		}
	}
	b.results = &results{Time: time.Now().UTC().Truncate(time.Second), Machine: machineFacts(b.dir), Method: method, Rounds: b.options.rounds}
	b.results.Machine.Version = version(ctx)
	var err error
	b.results.Machine.Syncs, err = syncRate(b.dir)
	return err
}

// version is what was measured.
func version(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

func (b *bench) close() { _ = os.RemoveAll(b.dir) }

// in is the bench as a scenario sees it.
func (b *bench) in(scenario string) *bench {
	c := *b
	c.scenario = scenario
	return &c
}

// row adds a line to the table, and shows it.
func (b *bench) row(r row) {
	r.Scenario = b.scenario
	b.results.Rows = append(b.results.Rows, r)
	fmt.Printf("  = %s\n", strings.Join(r.cells(), " · "))
}

// scaled is a number of messages as -scale wants it.
func (b *bench) scaled(messages int) int { return max(messages/b.options.scale, 1) }

func (b *bench) program(name string) string { return filepath.Join(b.dir, name) }

func (b *bench) relay() *relayEngine { return &relayEngine{as: nameRelay, binary: b.program("relay")} }

// engines are the relay and those named; the baseline only if there is one.
func (b *bench) engines(peers ...string) []engine {
	engines := []engine{b.relay()}
	for _, name := range peers {
		switch {
		case name == namePostfix:
			engines = append(engines, &postfixEngine{})
		case name == nameFloor:
			engines = append(engines, &floorEngine{binary: b.program("floor")})
		case name == nameBaseline && b.options.baseline != "":
			engines = append(engines, &relayEngine{as: nameBaseline, binary: b.options.baseline})
		}
	}
	return engines
}

// running is an engine that has been started.
type running struct {
	engine
	address string
	dir     string
}

// with starts an engine in a directory of its own, has f use it, and leaves nothing of it behind.
func (b *bench) with(ctx context.Context, e engine, w work, f func(*running) error) error {
	dir, err := os.MkdirTemp(b.dir, e.name())
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	address, err := e.start(ctx, dir, w)
	if err != nil {
		return fmt.Errorf("start %s: %w", e.name(), err)
	}
	return errors.Join(f(&running{e, address, dir}), e.stop())
}

// usage is what the engine and its children take.
func (r *running) usage() (usage, error) {
	pid, err := r.pid()
	if err != nil {
		return usage{}, err
	}
	return usageOf(pid)
}

// load is what every scenario's loads have in common.
func (r *running) load(l traffic.Load) traffic.Load {
	l.Address = r.address
	if l.From == "" {
		l.From = "sender@" + senderDomain
	}
	if l.Domain == "" {
		l.Domain = sinkDomain
	}
	return l
}
