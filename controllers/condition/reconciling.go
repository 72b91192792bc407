package condition

import (
	"fmt"
	"strings"

	"github.com/postrider/postrider/api/v1alpha1"
)

// reconciling says what is still on its way: pods that are missing, outdated or surplus, or volumes that grow.
func (o *MailRelay) reconciling() decision {
	if o.Deleting || o.stalled().isTrue() || o.paused().isTrue() {
		return decision{}
	}
	c := o.census()
	lacking := c.wanted < o.replicas() || c.unready > 0
	switch {
	case c.outdated > 0:
		return yes(v1alpha1.ReasonRollingOut, fmt.Sprintf("%d pods have the new version or shape, %d are still to be replaced.", c.wanted-c.outdated, c.outdated)+o.waitsFor())
	case lacking && o.rolledPod():
		return yes(v1alpha1.ReasonRollingOut, "The last pod is being replaced.")
	case lacking:
		return yes(v1alpha1.ReasonScalingUp, fmt.Sprintf("%d of %d pods are there and ready.", c.wanted-c.unready, o.replicas()))
	case c.surplus > 0:
		return yes(v1alpha1.ReasonScalingDown, fmt.Sprintf("%d surplus pods are being emptied, then go.", c.surplus))
	case o.Volumes.Growing:
		return yes(v1alpha1.ReasonResizingVolumes, "The volumes grow to "+o.Relay.Spec.Queue.Storage.Size.String()+".")
	case o.Reshaped:
		return yes(v1alpha1.ReasonRollingOut, "The shape of the pods has changed; those that are outdated are about to be replaced.")
	}
	return decision{}
}

// census counts pods: those that are to be there, and of them the outdated and the others that are not ready.
type census struct{ wanted, outdated, unready, surplus int }

func (o *MailRelay) census() (c census) {
	for _, p := range o.Pods {
		if p.Surplus {
			c.surplus++
			continue
		}
		c.wanted++
		switch {
		case !p.Updated:
			c.outdated++
		case !p.Ready:
			c.unready++
		}
	}
	return c
}

// rolledPod says that a rollout was under way when the status was last written: the pod that is missing now is
// the one it takes.
func (o *MailRelay) rolledPod() bool {
	for _, c := range o.Relay.Status.Conditions {
		if c.Type == v1alpha1.ConditionReconciling {
			return c.Reason == v1alpha1.ReasonRollingOut
		}
	}
	return false
}

// waitsFor names the pods that have to serve, and say so, before the next one is replaced.
func (o *MailRelay) waitsFor() string {
	var names []string
	for _, p := range o.Pods {
		if !p.Surplus && (!p.Ready || p.Status == nil) {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return " The next waits until these are ready and answer: " + strings.Join(names, ", ") + "."
}
