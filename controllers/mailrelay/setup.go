package mailrelay

import (
	"context"
	"reflect"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/claim"
	"github.com/postrider/postrider/controllers/desired"
	"github.com/postrider/postrider/controllers/tenancy"
)

// concurrent is how many relays are reconciled at the same time. Most of the time is spent waiting for answers, three seconds
// for those of pods that give none: 200 relays that each have one must not keep status from being as fresh as it should.
const concurrent = 64

// SetUp adds the controller to a manager, with everything that makes it look again: the relay's objects and
// pods, the domains and policies that refer to it, and the ServiceAccounts that may send through it.
// What it may do stands in config/rbac/role.yaml, and tests run it with just that.
func (r *Reconciler) SetUp(mgr ctrl.Manager) error {
	c, err := r.build(mgr)
	if err != nil {
		return err
	}
	r.Accounts.Tell(c, r.relaysOfAccount)
	r.Certificates.Tell(c, r.relayOfCertificate)
	return nil
}

func (r *Reconciler) build(mgr ctrl.Manager) (controller.Controller, error) {
	spec := builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))
	byLabel := handler.EnqueueRequestsFromMapFunc(relayByLabel)
	b := ctrl.NewControllerManagedBy(mgr)
	if !r.Admission.Namespaced {
		b.WatchesMetadata(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(r.relaysOfNamespace), builder.WithPredicates(tenancy.Relabelled{}))
	}
	return b.
		Named("mailrelay").
		For(&v1alpha1.MailRelay{}, spec).
		Owns(&appsv1.StatefulSet{}).
		Owns(&corev1.Service{}).
		Owns(&corev1.ServiceAccount{}).
		Owns(&corev1.ConfigMap{}).
		Owns(&policyv1.PodDisruptionBudget{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Owns(&networkingv1.NetworkPolicy{}).
		Watches(&corev1.Pod{}, byLabel, builder.WithPredicates(podChanged())).
		Watches(&corev1.PersistentVolumeClaim{}, byLabel).
		Watches(&v1alpha1.MailRelay{}, handler.EnqueueRequestsFromMapFunc(heirOf), spec).
		Watches(&v1alpha1.SendingDomain{}, handler.EnqueueRequestsFromMapFunc(relayOfDomain), builder.WithPredicates(domainChanged())).
		Watches(&v1alpha1.RateLimitPolicy{}, handler.EnqueueRequestsFromMapFunc(r.relaysOfPolicy), spec).
		WithOptions(controller.Options{MaxConcurrentReconciles: concurrent}).
		Build(r)
}

func requestFor(namespace, name string) ctrl.Request {
	return ctrl.Request{NamespacedName: client.ObjectKey{Namespace: namespace, Name: name}}
}

func relayByLabel(_ context.Context, o client.Object) []ctrl.Request {
	name := o.GetLabels()[desired.RelayLabel]
	if name == "" {
		return nil
	}
	return []ctrl.Request{requestFor(o.GetNamespace(), name)}
}

// heirOf is the relay that gets the mail of one that is being deleted.
func heirOf(_ context.Context, o client.Object) []ctrl.Request {
	r, ok := o.(*v1alpha1.MailRelay)
	if !ok || heirName(r) == "" {
		return nil
	}
	return []ctrl.Request{requestFor(r.Namespace, heirName(r))}
}

func relayOfDomain(_ context.Context, o client.Object) []ctrl.Request {
	d, ok := o.(*v1alpha1.SendingDomain)
	if !ok {
		return nil
	}
	return []ctrl.Request{{NamespacedName: claim.Relay(d)}}
}

// relaysOfNamespace are those that a namespace's labels may admit it to, or not any more.
func (r *Reconciler) relaysOfNamespace(ctx context.Context, o client.Object) []ctrl.Request {
	var list v1alpha1.MailRelayList
	if r.Client.List(ctx, &list) != nil {
		return nil // the next poll sees it
	}
	var requests []ctrl.Request
	for i := range list.Items {
		if relay := &list.Items[i]; claim.NeedsLabels(relay, o.GetName()) {
			requests = append(requests, requestFor(relay.Namespace, relay.Name))
		}
	}
	return requests
}

// relaysOfPolicy are the relays that a policy targets, and those that its SendingDomains send through.
func (r *Reconciler) relaysOfPolicy(ctx context.Context, o client.Object) []ctrl.Request {
	p, ok := o.(*v1alpha1.RateLimitPolicy)
	if !ok {
		return nil
	}
	var requests []ctrl.Request
	for _, ref := range p.Spec.TargetRefs {
		key := client.ObjectKey{Namespace: p.Namespace, Name: string(ref.Name)}
		if ref.Kind == v1alpha1.TargetSendingDomain {
			var d v1alpha1.SendingDomain
			if r.Client.Get(ctx, key, &d) != nil {
				continue // the domain's own events lead to its relay
			}
			key = claim.Relay(&d)
		}
		requests = append(requests, ctrl.Request{NamespacedName: key})
	}
	return requests
}

// podChanged passes what matters of a pod: its labels, its state, its end. Not our own annotation.
func podChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*corev1.Pod)
		after, alsoOK := e.ObjectNew.(*corev1.Pod)
		return !ok || !alsoOK ||
			!reflect.DeepEqual(before.Labels, after.Labels) ||
			!reflect.DeepEqual(before.Status, after.Status) ||
			before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero()
	}}
}

// domainChanged passes what a configuration is made of: the spec, the key that signs, and the claim's proof.
func domainChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*v1alpha1.SendingDomain)
		after, alsoOK := e.ObjectNew.(*v1alpha1.SendingDomain)
		return !ok || !alsoOK ||
			before.Generation != after.Generation ||
			before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero() ||
			before.Status.DKIM != after.Status.DKIM ||
			!reflect.DeepEqual(before.Status.Conditions, after.Status.Conditions)
	}}
}
