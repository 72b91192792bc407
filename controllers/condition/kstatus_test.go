package condition

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/postrider/postrider/api/v1alpha1"
)

// tools are those that read conditions to tell whether an object is as its spec asks.
type tools struct{ argocd argocd }

// read are an object's fields as a tool gets them.
func read(t *testing.T, object runtime.Object) *unstructured.Unstructured {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("MailRelay"))
	return u
}

// kstatus computes what kubectl apply --wait, Flux and others make of an object.
func kstatus(t *testing.T, u *unstructured.Unstructured) status.Status {
	t.Helper()
	result, err := status.Compute(u)
	if err != nil {
		t.Fatal(err)
	}
	return result.Status
}

// argoSays is Argo CD's word for each of kstatus's.
func argoSays(s status.Status) string {
	switch s {
	case status.CurrentStatus:
		return "Healthy"
	case status.FailedStatus:
		return "Degraded"
	default:
		return "Progressing"
	}
}

// agree checks that all tools say of an object that was observed just now what its conditions mean.
func (tools tools) agree(t *testing.T, object runtime.Object, conditions []metav1.Condition) error {
	t.Helper()
	u := read(t, object)
	if err := errors.Join(consistent(conditions), fluxRules(conditions, u.GetGeneration(), u.GetGeneration())); err != nil {
		return err
	}
	want := expected(conditions)
	if got := kstatus(t, u); got != want {
		return fmt.Errorf("kstatus says %s, want %s: %+v", got, want, conditions)
	}
	health, message := tools.argocd.health(t, u)
	wanted := argoSays(want)
	if meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionPaused) {
		wanted = "Suspended"
	}
	if health != wanted || message == "" {
		return fmt.Errorf("Argo CD says %s (%s), want %s: %+v", health, message, wanted, conditions)
	}
	return nil
}

// consistent checks what every set of conditions must hold to besides what Flux asks for.
func consistent(conditions []metav1.Condition) error {
	for _, c := range conditions {
		passing := c.Type == v1alpha1.ConditionReconciling || c.Type == v1alpha1.ConditionStalled || c.Type == v1alpha1.ConditionPaused
		switch {
		case passing && c.Status != metav1.ConditionTrue:
			return fmt.Errorf("%s stands there without being true", c.Type)
		case c.Reason == "" || c.LastTransitionTime.IsZero() || c.Message == "" && c.Status != metav1.ConditionTrue:
			return fmt.Errorf("%s is incomplete: %+v", c.Type, c)
		}
	}
	return nil
}

// expected is what kstatus must say.
func expected(conditions []metav1.Condition) status.Status {
	switch {
	case meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled):
		return status.FailedStatus
	case meta.FindStatusCondition(conditions, v1alpha1.ConditionReconciling) != nil, !meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady):
		return status.InProgressStatus
	}
	return status.CurrentStatus
}

// Every combination of what can be wrong with a relay of two pods.
func TestEveryMailRelayIsConsistent(t *testing.T) {
	faults := []func(o *MailRelay){
		func(o *MailRelay) { o.Pods[0].Ready = false },
		func(o *MailRelay) { o.Pods[0].Updated = false },
		func(o *MailRelay) { o.Pods[1].Surplus = true },
		func(o *MailRelay) { o.Pods[1].Status = nil },
		func(o *MailRelay) { o.Pods[0].Status.DiskLow = true },
		func(o *MailRelay) { o.Reverse = Reverse{"Unknown", "no answer"} },
		func(o *MailRelay) { o.Pods[0].Created = now.Add(-time.Hour) },
		func(o *MailRelay) { o.Refused = "it says no" },
		func(o *MailRelay) { o.Volumes = Volumes{Growing: true, Refused: "no"} },
		func(o *MailRelay) { o.Deleting = true },
		func(o *MailRelay) { o.Relay.Spec.Reconciliation = v1alpha1.ReconciliationPaused },
		func(o *MailRelay) { o.Secrets = append(o.Secrets, Secret{Use: UseTLS, Problem: "no certificate"}) },
		func(o *MailRelay) { o.Generation = 8 },
		func(o *MailRelay) { o.Relay.Status.Conditions = was(v1alpha1.ReasonRollingOut) },
	}
	with := tools{newArgoCD(t)}
	for set := range 1 << len(faults) {
		o := observed(func(*MailRelay) {})
		for i, fault := range faults {
			if set&(1<<i) != 0 {
				fault(o)
			}
		}
		o.Relay.Status.Conditions = o.Conditions()
		o.Relay.Status.ObservedGeneration = o.Relay.Generation
		if err := with.agree(t, o.Relay, o.Relay.Status.Conditions); err != nil {
			t.Fatalf("faults %b: %v", set, err)
		}
	}
}

