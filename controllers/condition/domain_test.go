package condition

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/postrider/postrider/api/v1alpha1"
)

func domain(f func(o *SendingDomain)) *SendingDomain {
	o := &SendingDomain{
		Domain: &v1alpha1.SendingDomain{
			ObjectMeta: metav1.ObjectMeta{Name: "example", Generation: 2},
			Spec:       v1alpha1.SendingDomainSpec{Domain: "example.com", RelayRef: v1alpha1.RelayReference{Name: "outbound"}},
		},
		Now: now, RelayFound: true, Allowed: true, Active: true,
		Records: []v1alpha1.DNSRecord{
			{Purpose: v1alpha1.PurposeMX, Result: v1alpha1.ResultPass},
			{Purpose: v1alpha1.PurposeSPF, Result: v1alpha1.ResultPass},
			{Purpose: v1alpha1.PurposeDKIM, Result: v1alpha1.ResultPass},
			{Purpose: v1alpha1.PurposeDKIM, Result: v1alpha1.ResultPass},
			{Purpose: v1alpha1.PurposeDMARC, Result: v1alpha1.ResultPass},
		},
	}
	f(o)
	return o
}

func TestSendingDomain(t *testing.T) {
	tests := map[string]struct {
		change func(o *SendingDomain)
		want   wanted
	}{
		"healthy": {func(*SendingDomain) {}, wanted{
			"Ready": "True/Verified", "Accepted": "True/Accepted", "DKIMKeyReady": "True/KeysStored", "Reconciling": "", "Stalled": "",
			"SPFVerified": "True/Pass", "DKIMVerified": "True/Pass", "DMARCVerified": "True/Pass", "MXVerified": "True/Pass",
		}},
		"no relay": {func(o *SendingDomain) { o.RelayFound = false }, wanted{
			"Ready": "False/NotAccepted", "Accepted": "False/RelayNotFound", "Stalled": "",
		}},
		"no relay there": {func(o *SendingDomain) { o.RelayFound, o.Domain.Spec.RelayRef.Namespace = false, "mail" }, wanted{
			"Ready": "False/NotAccepted", "Accepted": "False/NotAllowedByRelay", "Stalled": "True/NotAllowedByRelay",
		}},
		"not allowed": {func(o *SendingDomain) { o.Allowed = false }, wanted{
			"Ready": "False/NotAccepted", "Accepted": "False/NotAllowedByRelay", "Stalled": "True/NotAllowedByRelay",
		}},
		"claimed": {func(o *SendingDomain) { o.Claimed = true }, wanted{
			"Ready": "False/NotAccepted", "Accepted": "False/DomainClaimed", "Stalled": "True/DomainClaimed", "Reconciling": "",
		}},
		"not looked yet": {func(o *SendingDomain) { o.Records, o.Active = nil, false }, wanted{
			"Ready": "Unknown/Pending", "Reconciling": "True/Pending", "SPFVerified": "Unknown/Pending", "DKIMVerified": "Unknown/Pending",
		}},
		"no gates, not looked yet": {func(o *SendingDomain) { o.Records = nil }, wanted{"Ready": "True/Verified", "Reconciling": ""}},
		"not published": {func(o *SendingDomain) { o.Active, o.Records[2].Result = false, v1alpha1.ResultMissing }, wanted{
			"Ready": "False/DNSGateFailed", "DKIMVerified": "False/Missing", "Stalled": "",
		}},
		"once published": {func(o *SendingDomain) { o.Records[3].Result = v1alpha1.ResultMismatch }, wanted{
			"Ready": "True/Verified", "DKIMVerified": "False/Mismatch",
		}},
		"the worst speaks": {func(o *SendingDomain) {
			o.Records[2].Result, o.Records[3].Result = v1alpha1.ResultMissing, v1alpha1.ResultWeak
		}, wanted{"DKIMVerified": "False/Missing"}},
		"weak": {func(o *SendingDomain) { o.Records[4].Result = v1alpha1.ResultWeak }, wanted{"DMARCVerified": "True/Weak", "Ready": "True/Verified"}},
		"no answer": {func(o *SendingDomain) { o.Records[0].Result = v1alpha1.ResultLookupFailed }, wanted{
			"MXVerified": "Unknown/LookupFailed", "Ready": "True/Verified",
		}},
		"no egress addresses": {func(o *SendingDomain) { o.Records[1].Result = v1alpha1.ResultNotRequired }, wanted{"SPFVerified": "Unknown/NotRequired"}},
		"signed elsewhere": {func(o *SendingDomain) {
			o.Domain.Spec.DKIM.Signing, o.Active = v1alpha1.SigningDisabled, false
			o.Records[2].Result = v1alpha1.ResultMissing
		}, wanted{"Ready": "True/Verified", "DKIMKeyReady": "True/NotRequired", "DKIMVerified": "True/NotRequired"}},
		"a damaged Secret": {func(o *SendingDomain) { o.KeyWarning = "It is not PEM." }, wanted{
			"Ready": "True/Verified", "DKIMKeyReady": "False/SecretInvalid",
		}},
		"no keys": {func(o *SendingDomain) { o.KeyProblem, o.Active = "The Secret is malformed.", false }, wanted{
			"Ready": "False/Pending", "DKIMKeyReady": "False/Pending",
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test.want.check(t, domain(test.change).Conditions()) })
	}
}

func policy(f func(o *RateLimitPolicy)) *RateLimitPolicy {
	o := &RateLimitPolicy{
		Policy: &v1alpha1.RateLimitPolicy{ObjectMeta: metav1.ObjectMeta{Generation: 4}},
		Now:    now, Relays: 2,
	}
	f(o)
	return o
}

func TestRateLimitPolicy(t *testing.T) {
	tests := map[string]struct {
		change func(o *RateLimitPolicy)
		want   wanted
	}{
		"in force": {func(*RateLimitPolicy) {}, wanted{
			"Ready": "True/Programmed", "Accepted": "True/Accepted", "Programmed": "True/Programmed", "Reconciling": "",
		}},
		"on its way": {func(o *RateLimitPolicy) { o.Waiting = []string{"outbound-0 of outbound has generation 3."} }, wanted{
			"Ready": "False/PartiallyProgrammed", "Programmed": "False/PartiallyProgrammed", "Reconciling": "True/PartiallyProgrammed",
		}},
		"one target missing": {func(o *RateLimitPolicy) { o.Missing = []string{"MailRelay inbound"} }, wanted{
			"Ready": "False/TargetNotFound", "Accepted": "False/TargetNotFound", "Programmed": "True/Programmed", "Reconciling": "",
		}},
		"all targets missing": {func(o *RateLimitPolicy) { o.Missing, o.Relays = []string{"MailRelay inbound"}, 0 }, wanted{
			"Ready": "False/TargetNotFound", "Programmed": "False/PartiallyProgrammed",
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test.want.check(t, policy(test.change).Conditions()) })
	}
}
