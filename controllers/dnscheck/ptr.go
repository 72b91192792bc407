package dnscheck

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/dns"
)

// Named is what DNS says of the names of an address that mail leaves from.
type Named struct {
	Addr netip.Addr
	// Names are those of its PTR records.
	Names []string
	Err   error
	// Back are the addresses that these names have; BackErr says which could not be looked up.
	Back    map[string][]netip.Addr
	BackErr error
}

// PTR says whether each address has a name that leads back to it: many receivers refuse mail from one that has not
// (RFC 5321 §4.1.4 lets them note it; forward-confirmed reverse DNS). The worst of the addresses speaks. The reason is one of
// the condition PTRVerified's.
func PTR(hostname string, all []Named) (reason, message string) {
	order := []string{v1alpha1.ReasonForwardConfirmed, v1alpha1.ReasonUnknown, string(v1alpha1.ResultMismatch), string(v1alpha1.ResultMissing)}
	reason = v1alpha1.ReasonForwardConfirmed
	for _, one := range all {
		if r, m := one.verdict(hostname); slices.Index(order, r) > slices.Index(order, reason) || message == "" {
			reason, message = r, m
		}
	}
	return reason, cut(message)
}

func (n Named) verdict(hostname string) (reason, message string) {
	names := strings.Join(slices.Sorted(slices.Values(n.Names)), ", ") // DNS gives them in any order
	advice := fmt.Sprintf(" Have whoever gave you the address name it %s, and give that name the address.", hostname)
	switch {
	case dns.NotFound(n.Err):
		return string(v1alpha1.ResultMissing), fmt.Sprintf("%s has no name (PTR record).", n.Addr) + advice
	case n.Err != nil:
		return v1alpha1.ReasonUnknown, "DNS gave no answer: " + n.Err.Error()
	case slices.ContainsFunc(n.Names, func(name string) bool { return slices.Contains(n.Back[name], n.Addr) }):
		return v1alpha1.ReasonForwardConfirmed, fmt.Sprintf("%s is %s, and the name leads back to it.", n.Addr, names)
	case n.BackErr != nil:
		return v1alpha1.ReasonUnknown, "DNS gave no answer: " + n.BackErr.Error()
	}
	return string(v1alpha1.ResultMismatch), fmt.Sprintf("%s is named %s, which does not have that address.", n.Addr, names) + advice
}