func TestEverySendingDomainIsConsistent(t *testing.T) {
	faults := []func(o *SendingDomain){
		func(o *SendingDomain) { o.RelayFound = false },
		func(o *SendingDomain) { o.Allowed = false },
		func(o *SendingDomain) { o.Claimed = true },
		func(o *SendingDomain) { o.KeyProblem = "no key" },
		func(o *SendingDomain) { o.Records = nil },
		func(o *SendingDomain) { o.Active = false },
		func(o *SendingDomain) { o.Domain.Spec.DKIM.Signing = v1alpha1.SigningDisabled },
	}
	with := tools{newArgoCD(t)}
	for set := range 1 << len(faults) {
		o := domain(func(*SendingDomain) {})
		for i, fault := range faults {
			if set&(1<<i) != 0 {
				fault(o)
			}
		}
		o.Domain.Status.Conditions = o.Conditions()
		o.Domain.Status.ObservedGeneration = o.Domain.Generation
		if err := with.agree(t, o.Domain, o.Domain.Status.Conditions); err != nil {
			t.Fatalf("faults %b: %v", set, err)
		}
	}
}

func TestEveryRateLimitPolicyIsConsistent(t *testing.T) {
	with := tools{newArgoCD(t)}
	for _, missing := range [][]string{nil, {"MailRelay gone"}} {
		for _, waiting := range [][]string{nil, {"outbound-0 has generation 3."}} {
			for relays := range 2 {
				o := policy(func(o *RateLimitPolicy) { o.Missing, o.Waiting, o.Relays = missing, waiting, relays })
				o.Policy.Status.Conditions, o.Policy.Status.ObservedGeneration = o.Conditions(), o.Policy.Generation
				if err := with.agree(t, o.Policy, o.Policy.Status.Conditions); err != nil {
					t.Errorf("missing %v, waiting %v, %d relays: %v", missing, waiting, relays, err)
				}
			}
		}
	}
}

// An object that the operator has not seen yet is not current, and neither is one whose spec has changed since, or one that
// is being deleted.
func TestUnseenIsNotCurrent(t *testing.T) {
	argocd := newArgoCD(t)
	tests := map[string]struct {
		change func(r *v1alpha1.MailRelay)
		want   status.Status
	}{
		"no status":     {func(r *v1alpha1.MailRelay) { r.Status = v1alpha1.MailRelayStatus{ObservedGeneration: -1} }, status.InProgressStatus},
		"an old status": {func(r *v1alpha1.MailRelay) { r.Status.ObservedGeneration-- }, status.InProgressStatus},
		"going":         {func(r *v1alpha1.MailRelay) { r.DeletionTimestamp = &metav1.Time{Time: now} }, status.TerminatingStatus},
		"current":       {func(*v1alpha1.MailRelay) {}, status.CurrentStatus},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := observed(func(*MailRelay) {})
			o.Relay.Status.Conditions, o.Relay.Status.ObservedGeneration = o.Conditions(), o.Relay.Generation
			test.change(o.Relay)
			u := read(t, o.Relay)
			if got := kstatus(t, u); got != test.want {
				t.Errorf("kstatus says %s", got)
			}
			if health, _ := argocd.health(t, u); health != argoSays(test.want) {
				t.Errorf("Argo CD says %s", health)
			}
		})
	}
}
