package condition

import "github.com/postrider/postrider/api/v1alpha1"

// available says that mail is taken at all.
func (o *MailRelay) available() decision {
	if o.serving() == 0 {
		return no(v1alpha1.ReasonNoReadyPods, "No pod serves: clients cannot hand over mail.")
	}
	return yes(v1alpha1.ReasonMinimumReplicasAvailable, "At least one pod serves.")
}
