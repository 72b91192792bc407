package route

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/dns"
	"github.com/postrider/postrider/relay/reply"
)

// addressWait is how long the addresses of a host are waited for: one whose name servers are dead must not hold up
// mail that its neighbours would take.
const addressWait = 5 * time.Second

// candidate is a host that may become a hop, and what DNS said about its addresses.
type candidate struct {
	hop        Hop
	preference uint16
	found      []netip.Addr
	err        error
	// unusable is that of a fixedHop.
	unusable error
}

// planMX follows RFC 5321 §5.1.
func (r *Router) planMX(ctx context.Context, route *route, domain string) (Plan, error) {
	if _, err := netip.ParseAddr(domain); err == nil || strings.HasPrefix(domain, "[") {
		return Plan{}, failed(550, "5.1.2", "%s: mail to address literals is not sent", domain)
	}
	records, err := r.dns.MX(ctx, domain)
	switch {
	case errors.Is(err, dns.ErrNXDomain):
		return Plan{}, failed(550, "5.1.2", "%s: the domain does not exist", domain)
	case errors.Is(err, dns.ErrNoData):
		records = nil
	case err != nil:
		return Plan{}, failed(451, "4.4.3", "%v", err)
	case len(records) == 1 && records[0].Host == ".":
		return Plan{}, failed(556, "5.1.10", "%s: the domain takes no mail (null MX)", domain)
	}
	plan := Plan{Route: route.name}
	plan.Site, plan.MXHosts = r.mxSite(domain, records)
	implicit := len(records) == 0
	if implicit {
		records = []dns.MX{{Host: domain}}
	}
	candidates := r.resolve(ctx, r.order(route, records))
	if implicit && dns.NotFound(candidates[0].err) {
		return Plan{}, failed(550, "5.4.4", "%s: the domain has neither MX nor address records", domain)
	}
	others := r.withoutSelf(candidates)
	if len(others) == 0 {
		return Plan{}, failed(550, "5.4.6", "%s: its mail comes back to this relay", domain)
	}
	plan.Hops, err = r.hops(others, func(a netip.Addr) bool { return Public(a) || contains(route.allow, a) })
	plan.Skipped = skips(others, plan.Hops)
	return plan, err
}

// skips says whether a candidate that goes before the first hop could not be looked up, or cannot be used as it is
// configured: it may be a hop the next time.
func skips(candidates []candidate, hops []Hop) bool {
	for _, c := range candidates {
		if len(hops) > 0 && c.hop.Key() == hops[0].Key() {
			return false
		}
		if c.unusable != nil || c.err != nil && !dns.NotFound(c.err) {
			return true
		}
	}
	return false
}

// order makes candidates of MX records: by preference, and in random order where that is equal.
func (r *Router) order(route *route, records []dns.MX) []candidate {
	records = slices.Clone(records)
	r.shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	slices.SortStableFunc(records, func(a, b dns.MX) int { return int(a.Preference) - int(b.Preference) })
	var candidates []candidate
	for _, mx := range records {
		hop := Hop{Host: mx.Host, Port: route.port, TLS: config.HopOpportunistic}
		candidates = append(candidates, candidate{hop: hop, preference: mx.Preference})
	}
	return candidates
}

// withoutSelf leaves out the hosts that are this relay, and all that are not better than the best of those.
func (r *Router) withoutSelf(candidates []candidate) []candidate {
	for _, c := range candidates {
		if r.self.is(c.hop.Host, c.found) {
			return slices.DeleteFunc(candidates, func(o candidate) bool { return o.preference >= c.preference })
		}
	}
	return candidates
}

// resolve looks up the addresses of all candidates at the same time.
func (r *Router) resolve(ctx context.Context, candidates []candidate) []candidate {
	ctx, cancel := context.WithTimeout(ctx, addressWait)
	defer cancel()
	var wait sync.WaitGroup
	for i := range candidates {
		c := &candidates[i]
		if c.unusable != nil {
			continue
		}
		if addr, err := netip.ParseAddr(c.hop.Host); err == nil {
			c.found = []netip.Addr{addr}
			continue
		}
		wait.Go(func() { c.found, c.err = r.dns.Addrs(ctx, c.hop.Host) })
	}
	wait.Wait()
	return candidates
}

// hops turns candidates into hops with the addresses that may be dialled. When none is left, the error says why;
// it is temporary, since every reason for it may pass.
func (r *Router) hops(candidates []candidate, allowed func(netip.Addr) bool) ([]Hop, error) {
	var hops []Hop
	var troubles []reply.Reply
	for _, c := range candidates {
		c.hop.Addrs = r.usable(c.found, allowed)
		if len(c.hop.Addrs) > 0 {
			hops = append(hops, c.hop)
		} else {
			troubles = append(troubles, trouble(c, allowed))
		}
	}
	if len(hops) == 0 {
		return nil, worst(troubles)
	}
	return hops, nil
}

// usable are the addresses that may be dialled, in random order but alternating between the families, IPv4 first:
// when one family leads nowhere, the second try is the other.
func (r *Router) usable(found []netip.Addr, allowed func(netip.Addr) bool) []netip.Addr {
	var v4, v6, usable []netip.Addr
	for _, addr := range found {
		switch {
		case !allowed(addr) || !r.egress.has(addr):
		case addr.Is4():
			v4 = append(v4, addr)
		default:
			v6 = append(v6, addr)
		}
	}
	r.shuffle(len(v4), func(i, j int) { v4[i], v4[j] = v4[j], v4[i] })
	r.shuffle(len(v6), func(i, j int) { v6[i], v6[j] = v6[j], v6[i] })
	for i := range max(len(v4), len(v6)) {
		usable = append(usable, v4[min(i, len(v4)):min(i+1, len(v4))]...)
		usable = append(usable, v6[min(i, len(v6)):min(i+1, len(v6))]...)
	}
	return usable
}

// trouble says why a host has no address to dial.
func trouble(c candidate, allowed func(netip.Addr) bool) reply.Reply {
	switch {
	case c.unusable != nil:
		return failed(451, "4.3.5", "next hop %s cannot be used: %v", c.hop.Host, c.unusable)
	case dns.NotFound(c.err):
		return failed(451, "4.4.4", "%s: the host has no address", c.hop.Host)
	case c.err != nil:
		return failed(451, "4.4.3", "%v", c.err)
	case !slices.ContainsFunc(c.found, allowed):
		return failed(451, "4.4.0", "%s[%s]: not a public address, and mx.allowCIDRs does not hold it", c.hop.Host, c.found[0])
	default:
		return failed(451, "4.4.0", "%s[%s]: no egress address of this family", c.hop.Host, c.found[0])
	}
}

// worst is the trouble that says most about what to do: a failed look-up before one that gave nothing usable.
func worst(troubles []reply.Reply) reply.Reply {
	for _, t := range troubles {
		if t.Enhanced == "4.4.3" {
			return t
		}
	}
	return troubles[0]
}

func failed(code int, enhanced, format string, args ...any) reply.Reply {
	return reply.Reply{Code: code, Enhanced: enhanced, Text: fmt.Sprintf(format, args...)}
}
