package route

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/postrider/postrider/relay/config"
)

// self is how this relay is known: an MX host that is one of these is ours.
type self struct {
	names map[string]bool
	addrs map[netip.Addr]bool
}

func newSelf(relay config.Relay) self {
	s := self{names: make(map[string]bool), addrs: make(map[netip.Addr]bool)}
	for _, name := range slices.Concat(relay.SelfNames, relay.Egress.Addresses, []string{relay.Hostname}) {
		if addr, err := netip.ParseAddr(name); err == nil {
			s.addrs[addr.Unmap()] = true
		} else {
			s.names[strings.ToLower(strings.TrimSuffix(name, "."))] = true
		}
	}
	return s
}

func (s self) is(host string, addrs []netip.Addr) bool {
	return s.names[host] || slices.ContainsFunc(addrs, func(a netip.Addr) bool { return s.addrs[a.Unmap()] })
}

// families are the address families that may be dialled.
type families struct{ v4, v6 bool }

// newFamilies derives them from the egress addresses; without any, both are.
func newFamilies(egress []string) (families, error) {
	f := families{v4: len(egress) == 0, v6: len(egress) == 0}
	for _, text := range egress {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return f, fmt.Errorf("egress.addresses: %w", err)
		}
		f.v4 = f.v4 || addr.Unmap().Is4()
		f.v6 = f.v6 || !addr.Unmap().Is4()
	}
	return f, nil
}

func (f families) has(addr netip.Addr) bool {
	if addr.Unmap().Is4() {
		return f.v4
	}
	return f.v6
}
