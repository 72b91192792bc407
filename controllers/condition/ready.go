package condition

import (
	"fmt"
	"strings"

	"github.com/postrider/postrider/api/v1alpha1"
)

// ready sums up: as many pods serve as the spec asks for, all listeners have what they need, and nothing is in
// the way of further changes. It stays true through a healthy rollout, which takes one pod at a time, and while an admin
// has cordoned some of the pods.
func (o *MailRelay) ready() decision {
	if o.Deleting {
		return no(v1alpha1.ReasonDeleting, o.deleting())
	}
	if s := o.stalled(); s.isTrue() {
		return no(s.reason, s.message)
	}
	for _, s := range o.Secrets {
		if s.Use != UseUpstream && !s.Kept {
			return no(v1alpha1.ReasonInvalidReference, s.Problem)
		}
	}
	serving, want := o.serving(), o.replicas()
	enough := want
	if r := o.reconciling(); r.reason == v1alpha1.ReasonRollingOut && want > 1 {
		enough = want - 1
	}
	message := fmt.Sprintf("%d of %d pods serve.", serving, want)
	if names := o.cordoned(); len(names) > 0 {
		enough = max(enough-len(names), min(want, 1))
		message += " Cordoned by an admin: " + strings.Join(names, ", ") + "."
	}
	if serving < enough {
		return no(v1alpha1.ReasonNotEnoughReplicas, message+o.whyNot())
	}
	for _, s := range append(o.problems(UseUsers), o.problems(UseService)...) {
		message += " " + s.Problem + " The last good copy is in use."
	}
	return yes(v1alpha1.ReasonServing, message)
}

// deleting says what becomes of the mail of a relay that is being deleted.
func (o *MailRelay) deleting() string {
	message := "The relay is being deleted: its pods take nothing new, deliver what they have, and go (spec.drain.onDelete is Deliver)."
	switch o.Relay.Spec.Drain.OnDelete {
	case v1alpha1.DeleteHandoff:
		message = "The relay is being deleted: its pods take nothing new, give what they have to MailRelay " + o.Heir + ", and go (spec.drain.onDelete is Handoff)."
	case v1alpha1.DeleteRetain:
		message = "The relay is being deleted: its pods go, and all its volume claims are kept (spec.drain.onDelete is Retain)."
	}
	if o.Refused != "" {
		message += " But the API server refuses an object: " + o.Refused
	}
	return message
}

// whyNot adds what the first pod says that should not be sent mail, or the first listener that is not well.
func (o *MailRelay) whyNot() string {
	for _, p := range o.Pods {
		if p.Status == nil || p.Surplus {
			continue
		}
		if p.Status.NotReady != "" {
			return fmt.Sprintf(" %s: %s.", p.Name, p.Status.NotReady)
		}
		for _, l := range p.Status.Listeners {
			if l.Error != "" {
				return fmt.Sprintf(" Listener %s of %s: %s.", l.Name, p.Name, l.Error)
			}
		}
	}
	return ""
}
