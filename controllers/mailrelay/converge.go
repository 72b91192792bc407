package mailrelay

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/controllers/desired"
	"github.com/postrider/postrider/controllers/render"
)

// secretsAnnotation, on the relay's ConfigMap, names the Secrets that there are: the operator cannot list them.
const secretsAnnotation = "postrider.dev/secrets"

// converge renders the configuration and makes the objects as desired. What the API server refuses is for the
// status to say; all other trouble is an error, and tried again.
func (p *pass) converge(ctx context.Context, in render.Input) error {
	p.generation = p.seen.index.Generation
	p.pickBuild()
	if p.paused() && p.relay.DeletionTimestamp == nil {
		return nil
	}
	in.Format = p.format()
	files, err := render.Render(in)
	if err != nil {
		return err
	}
	next := files.Next(p.seen.index)
	encoded, err := render.EncodeIndex(next)
	if err != nil {
		return err
	}
	shares, err := p.encodeShares()
	if err != nil {
		return err
	}
	p.count = replicas(p.keep(), p.current(), p.mayGo)
	objects := desired.Objects(desired.Input{
		Relay: p.relay, Files: files, Index: encoded, Shares: shares, Replicas: p.count, ClaimSize: p.claimSize(),
		Image: p.build.image, Version: p.build.version, Kept: p.kept, OperatorNamespace: p.Namespace,
	})
	p.omitted, p.reshaped = files.Omitted, p.reshapes(objects)
	if err := p.annotate(objects, in, files, next.Generation); err != nil {
		return err
	}
	p.generation = next.Generation
	if err := errors.Join(p.takeUp(ctx), p.keepVolumes(ctx), p.releaseClaims(ctx, p.count)); err != nil {
		return err
	}
	if err := p.applyAll(ctx, objects); err != nil {
		return p.refusal(err)
	}
	p.issue(ctx)
	return errors.Join(p.prune(ctx, objects), p.grow(ctx))
}

func (p *pass) applyAll(ctx context.Context, objects []client.Object) error {
	for _, object := range objects {
		changed, err := p.Applier.Apply(ctx, object)
		if err != nil {
			return err
		}
		if _, isSecret := object.(*corev1.Secret); isSecret && changed {
			p.Secrets.Forget(object.GetNamespace(), object.GetName())
		}
	}
	return nil
}

// refusal keeps what the API server will refuse again for the status, and returns every other error.
func (p *pass) refusal(err error) error {
	if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsBadRequest(err) {
		p.refused = sentence(err.Error())
		return nil
	}
	return err
}

// drained says that the pod of an ordinal holds no mail and will get none. One that has started has a volume, whether or
// not we see its claim.
func (p *pass) drained(ordinal int32) bool {
	if pod := p.podOf(ordinal); pod != nil {
		return p.memory.drains[pod.UID].done() || pod.Status.PodIP == "" && p.neverUsed(ordinal)
	}
	return p.neverUsed(ordinal) || p.markOf(p.claimOf(ordinal)) == empty
}

// prune deletes what is desired no longer. The lists come from caches; Secrets are known by name.
func (p *pass) prune(ctx context.Context, objects []client.Object) error {
	var existing []client.Object
	for _, list := range []client.ObjectList{&corev1.ConfigMapList{}, &policyv1.PodDisruptionBudgetList{}, &networkingv1.NetworkPolicyList{}} {
		err := p.Client.List(ctx, list, client.InNamespace(p.relay.Namespace), client.MatchingLabels(desired.Selector(p.relay.Name)))
		if err != nil {
			return fmt.Errorf("listing what there is: %w", err)
		}
		existing = append(existing, itemsOf(list)...)
	}
	existing = append(existing, p.formerSecrets()...)
	return p.Applier.Prune(ctx, existing, objects)
}

func itemsOf(list client.ObjectList) []client.Object {
	var items []client.Object
	switch l := list.(type) {
	case *corev1.ConfigMapList:
		for i := range l.Items {
			items = append(items, &l.Items[i])
		}
	case *policyv1.PodDisruptionBudgetList:
		for i := range l.Items {
			items = append(items, &l.Items[i])
		}
	case *networkingv1.NetworkPolicyList:
		for i := range l.Items {
			items = append(items, &l.Items[i])
		}
	}
	return items
}

// formerSecrets are those that there were when the ConfigMap was last written. Others are passed over: who may write a
// ConfigMap must not have us delete Secrets.
func (p *pass) formerSecrets() []client.Object {
	if p.seen.config == nil {
		return nil
	}
	var secrets []client.Object
	for _, name := range strings.Fields(p.seen.config.Annotations[secretsAnnotation]) {
		if desired.IsSecret(p.relay.Name, name) {
			secrets = append(secrets, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.relay.Namespace, Name: name}})
		}
	}
	return secrets
}

// claimSize is the size in the StatefulSet's claim template, which cannot change; nil before there is one.
func (p *pass) claimSize() *resource.Quantity {
	if p.seen.statefulSet == nil || len(p.seen.statefulSet.Spec.VolumeClaimTemplates) == 0 {
		return nil
	}
	size := p.seen.statefulSet.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests[corev1.ResourceStorage]
	return &size
}
