package operator_test

import (
	"testing"

	"github.com/postrider/postrider/api/v1alpha1"
)

func (f *fixture) policy(name, relay string) *v1alpha1.RateLimitPolicy {
	return &v1alpha1.RateLimitPolicy{
		ObjectMeta: f.meta(name),
		Spec: v1alpha1.RateLimitPolicySpec{
			TargetRefs: []v1alpha1.TargetReference{{Kind: v1alpha1.TargetMailRelay, Name: v1alpha1.ObjectName(relay)}},
			Stage:      v1alpha1.StageDelivery, Key: v1alpha1.KeySite,
			Limits: v1alpha1.Limits{Messages: 600, PerSeconds: 60},
		},
	}
}

func TestRateLimitPolicyIsProgrammed(t *testing.T) {
	f := setUp(t)
	policy := f.policy("cap", "outbound")
	f.create(policy)
	f.expectPolicy(policy, map[string]string{"Accepted": "False/TargetNotFound", "Ready": "False/TargetNotFound"})

	relay := f.serving("outbound", 2)
	f.expectPolicy(policy, map[string]string{"Accepted": "True/Accepted", "Programmed": "True/Programmed", "Ready": "True/Programmed", "Reconciling": ""})
	if e := policy.Status.Targets[0].Effective; e == nil || e.Burst != 10 {
		t.Errorf("the limits in effect are %+v", e)
	}

	f.node.set(func(n *node) { n.stale["outbound-1"] = true })
	change(f, policy, func(p *v1alpha1.RateLimitPolicy) { p.Spec.Limits.Messages = 60 })
	f.expectPolicy(policy, map[string]string{"Accepted": "True/Accepted", "Programmed": "False/PartiallyProgrammed", "Reconciling": "True/PartiallyProgrammed"})
	f.node.set(func(n *node) { delete(n.stale, "outbound-1") })
	f.expectPolicy(policy, map[string]string{"Programmed": "True/Programmed"})

	// Another change of the configuration on its way does not touch a policy that is in force.
	f.node.set(func(n *node) { n.stale["outbound-1"] = true })
	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Postmaster = "postmaster@example.com" })
	f.expectRelay(relay, map[string]string{"ConfigCurrent": "False/Propagating"})
	f.expectPolicy(policy, map[string]string{"Programmed": "True/Programmed"})

	f.node.set(func(n *node) { n.silent["outbound-0"] = true })
	f.expectPolicy(policy, map[string]string{"Programmed": "False/PartiallyProgrammed"})
}
