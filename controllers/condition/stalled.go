package condition

import (
	"fmt"
	"time"

	"github.com/postrider/postrider/api/v1alpha1"
)

// stuckAfter is how long a new pod may take to become ready.
const stuckAfter = 10 * time.Minute

// stalled says that the relay gets no further until somebody changes something.
func (o *MailRelay) stalled() decision {
	if o.Deleting || o.paused().isTrue() {
		return decision{}
	}
	if o.Refused != "" {
		return yes(v1alpha1.ReasonInvalidConfiguration, o.Refused)
	}
	for _, p := range o.Pods {
		if p.Updated && !p.Ready && !p.Surplus && o.Now.Sub(p.Created) > stuckAfter {
			return yes(v1alpha1.ReasonRolloutStuck, fmt.Sprintf("Pod %s has not become ready in ten minutes.%s See kubectl describe pod %s.", p.Name, p.says(), p.Name))
		}
	}
	return decision{}
}

// says is what a pod says of itself that should not be sent mail.
func (p Pod) says() string {
	if p.Status == nil || p.Status.NotReady == "" {
		return ""
	}
	return " It says: " + p.Status.NotReady + "."
}
