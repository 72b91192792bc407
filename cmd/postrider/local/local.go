// Package local owns relays that run without a cluster. It does the operator's work for one machine: manifests
// become configurations by the same rendering, DKIM keys are made and kept, DNS is checked, status is decided by
// the same conditions. It refuses what an API server would refuse, and runs one process for all relays.
//
// A data directory holds state.json and, for each relay, a directory NAME with config, keys, spool and admin.sock.
package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/cmd/postrider/door"
	"github.com/postrider/postrider/controllers/claim"
	"github.com/postrider/postrider/controllers/manifest"
	"github.com/postrider/postrider/controllers/render"
	"github.com/postrider/postrider/relay"
)

// followEvery is how often manifests are looked at for changes, and domains for a look-up that is due.
const followEvery = time.Second

// Options say what runs, and where.
type Options struct {
	Kinds  *manifest.Kinds
	Source manifest.Source
	// DataDir holds everything that outlives the process.
	DataDir string
	// Bind is the address that listeners listen on.
	Bind string
	// Resolver is host:port of the DNS server in place of those of the manifests; empty for none.
	Resolver string
	Version  string
	// Reload makes the manifests be read again; they are, too, when they change.
	Reload <-chan os.Signal
	// Log is for the relays, Say for people.
	Log *slog.Logger
	Say func(format string, args ...any)
}

// supervisor runs the relays of one data directory.
type supervisor struct {
	Options
	group *errgroup.Group
	// again makes DNS be asked at once.
	again chan struct{}

	mu    sync.Mutex
	state *State
	plans []*Plan
	// orphans are SendingDomains of no relay here.
	orphans  []v1alpha1.SendingDomain
	policies []v1alpha1.RateLimitPolicy
	running  map[string]context.CancelFunc
	files    []string
	said     []string
}

// Run runs the relays until ctx is done, or one of them fails. Manifests that are invalid at the start are an error
// (a *manifest.Invalid); later ones are reported, and what was stays in force.
func Run(ctx context.Context, o Options) error {
	if err := o.prepare(); err != nil {
		return err
	}
	state, err := readState(o.DataDir)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	s := &supervisor{Options: o, group: group, state: state, running: map[string]context.CancelFunc{}, again: make(chan struct{}, 1)}
	if err := s.apply(ctx); err != nil {
		return err
	}
	group.Go(func() error { return s.follow(ctx) })
	group.Go(func() error { return s.lookUp(ctx) })
	return group.Wait()
}

// prepare makes the data directory, and makes standard input readable again and again.
func (o *Options) prepare() error {
	if o.Source.Stdin != nil && slices.Contains(o.Source.Paths, "-") {
		data, err := io.ReadAll(o.Source.Stdin)
		if err != nil {
			return err
		}
		o.Source.Stdin = bytes.NewReader(data)
	}
	absolute, err := filepath.Abs(o.DataDir)
	if err != nil {
		return err
	}
	o.DataDir = absolute
	return os.MkdirAll(o.DataDir, 0o700)
}

