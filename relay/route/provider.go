package route

import (
	"cmp"
	"slices"

	"github.com/postrider/postrider/relay/config"
)

// providers are the MX suffixes that rate policies name, put together where they overlap: all domains whose mail one
// provider takes are one site, whatever the names of their MX hosts.
type providers struct {
	// site is that of each suffix.
	site map[string]string
	// sets are the suffixes of each policy.
	sets []map[string]bool
}

// newProviders puts policies together that have a suffix in common, or one that ends in another's. A site is named by
// the first suffix in the alphabet, so that neither the order of the policies nor their names matter. A policy about
// some sender domains makes no site: it may be a tenant's, and must not change how the mail of others is queued.
func newProviders(policies []config.RatePolicy) providers {
	p := providers{site: map[string]string{}}
	for _, policy := range policies {
		if len(policy.MXSuffixes) > 0 && len(policy.SenderDomains) == 0 {
			p.sets = append(p.sets, set(policy.MXSuffixes))
		}
	}
	for _, suffixes := range p.sets {
		p.join(suffixes)
	}
	for suffix := range p.site {
		for above := range config.DomainsOf(suffix) {
			if _, named := p.site[above]; named {
				p.join(map[string]bool{suffix: true, above: true})
			}
		}
	}
	return p
}

// join makes suffixes one site, with all that were one with any of them.
func (p *providers) join(suffixes map[string]bool) {
	joined := map[string]bool{}
	first := ""
	for suffix := range suffixes {
		name := cmp.Or(p.site[suffix], "*."+suffix)
		joined[name] = true
		if first == "" || name < first {
			first = name
		}
		p.site[suffix] = first
	}
	for suffix, name := range p.site {
		if joined[name] || suffixes[suffix] {
			p.site[suffix] = first
		}
	}
}

// of is the site of MX hosts, if a policy names the provider of all of them.
func (p *providers) of(hosts []string) (site string, known bool) {
	if len(hosts) == 0 || len(p.sets) == 0 {
		return "", false
	}
	for suffix := range config.DomainsOf(hosts[0]) {
		if site, known = p.site[suffix]; known {
			break
		}
	}
	return site, known && slices.ContainsFunc(p.sets, func(suffixes map[string]bool) bool {
		return !slices.ContainsFunc(hosts, func(host string) bool { return !config.EndsIn(host, suffixes) })
	})
}
