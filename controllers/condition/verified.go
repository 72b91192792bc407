package condition

import (
	"slices"

	"github.com/postrider/postrider/api/v1alpha1"
)

// verified sums up the records of one purpose: the worst of them speaks.
func (o *SendingDomain) verified(purpose v1alpha1.RecordPurpose) decision {
	if purpose == v1alpha1.PurposeDKIM && !o.signs() {
		return yes(v1alpha1.ReasonNotRequired, "Somebody else signs: spec.dkim.signing is Disabled.")
	}
	worst, found := v1alpha1.DNSRecord{}, false
	for _, r := range o.Records {
		if r.Purpose == purpose && (!found || badness(r.Result) > badness(worst.Result)) {
			worst, found = r, true
		}
	}
	if !found {
		return unknown(v1alpha1.ReasonPending, "DNS has not been asked yet.")
	}
	reason := string(worst.Result)
	switch worst.Result {
	case v1alpha1.ResultPass, v1alpha1.ResultWeak:
		return yes(reason, worst.Message)
	case v1alpha1.ResultLookupFailed, v1alpha1.ResultNotRequired:
		return unknown(reason, worst.Message)
	default:
		return no(reason, worst.Message)
	}
}

// badness orders results from good to bad.
func badness(r v1alpha1.RecordResult) int {
	return slices.Index([]v1alpha1.RecordResult{
		v1alpha1.ResultPass, v1alpha1.ResultNotRequired, v1alpha1.ResultWeak,
		v1alpha1.ResultLookupFailed, v1alpha1.ResultMismatch, v1alpha1.ResultMissing,
	}, r)
}