// apply reads the manifests and puts them into force: all of it, or nothing of it.
func (s *supervisor) apply(ctx context.Context) error {
	s.Source.Now = time.Now().Truncate(time.Second)
	if again, ok := s.Source.Stdin.(io.Seeker); ok {
		if _, err := again.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	set, err := s.Kinds.Load(s.Source)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.recall(set)
	plans, err := Plans(set, s.Bind, s.Resolver, s.last)
	if err != nil {
		return &manifest.Invalid{Problems: []manifest.Problem{{File: strings.Join(s.Source.Paths, ", "), Message: err.Error()}}}
	}
	s.plans, s.orphans, s.policies, s.files = plans, orphans(set), set.Policies, set.Files
	s.warn(set)
	if err := s.configure(); err != nil {
		return err
	}
	return s.startAndStop(ctx)
}

// warn tells what was passed over, once.
func (s *supervisor) warn(set *manifest.Set) {
	warnings := slices.Clone(set.Warnings)
	for _, r := range set.Relays {
		if r.Spec.Replicas > 1 {
			warnings = append(warnings, fmt.Sprintf("MailRelay %s/%s: one process runs here in place of %d replicas", r.Namespace, r.Name, r.Spec.Replicas))
		}
		if field, takes := render.TokenField(&r); takes {
			warnings = append(warnings, fmt.Sprintf("MailRelay %s/%s: %s: there is no cluster here whose tokens could be verified; clients that show one are told to try again later", r.Namespace, r.Name, field))
		}
	}
	for _, d := range s.orphans {
		warnings = append(warnings, fmt.Sprintf("SendingDomain %s/%s: there is no MailRelay %s that admits it", d.Namespace, d.Name, claim.Relay(&d)))
	}
	for _, w := range warnings {
		if !slices.Contains(s.said, w) {
			s.Say("Warning: %s", w)
		}
	}
	s.said = warnings
}

// configure writes the configuration of every relay, and the state.
func (s *supervisor) configure() error {
	now := time.Now()
	next := &State{Policies: s.policies, Domains: judgeOrphans(s.orphans, now)}
	for _, p := range s.plans {
		dir := filepath.Join(s.DataDir, p.Relay.Name)
		files, err := render.Render(render.Input{
			Relay: p.Relay, Domains: p.judge(dir, now), Policies: p.Policies, Material: p.Material,
		})
		if err != nil {
			return err
		}
		generation, err := writeConfig(configDir(dir), files)
		if err != nil {
			return fmt.Errorf("writing the configuration of %s: %w", p.Relay.Name, err)
		}
		next.Relays = append(next.Relays, RelayState{
			Relay: p.Relay, Endpoint: Address(s.Bind, p.Relay.Spec.Listeners[0]), Generation: generation,
			Secrets: p.Secrets, Certificates: p.Certificates,
		})
		next.Domains = append(next.Domains, p.Domains...)
	}
	s.state = next
	return next.write(s.DataDir)
}

// last is a file of the configuration that a relay has.
func (s *supervisor) last(relay, file string) ([]byte, bool) {
	data, err := os.ReadFile(filepath.Join(configDir(filepath.Join(s.DataDir, relay)), file))
	return data, err == nil
}

func configDir(relayDir string) string { return filepath.Join(relayDir, "config") }

// startAndStop starts the relays that are new, and stops those that are gone; their mail stays on disk.
func (s *supervisor) startAndStop(ctx context.Context) error {
	wanted := map[string]bool{}
	for _, p := range s.plans {
		wanted[p.Relay.Name] = true
		if _, runs := s.running[p.Relay.Name]; runs {
			continue
		}
		if err := s.start(ctx, p); err != nil {
			return err
		}
	}
	for name, stop := range s.running {
		if !wanted[name] {
			s.Say("MailRelay %s is no longer in the manifests; it stops, and what is in its queue stays in %s", name, filepath.Join(s.DataDir, name))
			stop()
			delete(s.running, name)
		}
	}
	return nil
}

// maxSocketPath is how long the path of a Unix socket may be.
const maxSocketPath = 107

func (s *supervisor) start(ctx context.Context, p *Plan) error {
	name := p.Relay.Name
	dir := filepath.Join(s.DataDir, name)
	socket := filepath.Join(dir, door.SocketName)
	if len(socket) > maxSocketPath {
		return fmt.Errorf("%s is longer than the %d octets that the path of a socket may have: choose a shorter --data", socket, maxSocketPath)
	}
	relayCtx, stop := context.WithCancel(ctx)
	s.running[name] = stop
	options := relay.Options{
		ConfigDir: configDir(dir), DataDir: dir, AdminSocket: socket, Bind: s.Bind,
		Pod: name, Version: s.Version, Local: true, Log: s.Log.With("relay", name),
	}
	s.group.Go(func() error {
		defer stop()
		if err := relay.Run(relayCtx, options); err != nil {
			return fmt.Errorf("MailRelay %s: %w", name, err)
		}
		return nil
	})
	s.group.Go(func() error { return s.announce(relayCtx, name) })
	return nil
}

// announce tells where a relay listens once it does, or why it does not.
func (s *supervisor) announce(ctx context.Context, name string) error {
	for {
		if report := ask(ctx, s.DataDir, name); report != nil && report.Generation > 0 && len(report.Listeners) > 0 {
			for _, l := range report.Listeners {
				if l.Error != "" {
					s.Say("MailRelay %s: listener %s: %s", name, l.Name, l.Error)
				} else {
					s.Say("MailRelay %s: listener %s on %s", name, l.Name, l.Address)
				}
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// follow reads the manifests again when it is told to, and when they change.
func (s *supervisor) follow(ctx context.Context) error {
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	seen := s.stamp()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.Reload:
			select {
			case s.again <- struct{}{}:
			default: // it is under way
			}
		case <-ticker.C:
			if s.stamp() == seen {
				continue
			}
		}
		seen = s.stamp()
		if err := s.apply(ctx); err != nil {
			s.Say("The manifests are not taken up; what was stays in force: %v", err)
			continue
		}
		s.Say("The manifests are taken up.")
	}
}

// stamp changes when a manifest does.
func (s *supervisor) stamp() string {
	s.mu.Lock()
	paths := slices.Concat(s.Source.Paths, s.files)
	s.mu.Unlock()
	var b strings.Builder
	for _, path := range paths {
		info, err := os.Stat(path)
		if errors.Is(err, os.ErrNotExist) || err != nil {
			fmt.Fprintf(&b, "%s: absent\n", path)
			continue
		}
		fmt.Fprintf(&b, "%s: %d %s\n", path, info.Size(), info.ModTime())
	}
	return b.String()
}
