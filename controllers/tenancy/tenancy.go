// Package tenancy owns the look-ups behind the question which SendingDomains a MailRelay admits: the objects that name
// it, in all namespaces, and the labels of these. Package claim decides. It refuses to say why one is not admitted: that
// may be a matter of another tenant.
package tenancy

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/claim"
	"github.com/postrider/postrider/controllers/index"
)

// Admission finds the SendingDomains that relays admit. It may be used by many goroutines.
type Admission struct {
	// Client reads from caches.
	Client client.Reader
	// Namespaced says that the operator may not read namespaces: a relay then admits its own alone.
	Namespaced bool
}

// Relay is the MailRelay that a SendingDomain names; nil if there is none. A relay of another namespace that does not
// admit it is as good as none, so that nobody learns which there are.
func (a Admission) Relay(ctx context.Context, d *v1alpha1.SendingDomain) (relay *v1alpha1.MailRelay, allowed bool, err error) {
	key := claim.Relay(d)
	if a.Namespaced && key.Namespace != d.Namespace {
		return nil, false, nil
	}
	relay = &v1alpha1.MailRelay{}
	if err := a.Client.Get(ctx, key, relay); apierrors.IsNotFound(err) {
		return nil, false, nil
	} else if err != nil {
		return nil, false, fmt.Errorf("reading MailRelay %s: %w", key, err)
	}
	allowed, err = a.allows(ctx, relay, d, map[string]map[string]string{})
	if err != nil || !allowed && key.Namespace != d.Namespace {
		return nil, false, err
	}
	return relay, allowed, nil
}

// Domains are the SendingDomains that a relay admits.
func (a Admission) Domains(ctx context.Context, relay *v1alpha1.MailRelay) ([]v1alpha1.SendingDomain, error) {
	return a.list(ctx, relay, index.DomainRelay, client.ObjectKeyFromObject(relay).String())
}

// Claims are those of them that name one domain.
func (a Admission) Claims(ctx context.Context, relay *v1alpha1.MailRelay, domain v1alpha1.DomainName) ([]v1alpha1.SendingDomain, error) {
	return a.list(ctx, relay, index.DomainClaim, index.Claim(client.ObjectKeyFromObject(relay), domain))
}

func (a Admission) list(ctx context.Context, relay *v1alpha1.MailRelay, field, value string) ([]v1alpha1.SendingDomain, error) {
	var list v1alpha1.SendingDomainList
	if err := a.Client.List(ctx, &list, client.MatchingFields{field: value}); err != nil {
		return nil, fmt.Errorf("listing the SendingDomains of %s/%s: %w", relay.Namespace, relay.Name, err)
	}
	var admitted []v1alpha1.SendingDomain
	known := map[string]map[string]string{}
	for i := range list.Items {
		ok, err := a.allows(ctx, relay, &list.Items[i], known)
		if err != nil {
			return nil, err
		}
		if ok {
			admitted = append(admitted, list.Items[i])
		}
	}
	return admitted, nil
}

// allows remembers the labels that it asks for in known.
func (a Admission) allows(ctx context.Context, r *v1alpha1.MailRelay, d *v1alpha1.SendingDomain, known map[string]map[string]string) (bool, error) {
	if a.Namespaced && d.Namespace != r.Namespace {
		return false, nil
	}
	if !claim.NeedsLabels(r, d.Namespace) {
		return claim.Allows(r, d, nil), nil
	}
	labels, asked := known[d.Namespace]
	if !asked {
		namespace := Namespace()
		err := a.Client.Get(ctx, types.NamespacedName{Name: d.Namespace}, namespace)
		if client.IgnoreNotFound(err) != nil {
			return false, fmt.Errorf("reading Namespace %s: %w", d.Namespace, err)
		}
		labels = namespace.Labels
		known[d.Namespace] = labels
	}
	return claim.Allows(r, d, labels), nil
}

// Namespace is an empty Namespace of which only the metadata are read and watched.
func Namespace() *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	return m
}

// Relabelled passes a namespace whose labels have changed, or that was made just now: nothing else of one changes what
// is admitted.
type Relabelled struct {
	predicate.LabelChangedPredicate
}

// Create passes a namespace that was made just now: what is in it may have been seen before it was, and then counted as
// without labels. Those that there are at the start are known before anything is.
func (Relabelled) Create(e event.CreateEvent) bool { return !e.IsInInitialList }

// Delete passes nothing: what was in the namespace has gone before it.
func (Relabelled) Delete(event.DeleteEvent) bool { return false }

// Generic passes nothing.
func (Relabelled) Generic(event.GenericEvent) bool { return false }
