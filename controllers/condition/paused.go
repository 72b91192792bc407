package condition

import "github.com/postrider/postrider/api/v1alpha1"

// paused says that the operator only reports.
func (o *MailRelay) paused() decision {
	if o.Deleting || o.Relay.Spec.Reconciliation != v1alpha1.ReconciliationPaused {
		return decision{}
	}
	return yes(v1alpha1.ReasonPaused, "The operator leaves the relay as it is. Set spec.reconciliation to Active to go on.")
}
