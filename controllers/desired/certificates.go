package desired

import (
	"cmp"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/foreign"
	"github.com/postrider/postrider/controllers/render"
)

// Certificates are those that cert-manager is asked for: one for each listener that names an issuer. Each has a Secret of
// its own, whose name never changes, so that another issuer replaces its contents and the listener always has one.
func Certificates(relay *v1alpha1.MailRelay) []client.Object {
	var list []client.Object
	for _, l := range relay.Spec.Listeners {
		if l.TLS != nil && l.TLS.IssuerRef != nil {
			list = append(list, certificate(relay, l))
		}
	}
	return list
}

func certificate(relay *v1alpha1.MailRelay, l v1alpha1.Listener) client.Object {
	name, issuer := render.CertificateName(relay.Name, l.Name), l.TLS.IssuerRef
	names := []string{string(relay.Spec.Hostname)}
	for _, n := range l.TLS.DNSNames {
		if n != relay.Spec.Hostname {
			names = append(names, string(n))
		}
	}
	return &foreign.Certificate{
		TypeMeta:   typeMeta("cert-manager.io/v1", "Certificate"),
		ObjectMeta: meta(Input{Relay: relay}, name),
		Spec: foreign.CertificateSpec{
			SecretName: name,
			DNSNames:   names,
			Usages:     []string{"digital signature", "key encipherment", "server auth"},
			IssuerRef: foreign.IssuerRef{
				Name: string(issuer.Name), Kind: cmp.Or(issuer.Kind, "Issuer"), Group: cmp.Or(string(issuer.Group), foreign.CertManager.Group),
			},
		},
	}
}
