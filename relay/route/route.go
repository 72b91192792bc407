// Package route owns where mail goes: the next hops for a recipient domain, in the order to try, and the site that
// they make up. It asks DNS, and connects to nothing.
package route

import (
	"context"
	"crypto/x509"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/dns"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/health"
	"github.com/postrider/postrider/relay/token"
)

// lastResort is the route for mail that no configured one matches.
var lastResort = config.Route{Name: "mx", MX: &config.MX{Port: 25}}

// Plan is how to reach a recipient domain.
type Plan struct {
	// Route is the name of the route that matched; "mx" for the last resort.
	Route string
	// Site names the set of next hops, MXHosts are those that the domain's MX records name; see Router.Site.
	Site    string
	MXHosts []string
	// Hops are to be tried in this order. There is at least one, and each has at least one address.
	Hops []Hop
	// Skipped says that a host goes before all of these that cannot be asked for the moment: it is down, or DNS does not
	// say where it is.
	Skipped bool
	// MaxRecipients is how many recipients a transaction has, MaxMessages how many transactions a connection, by
	// the rate policies; 0 for what is usual.
	MaxRecipients, MaxMessages int
}

// Hop is one host to try.
type Hop struct {
	// Host is the name of the host: for logs, and what a certificate is verified against.
	Host  string
	Port  int
	Addrs []netip.Addr
	TLS   config.HopTLS
	// RootCAs are for config.HopRequired; nil for those of the system.
	RootCAs *x509.CertPool
	// Username and Password are for AUTH; empty for none.
	Username, Password string
	// Tokens gets access tokens for AUTH XOAUTH2 in place of Password; nil for none. Equal sources are equal credentials.
	Tokens TokenSource
	// LMTP says that the host speaks LMTP (RFC 2033), with a reply for each recipient after the content.
	LMTP bool
}

// Key names the hop as far as its health goes.
func (h *Hop) Key() health.Key {
	return health.Key{Host: h.Host, Port: h.Port, TLS: h.TLS, Username: h.Username}
}

// TokenSource gets access tokens. It is a pointer, safe for concurrent use.
type TokenSource interface {
	// Token returns one that is valid now. Its error is temporary.
	Token(ctx context.Context) (string, error)
	// Forget has a token replaced that a next hop refused.
	Forget(token string)
}

// Options are what a Router works with.
type Options struct {
	Config   *config.Config
	Resolver dns.Resolver
	// Before is the router that this one replaces, if any: token sources about which nothing changed are taken over.
	Before *Router
	// Health says what is known of a next hop that the configuration names; nil for nothing.
	Health func(health.Key) health.State
}

// Router plans by a configuration. It is immutable and safe for concurrent use.
type Router struct {
	dns     dns.Resolver
	health  func(health.Key) health.State
	routes  []route
	relayed map[string]bool
	self    self
	egress  families
	tokens  map[token.Settings]*token.Source
	// providers are those that rate policies name.
	providers providers
	// shuffle is rand.Shuffle, but in tests.
	shuffle func(n int, swap func(i, j int))
}

// New reads the credentials and CA bundles that the configuration names. What is wrong with a route or a next hop does
// not take the others down: Plan says so when mail wants it, and Problems says it now.
func New(o Options) (*Router, error) {
	r := &Router{
		dns: o.Resolver, health: o.Health, relayed: make(map[string]bool), shuffle: rand.Shuffle,
		tokens: make(map[token.Settings]*token.Source), providers: newProviders(o.Config.Relay.Policies),
	}
	if r.health == nil {
		r.health = func(health.Key) health.State { return health.State{} }
	}
	relay := o.Config.Relay
	r.self = newSelf(relay)
	var err error
	if r.egress, err = newFamilies(relay.Egress.Addresses); err != nil {
		return nil, err
	}
	c := compiler{config: o.Config, before: o.Before, tokens: r.tokens}
	for _, configured := range append(slices.Clone(relay.Routes), lastResort) {
		compiled := c.route(configured)
		r.routes = append(r.routes, compiled)
		if configured.MX == nil && len(compiled.senders) == 0 {
			maps.Copy(r.relayed, compiled.recipients)
		}
	}
	return r, nil
}

// Problems are the routes and next hops that cannot be used as they are configured.
func (r *Router) Problems() []error {
	var problems []error
	for i := range r.routes {
		problems = append(problems, r.routes[i].problems()...)
	}
	return problems
}

// match returns the first route that matches; the last one matches everything.
func (r *Router) match(senderDomain, domain string) *route {
	senderDomain, domain = strings.ToLower(senderDomain), strings.ToLower(domain)
	for i := range r.routes {
		m := &r.routes[i]
		if (len(m.recipients) == 0 || m.recipients[domain]) && (len(m.senders) == 0 || m.senders[senderDomain]) {
			return m
		}
	}
	return &r.routes[len(r.routes)-1]
}

// RelaysTo says whether anyone at all may send to a domain: it stands literally among the recipientDomains of a
// route to smart hosts, to a mailbox server or to a primary. A route that also asks for a sender domain authorises nobody, for a sender domain is easily
// forged.
func (r *Router) RelaysTo(domain string) bool { return r.relayed[strings.ToLower(domain)] }

// Plan finds the next hops of a message. Its error is always a reply.Reply: permanent only when DNS proves that
// the domain takes no mail, or that its mail would come back to us.
func (r *Router) Plan(ctx context.Context, e *envelope.Envelope) (Plan, error) {
	route := r.match(e.SenderDomain(), e.Domain)
	switch {
	case route.unusable != nil:
		return Plan{}, failed(451, "4.3.5", "route %s cannot be used: %v", route.name, route.unusable)
	case route.fixed != nil:
		return r.planFixed(ctx, route)
	default:
		return r.planMX(ctx, route, e.Domain)
	}
}
