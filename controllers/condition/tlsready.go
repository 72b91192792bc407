package condition

import (
	"fmt"
	"time"

	"github.com/postrider/postrider/api/v1alpha1"
)

// expiresSoon is when a certificate's end becomes worth a word.
const expiresSoon = 14 * 24 * time.Hour

// tlsReady says that each listener has the certificate it needs.
func (o *MailRelay) tlsReady() decision {
	switch s, found := o.worst(UseTLS); {
	case !found:
	case s.Kept:
		return no(v1alpha1.ReasonSecretInvalid, s.Problem+" The last good copy is served.")
	case s.Missing:
		return no(v1alpha1.ReasonPending, s.Problem)
	default:
		return no(v1alpha1.ReasonSecretInvalid, s.Problem)
	}
	if c, ok := o.firstToExpire(); ok && c.Expires.Sub(o.Now) < expiresSoon {
		return o.expiring(c)
	}
	return yes(v1alpha1.ReasonCertificateValid, "Every listener has what it needs for TLS.")
}

func (o *MailRelay) expiring(c Certificate) decision {
	at := c.Expires.UTC().Format(time.RFC3339)
	if !o.Now.Before(c.Expires) {
		return no(v1alpha1.ReasonExpiringSoon, fmt.Sprintf("The certificate in the Secret %s expired at %s and is still served. Renew it.", c.Secret, at))
	}
	return yes(v1alpha1.ReasonExpiringSoon, fmt.Sprintf("The certificate in the Secret %s expires at %s. Renew it.", c.Secret, at))
}

func (o *MailRelay) firstToExpire() (first Certificate, ok bool) {
	for _, c := range o.Certificates {
		if !ok || c.Expires.Before(first.Expires) {
			first, ok = c, true
		}
	}
	return first, ok
}
