package operator_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/config"
)

// connectionsTold waits until the pods are told to share the connections of the only policy like this.
func (f *fixture) connectionsTold(what string, want map[string]int) {
	f.t.Helper()
	f.eventually(what, func() error {
		told := f.told("outbound").Policies
		if len(told) != 1 {
			return fmt.Errorf("policies %+v", told)
		}
		got := map[string]int{}
		for pod, s := range told[0].Shares {
			got[pod] = s.MaxConnections
		}
		if !maps.Equal(got, want) {
			return fmt.Errorf("they are told %v", got)
		}
		return nil
	})
}

func (f *fixture) sharedPolicy(connections int32) *v1alpha1.RateLimitPolicy {
	policy := f.policy("cap", "outbound")
	policy.Spec.Scope, policy.Spec.Limits = v1alpha1.ScopeRelay, v1alpha1.Limits{MaxConnections: connections}
	f.create(policy)
	return policy
}

// A new pod gets a share when the others are known to have given it up, also after another operator took over, and one
// that goes has its share until it has gone.
func TestSharesAreReleasedBeforeTheyGrow(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 2)
	policy := f.sharedPolicy(10)
	f.connectionsTold("two share", map[string]int{"outbound-0": 5, "outbound-1": 5})
	f.expectPolicy(policy, map[string]string{"Programmed": "True/Programmed"})

	f.node.set(func(n *node) { n.stale["outbound-1"] = true })
	f.replicas(relay, 3)
	f.connectionsTold("the third gets what is free", map[string]int{"outbound-0": 4, "outbound-1": 3, "outbound-2": 1})
	f.eventually("all three run", func() error {
		if f.get(relay); len(relay.Status.Pods) != 3 || relay.Status.Pods[2].ConfigGeneration == nil {
			return fmt.Errorf("pods are %+v", relay.Status.Pods)
		}
		return nil
	})
	f.expectPolicy(policy, map[string]string{"Programmed": "False/PartiallyProgrammed", "Reconciling": "True/PartiallyProgrammed"})
	f.restart()
	f.connectionsTold("no more than that", map[string]int{"outbound-0": 4, "outbound-1": 3, "outbound-2": 1})
	f.node.set(func(n *node) { delete(n.stale, "outbound-1"); n.exceeds["outbound-1"] = true })
	f.expectRelay(relay, map[string]string{"ConfigCurrent": "True/InForce"})
	f.connectionsTold("nor while it has more connections open", map[string]int{"outbound-0": 4, "outbound-1": 3, "outbound-2": 1})
	if f.get(policy); policy.Status.Targets[0].Effective.MaxConnections != 8 {
		t.Errorf("the limits in effect are %+v", policy.Status.Targets[0].Effective)
	}
	f.node.set(func(n *node) { delete(n.exceeds, "outbound-1") })
	f.connectionsTold("then its share", map[string]int{"outbound-0": 4, "outbound-1": 3, "outbound-2": 3})
	f.expectPolicy(policy, map[string]string{"Programmed": "True/Programmed"})
	if e := policy.Status.Targets[0].Effective; e.MaxConnections != 10 {
		t.Errorf("the limits in effect are %+v", e)
	}

	f.holds(map[string]int64{"outbound-2": 3})
	f.replicas(relay, 2)
	f.draining(relay, "outbound-2", v1alpha1.StepHandingOff)
	f.connectionsTold("it has its share until it has gone", map[string]int{"outbound-0": 4, "outbound-1": 3, "outbound-2": 3})
	f.holds(map[string]int64{"outbound-2": 0})
	f.connectionsTold("then the others have it", map[string]int{"outbound-0": 5, "outbound-1": 5})
}

// Where a limit is less than there are pods, the last have no share, know who has, and the policy says so.
func TestPodsWithoutAShareKnowWhoHasOne(t *testing.T) {
	f := setUp(t)
	f.serving("outbound", 2)
	policy := f.sharedPolicy(1)
	f.connectionsTold("one has it all", map[string]int{"outbound-0": 1})
	want := config.Peer{Pod: "outbound-0", Host: "outbound-0.outbound-pods." + f.namespace + ".svc.cluster.local"}
	if told := f.told("outbound"); len(told.Carriers) != 1 || told.Carriers[0] != want {
		t.Errorf("the carriers are %+v", told.Carriers)
	}
	f.expectPolicy(policy, map[string]string{"Programmed": "True/Programmed"})
	c := meta.FindStatusCondition(policy.Status.Conditions, v1alpha1.ConditionProgrammed)
	if !strings.Contains(c.Message, "outbound-1 have no share") {
		t.Errorf("it says %q", c.Message)
	}
	change(f, policy, func(p *v1alpha1.RateLimitPolicy) { p.Spec.Limits.MaxConnections = 2 })
	f.connectionsTold("both have one", map[string]int{"outbound-0": 1, "outbound-1": 1})
	if told := f.told("outbound"); told.Carriers != nil {
		t.Errorf("the carriers are %+v", told.Carriers)
	}
}
