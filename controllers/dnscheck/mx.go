package dnscheck

import (
	"fmt"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/dns"
)

// Exchangers is the answer to a question for MX records, and, where there are none, for the domain's own
// addresses (RFC 5321 §5.1).
type Exchangers struct {
	Values []dns.MX
	Err    error
	// AddressErr is nil when the domain has an address. It is looked at when Err says that there is no MX.
	AddressErr error
}

// MX says whether replies and bounces to the domain have somewhere to go. Any host will do.
func MX(domain string, answer Exchangers) v1alpha1.DNSRecord {
	r := record(v1alpha1.PurposeMX, domain, "MX")
	switch {
	case dns.NotFound(answer.Err) && answer.AddressErr == nil:
		return judged(r, v1alpha1.ResultWeak, "There is no MX record; mail for "+domain+" goes to the host of that name. Publish an MX record.")
	case dns.NotFound(answer.Err) && !dns.NotFound(answer.AddressErr):
		return unanswered(r, answer.AddressErr, "")
	case answer.Err != nil:
		return unanswered(r, answer.Err, "Replies and bounces to "+domain+" have nowhere to go. Publish an MX record for "+domain+".")
	}
	var values []string
	for _, mx := range answer.Values {
		values = append(values, fmt.Sprintf("%d %s", mx.Preference, mx.Host))
	}
	r.Observed = observed(values)
	if answer.Values[0].Host == "." {
		return judged(r, v1alpha1.ResultMismatch, "The null MX (RFC 7505) says that "+domain+" takes no mail, so many receivers refuse mail from it. Publish an MX record that names a host.")
	}
	return judged(r, v1alpha1.ResultPass, "")
}
