package dnscheck

import (
	"net/netip"
	"strings"

	"github.com/postrider/postrider/api/v1alpha1"
)

// Results of an evaluation (RFC 7208 §2.6) that the verdict depends on; every other one is a fault of the
// record.
const (
	spfPass      = "pass"
	spfTempError = "temperror"
)

// Evaluation is what SPF said to mail of the domain from an address.
type Evaluation struct {
	Address netip.Addr
	// Result is one of RFC 7208 §2.6: none, neutral, pass, fail, softfail, temperror, permerror.
	Result string
	// Reason is the evaluator's, for an error.
	Reason string
}

// SPF says whether mail that leaves from the relay's egress addresses passes. The answer is that for the
// domain's TXT records; there is one evaluation for each egress address.
func SPF(domain string, egress []netip.Addr, answer Texts, evaluations []Evaluation) v1alpha1.DNSRecord {
	r := record(v1alpha1.PurposeSPF, domain, "TXT")
	if len(egress) == 0 {
		return judged(r, v1alpha1.ResultNotRequired, "The relay does not say which addresses mail leaves from, so SPF cannot be evaluated. Set spec.egress.addresses of the MailRelay.")
	}
	r.Expected = []string{"v=spf1 " + mechanisms(egress) + " ~all"}
	records := spfRecords(answer.Values)
	if len(records) == 0 {
		return noSPF(r, answer.Err)
	}
	r.Observed = observed(records)
	if len(records) > 1 {
		return judged(r, v1alpha1.ResultMismatch, "There are several SPF records, which is an error for receivers (RFC 7208 §3.2). Join them into one.")
	}
	return judgeSPF(r, records[0], evaluations)
}

func noSPF(r v1alpha1.DNSRecord, err error) v1alpha1.DNSRecord {
	const missing = "There is no SPF record. Publish the expected value as a TXT record, with what else sends for the domain."
	if err != nil {
		return unanswered(r, err, missing)
	}
	return judged(r, v1alpha1.ResultMissing, missing)
}

func judgeSPF(r v1alpha1.DNSRecord, published string, evaluations []Evaluation) v1alpha1.DNSRecord {
	var refused []netip.Addr
	for _, e := range evaluations {
		switch e.Result {
		case spfPass:
		case spfTempError:
			return judged(r, v1alpha1.ResultLookupFailed, "DNS gave no answer while SPF was evaluated for "+e.Address.String()+": "+e.Reason)
		case "permerror":
			return judged(r, v1alpha1.ResultMismatch, "Receivers cannot use the record: "+e.Reason+".")
		default:
			refused = append(refused, e.Address)
		}
	}
	if len(refused) > 0 {
		return judged(r, v1alpha1.ResultMismatch, "The record does not admit "+join(refused)+". Add "+mechanisms(refused)+" to it, before its all.")
	}
	if anyone(published) {
		return judged(r, v1alpha1.ResultWeak, "The record lets anyone send as the domain: replace its all by ~all or -all.")
	}
	return judged(r, v1alpha1.ResultPass, "")
}

// spfRecords picks the records of version 1 (RFC 7208 §4.5).
func spfRecords(values []string) []string {
	var records []string
	for _, v := range values {
		version, _, _ := strings.Cut(v, " ")
		if strings.EqualFold(version, "v=spf1") {
			records = append(records, v)
		}
	}
	return records
}

// anyone says whether a record ends in a mechanism that passes for every address.
func anyone(published string) bool {
	for _, term := range strings.Fields(strings.ToLower(published)) {
		if term == "all" || term == "+all" {
			return true
		}
	}
	return false
}

func mechanisms(addresses []netip.Addr) string {
	terms := make([]string, len(addresses))
	for i, a := range addresses {
		terms[i] = "ip6:" + a.String()
		if a.Is4() {
			terms[i] = "ip4:" + a.String()
		}
	}
	return strings.Join(terms, " ")
}

func join(addresses []netip.Addr) string {
	names := make([]string, len(addresses))
	for i, a := range addresses {
		names[i] = a.String()
	}
	return strings.Join(names, ", ")
}
