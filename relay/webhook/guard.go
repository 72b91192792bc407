package webhook

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"

	"github.com/postrider/postrider/relay/route"
)

// private are the addresses of clusters and other networks of one's own that a URL may lead to.
func private() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("172.16.0.0/12"),
		netip.MustParsePrefix("192.168.0.0/16"),
		netip.MustParsePrefix("100.64.0.0/10"), // pods of some providers (RFC 6598)
		netip.MustParsePrefix("fc00::/7"),
	}
}

// metadata are the services that give a machine's credentials to whoever asks from it, as far as they are not
// link-local.
func metadata() []netip.Addr {
	return []netip.Addr{
		netip.MustParseAddr("100.100.100.200"), // Alibaba Cloud
		netip.MustParseAddr("168.63.129.16"),   // Azure
		netip.MustParseAddr("fd00:ec2::254"),   // AWS
		netip.MustParseAddr("fd20:ce::254"),    // Google Cloud
	}
}

// mayDial says whether a webhook whose URL has this host may be at an address. Public addresses are fine. Private ones
// are when the admin meant them: the host is one of a cluster's Services, or the address itself; any other name is in
// the hands of who has its DNS. Loopback, where allowed at all, must be written as such. All else (link-local, where
// metadata services are, multicast, unspecified) never.
func mayDial(host string, addr netip.Addr, loopback bool) bool {
	literal, err := netip.ParseAddr(host)
	isLiteral := err == nil && literal.Unmap() == addr.Unmap()
	addr = addr.Unmap()
	for _, a := range metadata() {
		if a == addr {
			return false
		}
	}
	switch {
	case addr.IsLoopback():
		return loopback && isLiteral
	case route.Public(addr):
		return true
	}
	for _, p := range private() {
		if p.Contains(addr) {
			return isLiteral || isService(host)
		}
	}
	return false
}

// isService says whether a host name is of the form that only a cluster's own DNS answers.
func isService(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return strings.HasSuffix(host, ".svc") || strings.HasSuffix(host, ".cluster.local")
}

// guard is the net.Dialer's Control for a host: it sees the address that is really dialled, whatever DNS said before.
func guard(host string, loopback bool) func(network, address string, _ syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("dial %s: %w", address, err)
		}
		if !mayDial(host, at.Addr(), loopback) {
			return fmt.Errorf("%s is at %s, where no webhook may be", host, at.Addr())
		}
		return nil
	}
}
