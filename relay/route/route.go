// Package route owns where mail goes: the next hops for a recipient domain, in the order to try, and the site that
// they make up. It asks DNS, and connects to nothing.
package route

import (
	"context"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/dns"
	"github.com/postrider/postrider/relay/envelope"
)

// lastResort is the route for mail that no configured one matches.
var lastResort = config.Route{Name: "mx", MX: &config.MX{Port: 25}}

// Plan is how to reach a recipient domain.
type Plan struct {
	// Route is the name of the route that matched; "mx" for the last resort.
	Route string
	// Site names the set of next hops, see Router.Site.
	Site string
	// Hops are to be tried in this order. There is at least one, and each has at least one address.
	Hops []Hop
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

// TokenSource gets access tokens. It is a pointer, safe for concurrent use.
type TokenSource interface {
	// Token returns one that is valid now. Its error is temporary.
	Token(ctx context.Context) (string, error)
}

// Router plans by a configuration. It is immutable and safe for concurrent use.
type Router struct {
	dns     dns.Resolver
	routes  []route
	relayed map[string]bool
	self    self
	egress  families
	// shuffle is rand.Shuffle, but in tests.
	shuffle func(n int, swap func(i, j int))
}

// route is a config.Route with its lists looked up by name and its files read.
type route struct {
	name       string
	recipients map[string]bool
	senders    map[string]bool
	port       int            // of MX hosts
	allow      []netip.Prefix // private ranges that an MX may point to
	smartHosts []smartHost    // nil for a route by MX
}

// smartHost is a hop whose addresses are not known yet.
type smartHost struct {
	Hop
	// unusable says why it cannot be used as it must be: its credentials or CA cannot be read. Mail waits for it, and
	// that of other routes flows.
	unusable error
}

// New reads the credentials and CA bundles that the configuration names. A smart host whose files cannot be used is
// not tried; Plan says so when no other is left.
func New(c *config.Config, r dns.Resolver) (*Router, error) {
	router := &Router{dns: r, relayed: make(map[string]bool), shuffle: rand.Shuffle}
	router.self = newSelf(c.Relay)
	var err error
	if router.egress, err = newFamilies(c.Relay.Egress.Addresses); err != nil {
		return nil, err
	}
	for _, configured := range append(slices.Clone(c.Relay.Routes), lastResort) {
		compiled, err := compile(c, configured)
		if err != nil {
			return nil, fmt.Errorf("route %s: %w", configured.Name, err)
		}
		router.routes = append(router.routes, compiled)
		if len(compiled.smartHosts) > 0 && len(compiled.senders) == 0 {
			for domain := range compiled.recipients {
				router.relayed[domain] = true
			}
		}
	}
	return router, nil
}

func compile(c *config.Config, configured config.Route) (route, error) {
	r := route{
		name:       configured.Name,
		recipients: set(configured.Match.RecipientDomains),
		senders:    set(configured.Match.SenderDomains),
	}
	if (configured.MX == nil) == (len(configured.SmartHosts) == 0) {
		return r, fmt.Errorf("exactly one of mx and smartHosts must be set")
	}
	if mx := configured.MX; mx != nil {
		r.port = mx.Port
		for _, cidr := range mx.AllowCIDRs {
			prefix, err := netip.ParsePrefix(cidr)
			if err != nil {
				return r, fmt.Errorf("mx.allowCIDRs: %w", err)
			}
			r.allow = append(r.allow, prefix.Masked())
		}
	}
	for _, host := range configured.SmartHosts {
		hop, err := readSmartHost(c, host)
		r.smartHosts = append(r.smartHosts, smartHost{hop, err})
	}
	return r, nil
}

func readSmartHost(c *config.Config, host config.SmartHost) (Hop, error) {
	hop := Hop{Host: strings.ToLower(host.Host), Port: host.Port, TLS: host.TLS}
	var err error
	if hop.Username, err = readSecret(c, host.UsernameFile); err != nil {
		return hop, err
	}
	if hop.Password, err = readSecret(c, host.PasswordFile); err != nil {
		return hop, err
	}
	if host.CAFile == "" {
		return hop, nil
	}
	bundle, err := os.ReadFile(c.Path(host.CAFile))
	if err != nil {
		return hop, err
	}
	hop.RootCAs = x509.NewCertPool()
	if !hop.RootCAs.AppendCertsFromPEM(bundle) {
		return hop, fmt.Errorf("%s holds no certificate", host.CAFile)
	}
	return hop, nil
}

// readSecret reads a file without the line end that editors leave; empty for no file.
func readSecret(c *config.Config, file string) (string, error) {
	if file == "" {
		return "", nil
	}
	data, err := os.ReadFile(c.Path(file))
	if err != nil {
		return "", err
	}
	if secret := strings.TrimRight(string(data), "\r\n"); secret != "" {
		return secret, nil
	}
	return "", fmt.Errorf("%s is empty", file)
}

func set(names []string) map[string]bool {
	s := make(map[string]bool, len(names))
	for _, name := range names {
		s[strings.ToLower(name)] = true
	}
	return s
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
// route to smart hosts. A route that also asks for a sender domain authorises nobody, for a sender domain is easily
// forged.
func (r *Router) RelaysTo(domain string) bool { return r.relayed[strings.ToLower(domain)] }

// Plan finds the next hops of a message. Its error is always a reply.Reply: permanent only when DNS proves that
// the domain takes no mail, or that its mail would come back to us.
func (r *Router) Plan(ctx context.Context, e *envelope.Envelope) (Plan, error) {
	route := r.match(e.SenderDomain(), e.Domain)
	if route.smartHosts != nil {
		return r.planSmartHosts(ctx, route)
	}
	return r.planMX(ctx, route, e.Domain)
}
