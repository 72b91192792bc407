package condition

import (
	"strings"

	"github.com/postrider/postrider/api/v1alpha1"
)

// Draining says that surplus pods, or one that an admin drains, are emptied, or those of a relay being deleted deliver what
// they have. It is present only while that is so.
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
	d := o.Draining
	if d == nil && (len(names) == 0 || o.Deleting) {
		return decision{}
	}
	calm := "No new mail goes to " + strings.Join(names, ", ") + "; "
	switch {
	case d != nil && o.Overdue:
		return yes(v1alpha1.ReasonDrainTimedOut, "Pod "+d.Pod+" is not empty, and its time is over. "+o.onTimeout())
	case d != nil && o.HandsOver && o.Heir != "":
		return yes(v1alpha1.ReasonHandingOff, calm+d.Pod+" gives what it has to the pods of MailRelay "+o.Heir+", then goes."+o.stuck())
	case len(names) == 0 && o.HandsOver:
		return yes(v1alpha1.ReasonHandingOff, "No new mail goes to "+d.Pod+"; it gives what it has to the pods that serve, then stays empty until it is uncordoned.")
	case len(names) == 0:
		return yes(ReasonWaitingForDelivery, "No new mail goes to "+d.Pod+"; it delivers what it has, then stays empty until it is uncordoned.")
	case d != nil && o.HandsOver:
		return yes(v1alpha1.ReasonHandingOff, calm+d.Pod+" gives what it has to the pods that stay, then goes.")
	}
	return yes(ReasonWaitingForDelivery, calm+"they go once their queues are empty.")
}

// stuck says what to do while nobody takes the mail of a relay that is being deleted.
func (o *MailRelay) stuck() string {
	problem := o.HeirProblem
	switch {
	case problem == "" && o.Draining.Step == v1alpha1.StepWaitingForPeers:
		problem = "status.draining tells why"
	case problem == "":
		return ""
	}
	return " At the moment none takes any, and it delivers by itself: " + problem +
		". Mend that, name another relay in spec.drain.handoffTo, or set spec.drain.onDelete to Deliver or Retain."
}

// onTimeout says what becomes of a pod whose time is over, and what can be done.
func (o *MailRelay) onTimeout() string {
	force := o.Relay.Spec.Drain.OnTimeout == v1alpha1.DrainForce
	switch {
	case force:
		return "It goes, and its volume claim is kept."
	case o.Deleting:
		return "It stays until it is (spec.drain.onTimeout is Hold): see status.draining and status.pods for what is in the way, " +
			"raise timeoutSeconds, or set onTimeout to Force or onDelete to Retain to let the relay go and keep its volume claims."
	}
	return "It stays until it is (spec.drain.onTimeout is Hold): see status.draining for what is in the way, raise replicas to have it " +
		"serve again, or set onTimeout to Force to let it go and keep its volume claim."
}
