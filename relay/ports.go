package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/postrider/postrider/relay/auth"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/listener"
	"github.com/postrider/postrider/relay/status"
)

// sessionGrace is how long sessions may go on with a transaction when they are to end.
const sessionGrace = config.SessionSeconds * time.Second

// ports are the listeners that are open.
type ports struct {
	relay *Relay
	caps  *listener.Caps

	mu   sync.Mutex
	open map[portKey]*port
	// serving waits for the goroutines that serve them.
	serving sync.WaitGroup
}

// portKey is what cannot change while a port is open.
type portKey struct {
	name string
	port int
}

type port struct {
	*listener.Listener
	users  *auth.Users
	tokens *auth.Tokens
}

func newPorts(r *Relay) *ports {
	return &ports{
		relay: r,
		caps:  listener.NewCaps(listener.DefaultConnections, listener.DefaultPerClient),
		open:  map[portKey]*port{},
	}
}

// configure makes the open ports those of the settings: new ones are opened, those that stay are told, those that
// are gone finish what they have begun.
func (p *ports) configure(ctx context.Context, s *settings) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wanted := map[portKey]bool{}
	for _, l := range s.config.Relay.Listeners {
		key := portKey{l.Name, l.Port}
		wanted[key] = true
		if existing, ok := p.open[key]; ok {
			existing.Reconfigure(p.settings(existing, l, s))
			continue
		}
		p.open[key] = p.add(ctx, l, s)
	}
	for key, gone := range p.open {
		if !wanted[key] {
			delete(p.open, key)
			p.serving.Go(func() { p.end(gone.Shutdown) })
		}
	}
}

func (p *ports) add(ctx context.Context, l config.Listener, s *settings) *port {
	added := &port{users: auth.New(), tokens: auth.NewTokens()}
	added.Listener = listener.New(listener.Options{
		Settings: p.settings(added, l, s),
		Bind:     p.relay.options.Bind,
		Handler:  p.relay,
		Caps:     p.caps,
		Log:      p.relay.log,
	})
	p.serving.Go(func() {
		// The context only lends its values: a port is closed by end, which lets transactions finish.
		if err := added.Serve(context.WithoutCancel(ctx)); err != nil {
			p.relay.log.Error("listener ended", "listener", l.Name, "error", err)
		}
	})
	return added
}

func (p *ports) settings(of *port, l config.Listener, s *settings) listener.Settings {
	c := s.config
	ls := listener.Settings{
		Listener: l,
		Path:     c.Path,
		Hostname: c.Relay.Hostname,
		MaxBytes: c.Relay.Queue.MaxMessageBytes,
		Trusted:  s.policy.Trusted,

		BareNewline: c.Relay.Queue.BareNewline,
	}
	if gate := p.gate(of, l, c); gate != (auth.Gate{}) {
		ls.Auth = gate
	}
	return ls
}

// gate is who may authenticate at a port. What cannot be read keeps out those whom it is about, for the time being.
func (p *ports) gate(of *port, l config.Listener, c *config.Config) (gate auth.Gate) {
	if l.UsersFile != "" {
		if err := of.users.Load(c.Path(l.UsersFile)); err != nil {
			p.relay.log.Error("some users cannot log in", "listener", l.Name, "error", err)
		}
		gate.Users = of.users
	}
	if l.Audience != "" {
		rules := auth.Rules{Audience: l.Audience, Accounts: c.Accounts}
		if err := of.tokens.Load(rules, c.Path(c.Relay.TokenKeysFile)); err != nil {
			p.relay.log.Error("the newest keys for tokens are not in force", "listener", l.Name, "error", err)
		}
		gate.Tokens = of.tokens
	}
	return gate
}

// wantTokenKeys says whether any port has lately seen a token whose key is not known.
func (p *ports) wantTokenKeys() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, open := range p.open {
		if open.tokens.Wanted() {
			return true
		}
	}
	return false
}

// drain waits until all sessions have ended. From now on new ones get 421.
func (p *ports) drain() {
	var ending sync.WaitGroup
	p.mu.Lock()
	for _, port := range p.open {
		ending.Go(func() { p.end(port.Drain) })
	}
	p.mu.Unlock()
	ending.Wait()
}

// shutdown closes all ports.
func (p *ports) shutdown() {
	p.mu.Lock()
	for _, port := range p.open {
		p.serving.Go(func() { p.end(port.Shutdown) })
	}
	p.mu.Unlock()
	p.serving.Wait()
}

// end lets the sessions of a port end, in the way that is given.
func (p *ports) end(way func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), sessionGrace)
	defer cancel()
	if err := way(ctx); err != nil {
		p.relay.log.Warn("sessions were broken off", "error", err)
	}
}

// status reports the ports in the order of the configuration.
func (p *ports) status() []status.Listener {
	s := p.relay.settings.Load()
	if s == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []status.Listener
	for _, l := range s.config.Relay.Listeners {
		open, ok := p.open[portKey{l.Name, l.Port}]
		if !ok {
			continue
		}
		is := open.Status()
		reported := status.Listener{Name: is.Name, Address: is.Address, Error: is.Error}
		if !is.CertificateExpires.IsZero() {
			reported.CertificateExpires = &is.CertificateExpires
		}
		all = append(all, reported)
	}
	return all
}

// complete says which port does not listen, or lacks its certificate; nil when none does.
func (p *ports) complete() error {
	s := p.relay.settings.Load()
	listeners := p.status()
	if len(listeners) < len(s.config.Relay.Listeners) {
		return errors.New("not every listener was started yet")
	}
	for i, l := range s.config.Relay.Listeners {
		is := listeners[i]
		if is.Name != l.Name {
			return errors.New("the listeners are changing")
		}
		if is.Address == "" || l.TLS != config.TLSNone && is.CertificateExpires == nil {
			return fmt.Errorf("listener %s does not serve as it should: %s", l.Name, cmp.Or(is.Error, "its port is not open yet"))
		}
	}
	return nil
}

// ready says why mail could not come in: no port is open. A port that is added later, without a certificate, does not
// take the others out of service.
func (p *ports) ready() error {
	var why error
	for _, l := range p.status() {
		if l.Address != "" {
			return nil
		}
		why = errors.Join(why, fmt.Errorf("listener %s: %s", l.Name, l.Error))
	}
	return errors.Join(errors.New("no listener listens"), why)
}
