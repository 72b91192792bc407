package claim

import (
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/postrider/postrider/api/v1alpha1"
)

var start = time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)

func at(hours int) metav1.Time { return metav1.NewTime(start.Add(time.Duration(hours) * time.Hour)) }

func domain(name string, created int, conditions ...metav1.Condition) v1alpha1.SendingDomain {
	return v1alpha1.SendingDomain{
		ObjectMeta: metav1.ObjectMeta{Namespace: "mail", Name: name, CreationTimestamp: at(created)},
		Spec:       v1alpha1.SendingDomainSpec{Domain: "example.com"},
		Status:     v1alpha1.SendingDomainStatus{Conditions: conditions},
	}
}

func condition(kind string, status metav1.ConditionStatus, reason string, since int) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, LastTransitionTime: at(since)}
}

func TestOwners(t *testing.T) {
	proven := func(since int) metav1.Condition {
		return condition(v1alpha1.ConditionDKIMVerified, metav1.ConditionTrue, "Pass", since)
	}
	lost := condition(v1alpha1.ConditionDKIMVerified, metav1.ConditionUnknown, "LookupFailed", 9)
	elsewhere := condition(v1alpha1.ConditionDKIMVerified, metav1.ConditionTrue, "NotRequired", 0)
	accepted := condition(v1alpha1.ConditionAccepted, metav1.ConditionTrue, "Accepted", 0)
	refused := condition(v1alpha1.ConditionAccepted, metav1.ConditionFalse, "DomainClaimed", 0)
	deleting := domain("a", 0, proven(1), accepted)
	deleting.DeletionTimestamp = new(at(5))

	tests := map[string][]v1alpha1.SendingDomain{
		"alone":                           {domain("want", 9)},
		"the oldest":                      {domain("want", 1), domain("a", 2)},
		"equally old: by name":            {domain("want", 1), domain("wanu", 1)},
		"proven beats older":              {domain("a", 1, accepted), domain("want", 2, proven(5))},
		"the first proven":                {domain("a", 1, proven(6)), domain("want", 2, proven(5))},
		"the holder beats older":          {domain("a", 1), domain("want", 2, accepted)},
		"a failed look-up takes nothing":  {domain("a", 1, refused), domain("want", 2, accepted, lost)},
		"signed elsewhere proves nothing": {domain("a", 2, elsewhere), domain("want", 1)},
		"one being deleted gives way":     {deleting, domain("want", 3)},
	}
	for name, list := range tests {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				if got := Owners(list)["example.com"].Name; got != "want" {
					t.Errorf("%s has it", got)
				}
				slices.Reverse(list)
			}
		})
	}
	other := domain("other", 5)
	other.Spec.Domain = "example.org"
	if owners := Owners([]v1alpha1.SendingDomain{domain("a", 1), other}); len(owners) != 2 || owners["example.org"].Name != "other" {
		t.Errorf("two domains have the owners %v", owners)
	}
}
