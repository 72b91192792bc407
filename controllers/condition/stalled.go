package condition

import (
	"fmt"
	"time"

	"github.com/postrider/postrider/api/v1alpha1"
)

const (
	// stuckAfter is how long a new pod may take to become ready: opening a large spool takes a while.
	stuckAfter = 10 * time.Minute
	// hopelessAfter is how long it may take where waiting does not help.
	hopelessAfter = 2 * time.Minute
)

// stalled says that the relay gets no further until somebody changes something.
func (o *MailRelay) stalled() decision {
	if o.Deleting || o.paused().isTrue() {
		return decision{}
	}
	if o.Refused != "" {
		return yes(v1alpha1.ReasonInvalidConfiguration, o.Refused)
	}
	for _, p := range o.Pods {
		if p.stuck(o.Now) {
			return yes(v1alpha1.ReasonRolloutStuck, p.whyStuck())
		}
	}
	return o.volumesStalled()
}

// volumesStalled says that the volumes cannot become as large as the spec says.
func (o *MailRelay) volumesStalled() decision {
	size := o.Relay.Spec.Queue.Storage.Size.String()
	switch {
	case o.Volumes.Larger != "":
		return yes(v1alpha1.ReasonVolumeShrinkRejected, fmt.Sprintf("The volumes have %s, and a volume cannot shrink to %s. "+
			"Set spec.queue.storage.size back to what it was, or more.", o.Volumes.Larger, size))
	case o.Volumes.Refused != "":
		return yes(v1alpha1.ReasonVolumeGrowthRefused, fmt.Sprintf("The volumes cannot grow to %s: %s. Set allowVolumeExpansion: true on their StorageClass, "+
			"if its storage can do it, and they grow by themselves; mail flows meanwhile.", size, o.Volumes.Refused))
	}
	return decision{}
}

// stuck says that a pod of the newest shape does not become ready.
func (p *Pod) stuck(now time.Time) bool {
	limit := stuckAfter
	if p.Hopeless {
		limit = hopelessAfter
	}
	since := p.Created
	if p.Unready.After(since) {
		since = p.Unready
	}
	return p.Updated && !p.Ready && !p.Surplus && now.Sub(since) > limit
}

func (p *Pod) whyStuck() string {
	why := fmt.Sprintf("See kubectl describe pod %s.", p.Name)
	switch {
	case p.Trouble != "":
		why = p.Trouble
	case p.Status != nil && p.Status.NotReady != "":
		why = "It says: " + p.Status.NotReady + "."
	}
	return fmt.Sprintf("Pod %s does not become ready, and no other is replaced meanwhile. %s It is replaced first when the spec is corrected.", p.Name, why)
}
