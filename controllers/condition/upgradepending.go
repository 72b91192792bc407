package condition

import "github.com/postrider/postrider/api/v1alpha1"

// upgradePending says that the pods run another version than the operator brings. It is present only while they do.
func (o *MailRelay) upgradePending() decision {
	u := o.Upgrade
	switch {
	case u == nil || o.Deleting:
		return decision{}
	case u.Manual:
		return yes(v1alpha1.ReasonManualUpgrade, "The pods run "+u.From+", the operator brings "+u.To+". Nothing is restarted, for spec.upgrade is Manual: "+
			"set spec.version to the version that they shall run, or spec.upgrade to Automatic.")
	}
	return yes(v1alpha1.ReasonWaitingForTurn, "The pods run "+u.From+", the operator brings "+u.To+". Few relays are upgraded at a time; this one waits for its turn.")
}
