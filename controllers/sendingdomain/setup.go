package sendingdomain

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/claim"
	"github.com/postrider/postrider/controllers/condition"
	"github.com/postrider/postrider/controllers/index"
	"github.com/postrider/postrider/controllers/tenancy"
)

// concurrent is how many domains are reconciled at the same time. Most of the time is spent waiting for DNS, up to half a minute
// where it gives no answer: some hundred such domains must not keep ten thousand others waiting.
const concurrent = 64

// SetUp adds the controller to a manager. A domain is looked at again when it changes, when its relay does, and
// when the claim of another domain on that relay may have.
// What it may do stands in config/rbac/role.yaml, and tests run it with just that.
func (r *Reconciler) SetUp(mgr ctrl.Manager) error {
	spec := builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))
	b := ctrl.NewControllerManagedBy(mgr)
	if !r.Admission.Namespaced {
		b.WatchesMetadata(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(r.domainsOfNamespace), builder.WithPredicates(tenancy.Relabelled{}))
	}
	return b.
		Named("sendingdomain").
		For(&v1alpha1.SendingDomain{}, spec).
		Watches(&v1alpha1.MailRelay{}, handler.EnqueueRequestsFromMapFunc(r.domainsOfRelay), spec).
		Watches(&v1alpha1.SendingDomain{}, handler.EnqueueRequestsFromMapFunc(r.siblings), builder.WithPredicates(claimChanged())).
		WithOptions(controller.Options{MaxConcurrentReconciles: concurrent}).
		Complete(r)
}

func (r *Reconciler) domainsOfRelay(ctx context.Context, o client.Object) []ctrl.Request {
	return r.requests(ctx, client.MatchingFields{index.DomainRelay: client.ObjectKeyFromObject(o).String()})
}

// siblings are the SendingDomains for the same domain on the same relay.
func (r *Reconciler) siblings(ctx context.Context, o client.Object) []ctrl.Request {
	d, ok := o.(*v1alpha1.SendingDomain)
	if !ok {
		return nil
	}
	requests := r.requests(ctx, client.MatchingFields{index.DomainClaim: index.Claim(claim.Relay(d), d.Spec.Domain)})
	return slices.DeleteFunc(requests, func(other ctrl.Request) bool { return other.NamespacedName == client.ObjectKeyFromObject(d) })
}

// domainsOfNamespace are those that a namespace's labels may let send, or not any more.
func (r *Reconciler) domainsOfNamespace(ctx context.Context, o client.Object) []ctrl.Request {
	return r.requests(ctx, client.InNamespace(o.GetName()))
}

func (r *Reconciler) requests(ctx context.Context, which client.ListOption) []ctrl.Request {
	var list v1alpha1.SendingDomainList
	if err := r.Client.List(ctx, &list, which); err != nil {
		log.FromContext(ctx).Error(err, "listing SendingDomains")
		return nil
	}
	var requests []ctrl.Request
	for i := range list.Items {
		requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}
	return requests
}

// claimChanged passes what claims are judged by.
func claimChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*v1alpha1.SendingDomain)
		after, alsoOK := e.ObjectNew.(*v1alpha1.SendingDomain)
		return !ok || !alsoOK || before.Generation != after.Generation || !condition.Same(before.Status.Conditions, after.Status.Conditions)
	}}
}
