package route

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/relay/health"
	"github.com/postrider/postrider/relay/reply"
)

// planFixed takes the hosts in the order that the admin wrote down, but for those that are down. Their names are the
// admin's own, so any address is good, also one of our own, and none of their troubles is final.
func (r *Router) planFixed(ctx context.Context, route *route) (Plan, error) {
	plan := Plan{Route: route.name, Site: route.site}
	var candidates []candidate
	var down []string
	for _, f := range route.fixed {
		if state := r.health(f.hop.Key()); state.Down {
			down = append(down, isDown(f.hop.Key(), state))
			plan.Skipped = plan.Skipped || len(candidates) == 0
			continue
		}
		candidates = append(candidates, candidate{hop: f.hop, unusable: f.unusable})
	}
	if len(candidates) == 0 {
		return Plan{}, failed(451, "4.4.1", "%s", strings.Join(down, "; "))
	}
	candidates = r.resolve(ctx, candidates)
	var err error
	plan.Hops, err = r.hops(candidates, anyAddress)
	plan.Skipped = plan.Skipped || skips(candidates, plan.Hops)
	return plan, err
}

func anyAddress(netip.Addr) bool { return true }

// downSince stands in the reply for mail whose next hops are all down, and in no other of ours.
const downSince = " has been down since "

func isDown(k health.Key, s health.State) string {
	return fmt.Sprintf("%s%s%s: %.200s", k, downSince, s.Since.UTC().Format(time.RFC3339), s.Last)
}

// NextHopDown says whether r is the reply for mail whose next hops are all known to be down, so that nothing was
// attempted.
func NextHopDown(r reply.Reply) bool {
	return r.Code == 451 && r.Enhanced == "4.4.1" && strings.Contains(r.Text, downSince)
}

// Down says since when, and why, mail of a sender domain for a domain has no next hop that is up; State.Down is false
// when it has one. Of several hosts it is the one that went down last.
func (r *Router) Down(senderDomain, domain string) health.State {
	var latest health.State
	for _, k := range r.match(senderDomain, domain).keys() {
		state := r.health(k)
		if !state.Down {
			return health.State{}
		}
		if state.Since.After(latest.Since) {
			latest = state
		}
	}
	return latest
}

// Watched are the next hops that the configuration names, and how often one that is down is to be probed; 0 for the
// usual.
func (r *Router) Watched() map[health.Key]time.Duration {
	watched := make(map[health.Key]time.Duration)
	for i := range r.routes {
		for _, f := range r.routes[i].fixed {
			every, known := watched[f.hop.Key()]
			if !known || every == 0 || r.routes[i].every != 0 && r.routes[i].every < every {
				watched[f.hop.Key()] = r.routes[i].every
			}
		}
	}
	return watched
}

// Resolve finds the addresses of a next hop that the configuration names, for a probe.
func (r *Router) Resolve(ctx context.Context, k health.Key) (Hop, error) {
	for i := range r.routes {
		for _, f := range r.routes[i].fixed {
			if f.hop.Key() != k {
				continue
			}
			hops, err := r.hops(r.resolve(ctx, []candidate{{hop: f.hop, unusable: f.unusable}}), anyAddress)
			if err != nil {
				return Hop{}, err
			}
			return hops[0], nil
		}
	}
	return Hop{}, failed(451, "4.3.5", "%s is not a next hop of this configuration", k)
}

// Behind are the next hops of the routes that mail for a domain may take, whoever sends it.
func (r *Router) Behind(domain string) []health.Key {
	var keys []health.Key
	for i := range r.routes {
		if m := &r.routes[i]; len(m.recipients) == 0 || m.recipients[strings.ToLower(domain)] {
			keys = append(keys, m.keys()...)
		}
	}
	return keys
}

// MayUse says whether mail of a sender domain for a domain may go to a next hop.
func (r *Router) MayUse(k health.Key, senderDomain, domain string) bool {
	return slices.Contains(r.match(senderDomain, domain).keys(), k)
}

// Sites are those that a next hop is part of.
func (r *Router) Sites(k health.Key) []string {
	var sites []string
	for i := range r.routes {
		if slices.Contains(r.routes[i].keys(), k) {
			sites = append(sites, r.routes[i].site)
		}
	}
	return sites
}

func (r *route) keys() []health.Key {
	var keys []health.Key
	for _, f := range r.fixed {
		keys = append(keys, f.hop.Key())
	}
	return keys
}

// Verification is how a stranger's recipient is verified before it is accepted.
type Verification struct {
	// Site is that of the next hop that is asked.
	Site string
	// Backup says that the next hop is a primary, for which mail is taken while it is down.
	Backup bool
}

// Verify says how strangers' recipients of a domain are verified, and whether they are.
func (r *Router) Verify(domain string) (v Verification, ok bool) {
	route := r.match("", domain)
	return Verification{Site: route.site, Backup: route.backup}, route.verify && route.fixed != nil
}
