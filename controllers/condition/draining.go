package condition

import (
	"strings"

	"github.com/postrider/postrider/api/v1alpha1"
)

// Draining says that surplus pods are emptied, or those of a relay being deleted deliver what they have. It is present
// only while that is so.
const Draining = "Draining"

// ReasonWaitingForDelivery is the reason of Draining.
const ReasonWaitingForDelivery = "WaitingForDelivery"

func (o *MailRelay) draining() decision {
	var names []string
	for _, p := range o.Pods {
		if p.Surplus {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return decision{}
	}
	d := o.Draining
	switch {
	case d != nil && o.Overdue:
		return yes(v1alpha1.ReasonDrainTimedOut, "Pod "+d.Pod+" is not empty, and its time is over. "+o.onTimeout())
	case d != nil && o.HandsOver:
		return yes(v1alpha1.ReasonHandingOff, "No new mail goes to "+strings.Join(names, ", ")+"; "+d.Pod+" gives what it has to the pods that stay, then goes.")
	}
	return yes(ReasonWaitingForDelivery, "No new mail goes to "+strings.Join(names, ", ")+"; they go once their queues are empty.")
}

// onTimeout says what becomes of a pod whose time is over, and what can be done.
func (o *MailRelay) onTimeout() string {
	if o.Relay.Spec.Drain.OnTimeout == v1alpha1.DrainForce {
		return "It goes, and its volume claim is kept."
	}
	return "It stays until it is (spec.drain.onTimeout is Hold): see status.draining for what is in the way, raise replicas to have it " +
		"serve again, or set onTimeout to Force to let it go and keep its volume claim."
}
