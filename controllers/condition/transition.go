package condition

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/postrider/postrider/api/v1alpha1"
)

// Transitions returns the conditions in after whose status or reason is not the one in before, for events. A
// condition that appears as true and healthy is no news, but for an upgrade that waits.
func Transitions(before, after []metav1.Condition) []metav1.Condition {
	var changed []metav1.Condition
	for _, c := range after {
		old := meta.FindStatusCondition(before, c.Type)
		switch {
		case old == nil && Good(c) && c.Type != v1alpha1.ConditionUpgradePending, old != nil && onItsWay(*old) && onItsWay(c):
		case old == nil || old.Status != c.Status || old.Reason != c.Reason:
			changed = append(changed, c)
		}
	}
	return changed
}

// onItsWay says that a configuration is in force, or on its way as each one is for a second: to tell of every change of
// every SendingDomain would be to tell of nothing.
func onItsWay(c metav1.Condition) bool {
	return c.Reason == v1alpha1.ReasonInForce || c.Reason == v1alpha1.ReasonPropagating
}

// Good says that the condition is as one would wish, or need not be.
func Good(c metav1.Condition) bool {
	if c.Reason == v1alpha1.ReasonNotRequired {
		return true
	}
	bad := c.Type == v1alpha1.ConditionStalled || c.Type == v1alpha1.ConditionLimited
	return c.Reason != v1alpha1.ReasonDrainTimedOut && (c.Status == metav1.ConditionTrue) != bad
}

// Same says that two sets of conditions mean the same: times and order don't matter.
func Same(a, b []metav1.Condition) bool {
	if len(a) != len(b) {
		return false
	}
	for _, c := range a {
		o := meta.FindStatusCondition(b, c.Type)
		if o == nil || o.Status != c.Status || o.Reason != c.Reason || o.Message != c.Message || o.ObservedGeneration != c.ObservedGeneration {
			return false
		}
	}
	return true
}
