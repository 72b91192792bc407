package dnscheck

import (
	"errors"
	"fmt"
	"strings"

	"github.com/postrider/postrider/api/v1alpha1"
)

// dmarcLabels is how many labels of a long name the walk up the tree begins with, after the name itself
// (RFC 9989 §4.10).
const dmarcLabels = 7

// DMARCNames returns the names at which the policy of a domain may stand, in the order in which to ask: the
// first that has one holds. It is the walk up the tree of RFC 9989 §4.10, without the top-level domain.
func DMARCNames(domain string) []string {
	names := []string{"_dmarc." + domain}
	labels := strings.Split(domain, ".")
	labels = labels[max(1, len(labels)-dmarcLabels):]
	for ; len(labels) > 1; labels = labels[1:] {
		names = append(names, "_dmarc."+strings.Join(labels, "."))
	}
	return names
}

// DMARC judges the policy of a domain. The answers are those for DMARCNames, in that order; there may be fewer,
// up to the first that holds a policy or that failed.
func DMARC(domain string, answers []Texts) v1alpha1.DNSRecord {
	names := DMARCNames(domain)
	r := record(v1alpha1.PurposeDMARC, names[0], "TXT", "v=DMARC1; p=quarantine")
	for i, answer := range answers {
		policies := dmarcRecords(answer.Values)
		switch {
		case len(policies) > 0:
			r.Observed = observed(policies)
			return judgeDMARC(r, policies, names[i])
		case answer.Err != nil && i == len(answers)-1:
			return unanswered(r, answer.Err, noPolicy(domain))
		}
	}
	return judged(r, v1alpha1.ResultMissing, noPolicy(domain))
}

func noPolicy(domain string) string {
	return "There is no policy, so that anyone may forge " + domain + ", and large providers refuse bulk mail without one. Publish the expected value as a TXT record at _dmarc." + domain + "."
}

// HasDMARC says whether one of the values is a DMARC record, so that the walk ends here.
func HasDMARC(values []string) bool { return len(dmarcRecords(values)) > 0 }

// dmarcRecords picks the records that begin with v=DMARC1; others at the name are no business of DMARC.
func dmarcRecords(values []string) []string {
	var records []string
	for _, v := range values {
		first, _, _ := strings.Cut(v, ";")
		name, version, _ := strings.Cut(first, "=")
		if strings.TrimSpace(name) == "v" && strings.TrimSpace(version) == "DMARC1" {
			records = append(records, v)
		}
	}
	return records
}

func judgeDMARC(r v1alpha1.DNSRecord, policies []string, at string) v1alpha1.DNSRecord {
	if len(policies) > 1 {
		return judged(r, v1alpha1.ResultMismatch, "There are several DMARC records at "+at+", so receivers use none. Leave only one.")
	}
	policy, err := dmarcPolicy(policies[0], at != r.Name)
	switch {
	case err != nil:
		return judged(r, v1alpha1.ResultMismatch, "Receivers cannot use the record at "+at+": "+err.Error()+".")
	case policy == "none":
		return judged(r, v1alpha1.ResultWeak, "The policy at "+at+" is none: forged mail is reported at best. Set p=quarantine or p=reject once the reports look right.")
	}
	return judged(r, v1alpha1.ResultPass, "")
}

// dmarcPolicy returns what the record asks receivers to do (RFC 9989 §4.7): sp= before p= if the record is
// inherited from a parent domain.
func dmarcPolicy(text string, inherited bool) (string, error) {
	list, err := parseTags(text)
	if err != nil {
		return "", err
	}
	policy, ok := list.get("p")
	if sub, has := list.get("sp"); has && inherited {
		policy, ok = sub, true
	}
	if !ok {
		return "", errors.New("it has no p=")
	}
	policy = strings.ToLower(policy)
	switch policy {
	case "none", "quarantine", "reject":
		return policy, checkReports(list)
	}
	return "", fmt.Errorf("p=%s is none of none, quarantine and reject", policy)
}

// checkReports looks at the addresses that reports are sent to.
func checkReports(list tags) error {
	for _, name := range []string{"rua", "ruf"} {
		value, ok := list.get(name)
		for uri := range strings.SplitSeq(value, ",") {
			if uri = strings.TrimSpace(uri); ok && !strings.HasPrefix(strings.ToLower(uri), "mailto:") {
				return fmt.Errorf("%s=%s is not a mailto: address", name, uri)
			}
		}
	}
	return nil
}
