package sendingdomain

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/condition"
)

// conditions sum up. The verdict on DKIM is that on the keys that sign, or, before any do, on those that wait.
func (p *pass) conditions() []metav1.Condition {
	list := p.keys.sign
	if len(list) == 0 {
		list = p.keys.wait
	}
	o := condition.SendingDomain{
		Domain: p.domain, Now: p.now,
		RelayFound: p.relay != nil, Allowed: p.allowed, Claimed: p.claimed,
		KeyProblem: p.keys.problem, KeyWarning: p.keys.warning,
		Records: ofKeys(p.records, list, p.domain),
		Active:  p.keys.active != "",
	}
	return o.Conditions()
}

// same says that two statuses mean the same.
func same(a, b v1alpha1.SendingDomainStatus) bool {
	if !condition.Same(a.Conditions, b.Conditions) {
		return false
	}
	a.Conditions, b.Conditions = nil, nil
	return equality.Semantic.DeepEqual(a, b)
}
