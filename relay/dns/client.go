package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	mdns "github.com/miekg/dns"
	"golang.org/x/sync/singleflight"
)

// Bounds on what is taken from one answer. A domain that lists more is answered, but not followed without end.
const (
	maxMX    = 20
	maxAddrs = 20
	maxTXT   = 100
	maxPTR   = 20
)

// Defaults for Options.
const (
	defaultTimeout   = 2 * time.Second
	defaultCacheSize = 10_000
)

// Options of a Client. The zero value is ready to use.
type Options struct {
	// Servers are the recursive resolvers to ask, host:port, in order of preference. Empty: those of
	// /etc/resolv.conf, read again when that file changes. Search lists are never applied.
	Servers []string
	// Timeout is for one question to one server; 2 s if zero. A look-up ends after six times as long.
	Timeout time.Duration
	// CacheSize is how many answers are kept; 10,000 if zero.
	CacheSize int
	// Now tells the time; time.Now if nil.
	Now func() time.Time
}

// Client is a stub resolver: it asks recursive resolvers, keeps their answers for as long as they allow within
// bounds, and lets equal questions wait for one answer. It is safe for concurrent use.
type Client struct {
	servers  func() ([]string, error)
	timeout  time.Duration
	now      func() time.Time
	cache    *cache
	inFlight singleflight.Group
	// preferred is the index of the server that answered last, so that a dead one is not asked first each time.
	preferred atomic.Uint32
}

var _ Resolver = (*Client)(nil)

// New returns a client. It asks nothing yet.
func New(o Options) *Client {
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.CacheSize <= 0 {
		o.CacheSize = defaultCacheSize
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &Client{timeout: o.Timeout, now: o.Now, cache: newCache(o.CacheSize)}
	if len(o.Servers) > 0 {
		c.servers = func() ([]string, error) { return o.Servers, nil }
	} else {
		c.servers = newSystemServers("/etc/resolv.conf", o.Now).list
	}
	return c
}

// MX implements Resolver. Hosts that are no host names are left out; when none is left, the answer is worthless
// and the error temporary. At most 20 exchangers are returned, the best ones.
func (c *Client) MX(ctx context.Context, domain string) ([]MX, error) {
	records, err := c.lookup(ctx, domain, mdns.TypeMX)
	if err != nil {
		return nil, err
	}
	hosts := exchangers(records)
	if len(hosts) == 0 {
		return nil, fmt.Errorf("look up MX of %s: none of its %d records names a host", domain, len(records))
	}
	return hosts, nil
}

// Addrs implements Resolver. A and AAAA are asked at the same time; IPv4 stands first.
func (c *Client) Addrs(ctx context.Context, host string) ([]netip.Addr, error) {
	type result struct {
		records []mdns.RR
		err     error
	}
	six := make(chan result, 1)
	go func() {
		records, err := c.lookup(ctx, host, mdns.TypeAAAA)
		six <- result{records, err}
	}()
	v4, err4 := c.lookup(ctx, host, mdns.TypeA)
	v6 := <-six
	addrs := append(addresses(v4), addresses(v6.records)...)
	if len(addrs) > 0 {
		return addrs, nil
	}
	return nil, noAddress(err4, v6.err)
}

// noAddress is the error for two failed look-ups: a definite "no" only when both are.
func noAddress(v4, v6 error) error {
	switch {
	case !NotFound(v4):
		return v4
	case !NotFound(v6):
		return v6
	case errors.Is(v6, ErrNoData):
		return v6 // the name exists, even if the other answer denies it
	default:
		return v4
	}
}

// TXT implements Resolver.
func (c *Client) TXT(ctx context.Context, name string) ([]string, error) {
	records, err := c.lookup(ctx, name, mdns.TypeTXT)
	if err != nil {
		return nil, err
	}
	return texts(records), nil
}

// PTR implements Resolver. Names that are no host names are left out.
func (c *Client) PTR(ctx context.Context, addr netip.Addr) ([]string, error) {
	name, err := mdns.ReverseAddr(addr.Unmap().WithZone("").String())
	if err != nil {
		return nil, fmt.Errorf("look up PTR of %s: %w", addr, err)
	}
	records, err := c.lookup(ctx, name, mdns.TypePTR)
	if err != nil {
		return nil, err
	}
	names := pointers(records)
	if len(names) == 0 {
		return nil, fmt.Errorf("look up PTR of %s: %w: none of its records names a host", addr, ErrNoData)
	}
	return names, nil
}

// lookup returns the records of a name, from the cache or from a server. It returns early when ctx ends; the
// question goes on for others who wait for it, and for the cache.
func (c *Client) lookup(ctx context.Context, name string, qtype uint16) ([]mdns.RR, error) {
	q := question{name: strings.ToLower(strings.TrimSuffix(name, ".")), qtype: qtype}
	if !validName(q.name) {
		return nil, fmt.Errorf("look up %s: %w: it is not a domain name", q, ErrNXDomain)
	}
	if a, ok := c.cache.get(q, c.now()); ok {
		return a.records, a.err
	}
	answered := c.inFlight.DoChan(q.String(), func() (any, error) {
		a := c.ask(q)
		c.cache.put(q, a, c.now())
		return a, nil
	})
	select {
	case r := <-answered:
		a := r.Val.(answer)
		return a.records, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("look up %s: %w", q, context.Cause(ctx))
	}
}
