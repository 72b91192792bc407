package route

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/postrider/postrider/relay/dns"
)

// Site names the next hops that mail for a domain goes to, so that all domains of one provider count as one. It
// never fails: a domain without MX records, or without an answer, is a site of its own, the domain itself.
//
// The name depends on the set of hosts alone, not on their order or preference. For one host it is that host,
// "mx.example.com"; for more it is the first of them in the alphabet, how many more there are and a digest of the
// whole set, "mx1.example.com+2~1f0a93c4", so that no two sets share a name. A host that the configuration names has
// its port, "smtp.example.com:587". Where the mxSuffixes of rate policies name a provider, all domains whose hosts are
// that provider's are one site, "*.mail.example.com".
//
// The hosts are those that the domain's MX records name; none when mail for it does not go by MX.
func (r *Router) Site(ctx context.Context, senderDomain, domain string) (site string, hosts []string) {
	route := r.match(senderDomain, domain)
	if route.fixed != nil {
		return route.site, nil
	}
	records, err := r.dns.MX(ctx, domain)
	if err != nil {
		return domain, nil
	}
	return r.mxSite(domain, records)
}

func (r *Router) mxSite(domain string, records []dns.MX) (site string, hosts []string) {
	for _, mx := range records {
		if mx.Host != "." {
			hosts = append(hosts, mx.Host)
		}
	}
	if len(hosts) == 0 {
		return domain, nil
	}
	if site, known := r.providers.of(hosts); known {
		return site, hosts
	}
	return siteName(hosts), hosts
}

func fixedSite(hops []fixedHop) string {
	var hosts []string
	for _, f := range hops {
		hosts = append(hosts, f.hop.Key().String())
	}
	return siteName(hosts)
}

// siteName is the name of a set of hosts.
func siteName(hosts []string) string {
	hosts = slices.Compact(slices.Sorted(slices.Values(hosts)))
	if len(hosts) == 1 {
		return hosts[0]
	}
	digest := sha256.Sum256([]byte(strings.Join(hosts, "\n")))
	return fmt.Sprintf("%s+%d~%s", hosts[0], len(hosts)-1, hex.EncodeToString(digest[:4]))
}
