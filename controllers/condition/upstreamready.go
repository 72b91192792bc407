package condition

import "github.com/postrider/postrider/api/v1alpha1"

// upstreamReady says that the smart hosts' credentials and certificates are there. It never gates readiness:
// without them mail waits, and nothing is refused.
func (o *MailRelay) upstreamReady() decision {
	switch s, found := o.worst(UseUpstream); {
	case found && s.Kept:
		return no(v1alpha1.ReasonSecretInvalid, s.Problem+" The last good copy is in use.")
	case found:
		return no(v1alpha1.ReasonSecretInvalid, s.Problem+" Mail for the smart host waits.")
	}
	return yes(v1alpha1.ReasonCredentialsPresent, "Every smart host has the credentials it needs.")
}
