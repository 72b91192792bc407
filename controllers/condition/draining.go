package condition

import (
	"strings"
)

// Draining says that surplus pods, or those of a relay being deleted, deliver what they have. It is present
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
	return yes(ReasonWaitingForDelivery, "No new mail goes to "+strings.Join(names, ", ")+"; they go once their queues are empty.")
}
