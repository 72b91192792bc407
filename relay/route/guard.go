package route

import (
	"net/netip"
	"slices"
)

// special are the ranges that are not the public Internet (RFC 6890 and its registries), as far as they lie within
// IPv4 or within 2000::/3.
var special = parsePrefixes(
	"0.0.0.0/8",       // this network
	"10.0.0.0/8",      // private (RFC 1918)
	"100.64.0.0/10",   // carrier-grade NAT (RFC 6598)
	"127.0.0.0/8",     // loopback
	"169.254.0.0/16",  // link-local, and metadata services
	"172.16.0.0/12",   // private
	"192.0.0.0/24",    // protocol assignments
	"192.0.2.0/24",    // documentation
	"192.88.99.0/24",  // 6to4 relays
	"192.168.0.0/16",  // private
	"198.18.0.0/15",   // benchmarks
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"224.0.0.0/4",     // multicast
	"240.0.0.0/4",     // reserved, broadcast
	"2001::/23",       // protocol assignments, Teredo
	"2001:db8::/32",   // documentation
	"2002::/16",       // 6to4: any IPv4 address in disguise
	"3fff::/20",       // documentation (RFC 9637)
)

var (
	globalUnicast = netip.MustParsePrefix("2000::/3")
	// nat64 stands for an IPv4 address in a network that speaks IPv6 alone (RFC 6052 §2.1).
	nat64 = netip.MustParsePrefix("64:ff9b::/96")
)

func parsePrefixes(texts ...string) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, text := range texts {
		prefixes = append(prefixes, netip.MustParsePrefix(text))
	}
	return prefixes
}

// Public says whether an address is one of the public Internet: what a name that strangers control may lead us to.
// An IPv4 address mapped into IPv6 is not, for DNS has no reason to hold one.
func Public(addr netip.Addr) bool {
	if nat64.Contains(addr) {
		octets := addr.As16()
		addr = netip.AddrFrom4([4]byte(octets[12:]))
	}
	if !addr.Is4() && !globalUnicast.Contains(addr) {
		return false
	}
	return !contains(special, addr)
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}
