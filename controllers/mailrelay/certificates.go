package mailrelay

import (
	"context"
	"fmt"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/postrider/postrider/controllers/desired"
	"github.com/postrider/postrider/controllers/foreign"
	"github.com/postrider/postrider/controllers/optional"
	"github.com/postrider/postrider/controllers/render"
)

// issue has cert-manager issue the certificates of listeners that name an issuer. Its trouble is not the relay's: where it is
// down, or was taken away, the certificates that there are serve on, TLSReady tells when they end, and the next look tries again.
func (p *pass) issue(ctx context.Context) {
	err := p.certify(ctx)
	if err = p.refusal(err); err != nil && !optional.Missing(err) {
		log.FromContext(ctx).Error(err, "asking cert-manager for certificates")
	}
}

// certify asks for the certificates, and gives up those that no listener wants any more. Without cert-manager it does
// nothing: notIssued says so.
func (p *pass) certify(ctx context.Context) error {
	wanted := desired.Certificates(p.relay)
	there, err := p.Certificates.There()
	if err != nil || !there {
		return err
	}
	if err := p.applyAll(ctx, wanted); err != nil {
		return err
	}
	var list foreign.CertificateList
	err = p.Certificates.List(ctx, &list, client.InNamespace(p.relay.Namespace), client.MatchingLabels(desired.Selector(p.relay.Name)))
	if err != nil {
		return err
	}
	var existing []client.Object
	for i := range list.Items {
		existing = append(existing, &list.Items[i])
	}
	return p.Applier.Prune(ctx, existing, wanted)
}

// notIssued says why there is no Secret for a listener that names an issuer.
func (p *pass) notIssued(ctx context.Context, need render.Need) (string, error) {
	there, err := p.Certificates.There()
	if err != nil {
		return "", err
	}
	if !there {
		return need.Field + ": cert-manager is not installed in this cluster. Install it, or give secretRef instead.", nil
	}
	c := &foreign.Certificate{}
	found, err := p.Certificates.Get(ctx, client.ObjectKey{Namespace: p.relay.Namespace, Name: need.Secret}, c)
	if err != nil {
		return "", err
	}
	problem := fmt.Sprintf("%s: cert-manager has not issued the Certificate %s yet.", need.Field, need.Secret)
	if why := c.Problem(); found && why != "" {
		problem += " It says: " + why
	}
	return problem, nil
}

// relayOfCertificate is the relay that a Certificate is for. Its Secret is read anew: it may have been renewed.
func (r *Reconciler) relayOfCertificate(ctx context.Context, o client.Object) []ctrl.Request {
	if c, ok := o.(*foreign.Certificate); ok {
		r.Secrets.Forget(c.Namespace, c.Spec.SecretName)
	}
	return relayByLabel(ctx, o)
}
