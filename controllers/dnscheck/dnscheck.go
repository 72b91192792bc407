// Package dnscheck owns the verdicts on a sending domain's DNS records: what is expected, what was observed,
// and one sentence that says what to change. It is pure: it judges answers that others have fetched, and never
// takes a look-up that failed for a record that is missing.
package dnscheck

import (
	"slices"
	"strings"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/dns"
)

// Bounds of what a status holds.
const (
	maxValues = 16
	maxValue  = 1024
)

// Texts is the answer to a question for TXT records.
type Texts struct {
	Values []string
	Err    error
}

// record is an empty verdict.
func record(purpose v1alpha1.RecordPurpose, name, kind string, expected ...string) v1alpha1.DNSRecord {
	return v1alpha1.DNSRecord{Purpose: purpose, Name: name, Type: kind, Expected: expected}
}

// judged returns r with a result.
func judged(r v1alpha1.DNSRecord, result v1alpha1.RecordResult, message string) v1alpha1.DNSRecord {
	r.Result, r.Message = result, cut(message)
	return r
}

// unanswered judges a question that got no records: there are none, or nothing is known.
func unanswered(r v1alpha1.DNSRecord, err error, missing string) v1alpha1.DNSRecord {
	if dns.NotFound(err) {
		return judged(r, v1alpha1.ResultMissing, missing)
	}
	return judged(r, v1alpha1.ResultLookupFailed, "DNS gave no answer: "+err.Error())
}

// observed bounds what DNS holds to what a status can, in a stable order.
func observed(values []string) []string {
	out := make([]string, 0, min(len(values), maxValues))
	for _, v := range slices.Sorted(slices.Values(values)) {
		if len(out) < maxValues {
			out = append(out, cut(v))
		}
	}
	return out
}

// cut shortens to what a status field holds. What DNS sends may be any octets; only valid text is kept.
func cut(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxValue {
		return s
	}
	const more = "…"
	return strings.ToValidUTF8(s[:maxValue-len(more)], "") + more
}
