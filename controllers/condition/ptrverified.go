package condition

import "github.com/postrider/postrider/api/v1alpha1"

// Reverse is the verdict on the names of the addresses that mail leaves from.
type Reverse struct{ Reason, Message string }

// ptrVerified says that receivers find a name for each address that mail leaves from. It gates nothing. Where the spec names
// no such address it is absent.
func (o *MailRelay) ptrVerified() decision {
	switch o.Reverse.Reason {
	case "":
		return decision{}
	case v1alpha1.ReasonForwardConfirmed:
		return yes(o.Reverse.Reason, o.Reverse.Message)
	case v1alpha1.ReasonUnknown:
		return unknown(o.Reverse.Reason, o.Reverse.Message)
	}
	return no(o.Reverse.Reason, o.Reverse.Message)
}
