package mailrelay

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/desired"
	"github.com/postrider/postrider/controllers/pki"
)

// heir is the relay that gets the mail of one that is being deleted (onDelete: Handoff).
type heir struct {
	name string
	pods []pod
	// problem is why it gets none; empty when it may.
	problem string
}

// heirName is the relay that a relay gives its mail to, now that it is being deleted; empty for none.
func heirName(relay *v1alpha1.MailRelay) string {
	drain := &relay.Spec.Drain
	if relay.DeletionTimestamp == nil || drain.OnDelete != v1alpha1.DeleteHandoff || drain.HandoffTo == nil {
		return ""
	}
	return string(drain.HandoffTo.Name)
}

// lookHeir finds the pods that get the mail of a relay that is being deleted.
func (p *pass) lookHeir(ctx context.Context) error {
	name := heirName(p.relay)
	if name == "" {
		return nil
	}
	to, err := get(ctx, p.Client, &v1alpha1.MailRelay{}, p.relay.Namespace, name)
	if err != nil {
		return err
	}
	p.seen.heir = &heir{name: name, problem: refusal(to, name)}
	if p.seen.heir.problem != "" {
		return nil
	}
	var pods corev1.PodList
	if err := p.Client.List(ctx, &pods, client.InNamespace(p.relay.Namespace), client.MatchingLabels(desired.Selector(name))); err != nil {
		return fmt.Errorf("listing the pods of MailRelay %s: %w", name, err)
	}
	goes := func(ordinal int32) bool { return ordinal >= to.Spec.Replicas }
	p.seen.heir.pods = podsOf(pods.Items, name, goes, "")
	steer(to, p.seen.heir.pods)
	return nil
}

// refusal says why a relay takes no mail of another; empty when it does.
func refusal(to *v1alpha1.MailRelay, name string) string {
	switch {
	case to == nil:
		return fmt.Sprintf("spec.drain.handoffTo: there is no MailRelay %s", name)
	case to.DeletionTimestamp != nil:
		return fmt.Sprintf("spec.drain.handoffTo: MailRelay %s is being deleted itself", name)
	case to.Spec.Reconciliation == v1alpha1.ReconciliationPaused:
		return fmt.Sprintf("spec.drain.handoffTo: MailRelay %s is paused, so its pods are not told to take mail", name)
	}
	return ""
}

// givers are the relays that are being deleted and give their mail to this one, by the names in their certificates.
func (p *pass) givers(ctx context.Context) ([]string, error) {
	if p.relay.DeletionTimestamp != nil {
		return nil, nil
	}
	var list v1alpha1.MailRelayList
	if err := p.Client.List(ctx, &list, client.InNamespace(p.relay.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing MailRelays: %w", err)
	}
	var names []string
	for i := range list.Items {
		if r := &list.Items[i]; heirName(r) == p.relay.Name && controllerutil.ContainsFinalizer(r, finalizer) {
			names = append(names, pki.ServerName(r.Namespace, r.Name))
		}
	}
	slices.Sort(names)
	return names, nil
}
