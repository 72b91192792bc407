package condition

import (
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

// kstatus computes what tools such as kubectl apply --wait and Flux make of an object.
func kstatus(t *testing.T, object runtime.Object) status.Status {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("MailRelay"))
	result, err := status.Compute(u)
	if err != nil {
		t.Fatal(err)
	}
	return result.Status
}

// consistent checks what every set of conditions must hold to.
func consistent(conditions []metav1.Condition) error {
	ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	reconciling := meta.FindStatusCondition(conditions, v1alpha1.ConditionReconciling)
	stalled := meta.FindStatusCondition(conditions, v1alpha1.ConditionStalled)
	switch {
	case ready == nil:
		return fmt.Errorf("there is no Ready")
	case reconciling != nil && reconciling.Status != metav1.ConditionTrue, stalled != nil && stalled.Status != metav1.ConditionTrue:
		return fmt.Errorf("Reconciling or Stalled stands there without being true")
	case reconciling != nil && stalled != nil:
		return fmt.Errorf("Reconciling and Stalled stand together")
	case stalled != nil && ready.Status != metav1.ConditionFalse:
		return fmt.Errorf("Stalled, and Ready is %s", ready.Status)
	case ready.Status == metav1.ConditionUnknown && reconciling == nil:
		return fmt.Errorf("Ready is unknown without Reconciling")
	}
	for _, c := range conditions {
		if c.Reason == "" || c.ObservedGeneration == 0 || c.LastTransitionTime.IsZero() || c.Message == "" && c.Status != metav1.ConditionTrue {
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
		func(o *MailRelay) { o.Pods[0].Created = now.Add(-time.Hour) },
		func(o *MailRelay) { o.Refused = "it says no" },
		func(o *MailRelay) { o.Deleting = true },
		func(o *MailRelay) { o.Relay.Spec.Reconciliation = v1alpha1.ReconciliationPaused },
		func(o *MailRelay) { o.Secrets = append(o.Secrets, Secret{Use: UseTLS, Problem: "no certificate"}) },
		func(o *MailRelay) { o.Generation = 8 },
		func(o *MailRelay) { o.Relay.Status.Conditions = was(v1alpha1.ReasonRollingOut) },
	}
	for set := range 1 << len(faults) {
		o := observed(func(*MailRelay) {})
		for i, fault := range faults {
			if set&(1<<i) != 0 {
				fault(o)
			}
		}
		o.Relay.Status.Conditions = o.Conditions()
		o.Relay.Status.ObservedGeneration = o.Relay.Generation
		if err := consistent(o.Relay.Status.Conditions); err != nil {
			t.Fatalf("faults %b: %v", set, err)
		}
		if got, want := kstatus(t, o.Relay), expected(o.Relay.Status.Conditions); got != want {
			t.Fatalf("faults %b: kstatus says %s, want %s: %+v", set, got, want, o.Relay.Status.Conditions)
		}
	}
}

func TestEverySendingDomainIsConsistent(t *testing.T) {
	faults := []func(o *SendingDomain){
		func(o *SendingDomain) { o.RelayFound = false },
		func(o *SendingDomain) { o.Claimed = true },
		func(o *SendingDomain) { o.KeyProblem = "no key" },
		func(o *SendingDomain) { o.Records = nil },
		func(o *SendingDomain) { o.Active = false },
		func(o *SendingDomain) { o.Domain.Spec.DKIM.Signing = v1alpha1.SigningDisabled },
	}
	for set := range 1 << len(faults) {
		o := domain(func(*SendingDomain) {})
		for i, fault := range faults {
			if set&(1<<i) != 0 {
				fault(o)
			}
		}
		o.Domain.Status.Conditions = o.Conditions()
		o.Domain.Status.ObservedGeneration = o.Domain.Generation
		if err := consistent(o.Domain.Status.Conditions); err != nil {
			t.Fatalf("faults %b: %v", set, err)
		}
		if got, want := kstatus(t, o.Domain), expected(o.Domain.Status.Conditions); got != want {
			t.Fatalf("faults %b: kstatus says %s, want %s", set, got, want)
		}
	}
}

// An object that the operator has not seen yet is not current, and neither is one whose spec has changed since.
func TestUnseenIsNotCurrent(t *testing.T) {
	o := observed(func(*MailRelay) {})
	o.Relay.Status.ObservedGeneration = -1
	if got := kstatus(t, o.Relay); got != status.InProgressStatus {
		t.Errorf("without a status: %s", got)
	}
	o.Relay.Status.Conditions = o.Conditions()
	o.Relay.Status.ObservedGeneration = o.Relay.Generation - 1
	if got := kstatus(t, o.Relay); got != status.InProgressStatus {
		t.Errorf("with an old status: %s", got)
	}
}
