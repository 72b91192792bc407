package condition

import (
	"fmt"

	"github.com/postrider/postrider/api/v1alpha1"
)

// limited says what a relay goes without where the operator is installed for some namespaces only.
func (o *MailRelay) limited() decision {
	if !o.Namespaced {
		return decision{}
	}
	message := "The operator is installed for some namespaces only: when this one is deleted, its volumes go with the mail on them, " +
		"the volume of a lost node is taken up elsewhere only when an admin says that it is detached, and ServiceAccounts of other namespaces cannot send."
	if from := o.Relay.Spec.AllowedDomains.Namespaces.From; from == v1alpha1.NamespacesSelector || from == v1alpha1.NamespacesAll {
		message += fmt.Sprintf(" spec.allowedDomains.namespaces.from is %s, and only SendingDomains of this namespace are admitted.", from)
	}
	return yes(v1alpha1.ReasonNamespacedInstall, message)
}
