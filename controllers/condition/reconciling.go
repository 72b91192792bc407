package condition

import (
	"fmt"

	"github.com/postrider/postrider/api/v1alpha1"
)

// reconciling says what is still on its way: pods that are missing, outdated or surplus, or volumes that grow.
func (o *MailRelay) reconciling() decision {
	if o.Deleting || o.stalled().isTrue() || o.paused().isTrue() {
		return decision{}
	}
	var wanted, surplus, outdated, unready int
	for _, p := range o.Pods {
		switch {
		case p.Surplus:
			surplus++
		case !p.Updated:
			wanted, outdated = wanted+1, outdated+1
		case !p.Ready:
			wanted, unready = wanted+1, unready+1
		default:
			wanted++
		}
	}
	switch {
	case outdated > 0:
		return yes(v1alpha1.ReasonRollingOut, fmt.Sprintf("%d pods have the new version or shape, %d are still to be replaced.", wanted-outdated, outdated))
	case wanted < o.replicas() && o.rolledPod():
		return yes(v1alpha1.ReasonRollingOut, "A pod is being replaced.")
	case wanted < o.replicas() || unready > 0:
		return yes(v1alpha1.ReasonScalingUp, fmt.Sprintf("%d of %d pods are there and ready.", wanted-unready, o.replicas()))
	case surplus > 0:
		return yes(v1alpha1.ReasonScalingDown, fmt.Sprintf("%d surplus pods are being emptied, then go.", surplus))
	case o.Resizing:
		return yes(v1alpha1.ReasonResizingVolumes, "A volume is growing.")
	}
	return decision{}
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
