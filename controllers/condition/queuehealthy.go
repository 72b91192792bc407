package condition

import (
	"fmt"
	"strings"
	"time"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/status"
)

// backlogAfter is the age of a backlog where the relay sends no delay warnings.
const backlogAfter = 4 * time.Hour

// queueHealthy says that mail flows: no disk is full, and no destination's oldest message has waited longer than the delay
// warning takes. A pod that cannot be asked makes it unknown.
func (o *MailRelay) queueHealthy() decision {
	if len(o.Stranded) > 0 {
		return no(v1alpha1.ReasonStrandedMail, "These volume claims hold mail, or may, and have no pod that delivers it: "+strings.Join(o.Stranded, ", ")+o.salvage())
	}
	if len(o.Lost) > 0 {
		return no(v1alpha1.ReasonNodeLost, strings.Join(o.Lost, " "))
	}
	if len(o.Pods) == 0 {
		return unknown(v1alpha1.ReasonStatusUnavailable, "There is no pod that could be asked.")
	}
	if names := o.fullDisks(); len(names) > 0 {
		return no(v1alpha1.ReasonDiskPressure, "The volumes of these pods are almost full: "+strings.Join(names, ", ")+". They deliver what they have and accept "+
			"nothing. Raise spec.queue.storage.size, or see what fills the queue.")
	}
	if names := o.unreachable(); len(names) > 0 {
		return unknown(v1alpha1.ReasonStatusUnavailable, "What these pods hold is not known: "+strings.Join(names, ", ")+".")
	}
	if d, pod, ok := o.backlog(); ok {
		return no(v1alpha1.ReasonBacklogged, fmt.Sprintf("Mail for %s has waited since %s in %s: %s.", d.Domain, d.Oldest.UTC().Format(time.RFC3339), pod, d.Reason))
	}
	return yes(v1alpha1.ReasonHealthy, "Mail flows.")
}

// fullDisks names the pods that accept nothing for want of room.
func (o *MailRelay) fullDisks() []string {
	var names []string
	for _, p := range o.Pods {
		if p.Status != nil && p.Status.DiskLow {
			names = append(names, p.Name)
		}
	}
	return names
}

// salvage says how claims without a pod get one.
func (o *MailRelay) salvage() string {
	if o.Deleting {
		return ". A MailRelay made again as " + o.Relay.Name + " takes them up."
	}
	return ". One that was lost gets its pod back; one that was given up (onTimeout: Force) gets it when replicas is raised."
}

// backlog is the destination whose mail has waited longest, if that is too long. Mail that an admin holds is
// meant to wait.
func (o *MailRelay) backlog() (worst status.Destination, pod string, ok bool) {
	limit := backlogAfter
	if s := o.Relay.Spec.Queue.DelayWarningSeconds; s != nil && *s > 0 {
		limit = time.Duration(*s) * time.Second
	}
	for _, p := range o.Pods {
		for _, d := range p.Status.Slowest {
			late := d.Oldest != nil && d.Reason != status.Held && o.Now.Sub(*d.Oldest) > limit
			if late && (!ok || d.Oldest.Before(*worst.Oldest)) {
				worst, pod, ok = d, p.Name, true
			}
		}
	}
	return worst, pod, ok
}
