package policy

import (
	"fmt"
	"net/netip"
	"slices"
)

// OpenRelay says how a stranger could send mail for elsewhere through the relay, nil when it cannot: the rules are asked what
// a session asks them, for a client that nobody has reason to trust and for recipients that are nobody's.
func (p *Policy) OpenRelay() error {
	for _, family := range strangers() {
		client := ClientOf("", !slices.ContainsFunc(family, func(a netip.Addr) bool { return !p.Trusted(a) }))
		for _, path := range p.elsewhere() {
			if _, err := p.Recipient(client, path); err == nil {
				return fmt.Errorf("this would be an open relay: a stranger, such as %s, may send to %s", family[0], path)
			}
		}
	}
	return nil
}

// strangers are addresses of each family, so far from each other that no network holds them all that anybody might trust:
// the three that are for documentation (RFC 5737), and one in each part of the world (RFC 3849 and beyond).
func strangers() [][]netip.Addr {
	return [][]netip.Addr{
		{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("203.0.113.1")},
		{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2400::1"), netip.MustParseAddr("2600::1"), netip.MustParseAddr("2a00::1")},
	}
}

// elsewhere are forward paths that lead to a domain which is nobody's (RFC 6761 §6.4), plainly and by way of us.
func (p *Policy) elsewhere() []string {
	const victim = "victim@selftest.invalid"
	return []string{
		victim, "postmaster@selftest.invalid", "abuse@selftest.invalid",
		"victim%selftest.invalid@" + p.hostname, "selftest.invalid!victim@" + p.hostname, `"` + victim + `"@` + p.hostname,
		"victim@[192.0.2.1]",
	}
}
