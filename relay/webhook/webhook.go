// Package webhook owns the way of events out of the relay: CloudEvents 1.0 over HTTP, in batches, signed, retried.
//
// Each webhook has a queue of its own on disk, bounded, outside the spool: when it is full, its oldest events go. Mail
// never waits for it: Record drops what it cannot take at once. An event is told at least once while the process
// lives. It is not synced: a crash loses what was not written to its file yet, a power failure more. What must not be
// lost stands in the spool's books; events are no books.
//
// It refuses to follow redirects, to speak to addresses that an admin's URL should not lead to (see mayDial), and to
// send unsigned what is to be signed.
package webhook

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/event"
)

// DefaultQuota is how many octets the queue of a webhook may have on disk.
const DefaultQuota = 64 << 20

// Options of Hooks.
type Options struct {
	// Dir is where the queues are kept. What is in there belongs to this package.
	Dir string
	// Pod and Version name the sender of events.
	Pod, Version string
	// Loopback lets the literal loopback addresses be webhooks: for a relay that runs on its admin's machine.
	Loopback bool
	// Low says that the disk is below its reserve: nothing is written then. Nil for never.
	Low func() bool
	// Quota is the bound on each queue in octets; DefaultQuota if 0.
	Quota int64
	// Metrics takes the counters; nil for none.
	Metrics prometheus.Registerer
	Log     *slog.Logger

	// backoff is the first wait after a failure; 1 s if 0.
	backoff time.Duration
}

// Hooks are the webhooks of a relay. Its methods may be called from many goroutines, but Configure and Close by one
// at a time.
type Hooks struct {
	options Options
	metrics *metrics
	// boot and count make the ids of events: unique over restarts.
	boot  string
	count atomic.Uint64
	// active are those in force, for Record: nil when there are none.
	active  atomic.Pointer[[]*hook]
	running map[string]*hook
	serving sync.WaitGroup
}

// New returns Hooks that tell nobody anything yet.
func New(o Options) *Hooks {
	if o.Low == nil {
		o.Low = func() bool { return false }
	}
	if o.Quota == 0 {
		o.Quota = DefaultQuota
	}
	if o.backoff == 0 {
		o.backoff = time.Second
	}
	return &Hooks{options: o, metrics: newMetrics(o.Metrics), boot: rand.Text()[:12], running: map[string]*hook{}}
}

// Record tells the webhooks that want it of an event. It never waits.
func (h *Hooks) Record(e event.Event) {
	active := h.active.Load()
	if active == nil {
		return
	}
	told := &occurrence{id: fmt.Sprintf("%s-%d", h.boot, h.count.Add(1)), Event: e}
	for _, hook := range *active {
		hook.offer(told)
	}
}

// Configure makes the webhooks those of a configuration. One whose name stays keeps its queue, whatever else changes;
// the queue of one that is gone is removed. A webhook that cannot be used is an error, and the others are in force.
func (h *Hooks) Configure(c *config.Config) error {
	var problems []error
	wanted := map[string]bool{}
	var active []*hook
	source := fmt.Sprintf("/namespaces/%s/mailrelays/%s/pods/%s",
		url.PathEscape(c.Relay.Namespace), url.PathEscape(c.Relay.Name), url.PathEscape(h.options.Pod))
	for _, w := range c.Relay.Webhooks {
		if wanted[w.Name] {
			problems = append(problems, fmt.Errorf("webhook %s: there are two of that name", w.Name))
			continue
		}
		wanted[w.Name] = true
		existing := h.running[w.Name]
		if existing == nil {
			existing = newHook(h, w.Name)
		}
		s, err := newSettings(w, source, c.Path, existing.settings.Load(), h.options)
		if err != nil {
			problems = append(problems, fmt.Errorf("webhook %s: %w", w.Name, err))
		}
		existing.use(s)
		if h.running[w.Name] == nil {
			h.running[w.Name] = existing
			h.metrics.know(w.Name)
			h.serving.Go(existing.run)
		}
		active = append(active, existing)
	}
	h.activate(active)
	return errors.Join(append(problems, h.remove(wanted)...)...)
}

func (h *Hooks) activate(active []*hook) {
	if len(active) == 0 {
		h.active.Store(nil)
		return
	}
	h.active.Store(&active)
}

// remove ends the webhooks that are not wanted, and removes their queues, also those of an earlier process.
func (h *Hooks) remove(wanted map[string]bool) []error {
	for name, gone := range h.running {
		if !wanted[name] {
			delete(h.running, name)
			gone.end(false)
			h.metrics.forget(name)
		}
	}
	entries, err := os.ReadDir(h.options.Dir)
	if os.IsNotExist(err) {
		return nil
	}
	problems := []error{err}
	for _, entry := range entries {
		name, err := url.PathUnescape(strings.TrimPrefix(entry.Name(), dirPrefix))
		if err == nil && !wanted[name] && strings.HasPrefix(entry.Name(), dirPrefix) {
			problems = append(problems, os.RemoveAll(filepath.Join(h.options.Dir, entry.Name())))
		}
	}
	return problems
}

// Close writes what was recorded to the queues, lets requests that are under way end within two seconds, and stops.
// What is in the queues is sent by the next process.
func (h *Hooks) Close() {
	h.activate(nil)
	for _, hook := range h.running {
		hook.stop(true)
	}
	h.serving.Wait()
}

// dirPrefix keeps any name from being "..".
const dirPrefix = "hook-"

func (h *Hooks) dirOf(name string) string {
	return filepath.Join(h.options.Dir, dirPrefix+url.PathEscape(name))
}
