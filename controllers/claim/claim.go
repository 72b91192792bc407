// Package claim owns the question whose a domain is: whether a relay admits a SendingDomain, and which one has the
// domain when several name it. It is pure, so that everyone who asks about the same objects gets the same answer.
package claim

import (
	"cmp"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/postrider/postrider/api/v1alpha1"
)

// Owners returns, for each domain, the SendingDomain that has it: the first whose DKIM records prove it; while
// none is proven the one that has it already, so that a failed look-up takes nothing from anyone; then the
// oldest. SendingDomains that are being deleted give way to all others. All must be of one relay that admits them.
func Owners(domains []v1alpha1.SendingDomain) map[v1alpha1.DomainName]*v1alpha1.SendingDomain {
	owners := map[v1alpha1.DomainName]*v1alpha1.SendingDomain{}
	for i := range domains {
		d := &domains[i]
		if o, ok := owners[d.Spec.Domain]; !ok || before(d, o) {
			owners[d.Spec.Domain] = d
		}
	}
	return owners
}

// before says whether a's claim is the better one.
func before(a, b *v1alpha1.SendingDomain) bool {
	provenA, sinceA := proven(a)
	provenB, sinceB := proven(b)
	order := cmp.Or(
		first(a.DeletionTimestamp == nil, b.DeletionTimestamp == nil),
		first(provenA, provenB),
		earlier(sinceA, sinceB),
		first(accepted(a), accepted(b)),
		earlier(a.CreationTimestamp, b.CreationTimestamp),
		cmp.Compare(a.Namespace, b.Namespace),
		cmp.Compare(a.Name, b.Name),
	)
	return order < 0
}

// proven says whether the keys that are published are this one's, and since when.
func proven(d *v1alpha1.SendingDomain) (bool, metav1.Time) {
	c := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionDKIMVerified)
	if c == nil || c.Status != metav1.ConditionTrue || c.Reason == v1alpha1.ReasonNotRequired {
		return false, metav1.Time{}
	}
	return true, c.LastTransitionTime
}

func accepted(d *v1alpha1.SendingDomain) bool {
	return meta.IsStatusConditionTrue(d.Status.Conditions, v1alpha1.ConditionAccepted)
}

// first orders what is true before what is not.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func earlier(a, b metav1.Time) int { return a.Compare(b.Time) }
