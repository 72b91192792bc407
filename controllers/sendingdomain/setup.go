package sendingdomain

import (
	"context"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/condition"
	"github.com/postrider/postrider/controllers/index"
)

// concurrent is how many domains are reconciled at the same time. Most of the time is spent waiting for DNS, up to half a minute
// where it gives no answer: some hundred such domains must not keep ten thousand others waiting.
const concurrent = 64

// SetUp adds the controller to a manager. A domain is looked at again when it changes, when its relay does, and
// when the claim of another domain on that relay may have.
// What it may do stands in config/rbac/role.yaml, and tests run it with just that.
func (r *Reconciler) SetUp(mgr ctrl.Manager) error {
	spec := builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))
	return ctrl.NewControllerManagedBy(mgr).
		Named("sendingdomain").
		For(&v1alpha1.SendingDomain{}, spec).
		Watches(&v1alpha1.MailRelay{}, handler.EnqueueRequestsFromMapFunc(r.domainsOfRelay), spec).
		Watches(&v1alpha1.SendingDomain{}, handler.EnqueueRequestsFromMapFunc(r.siblings), builder.WithPredicates(claimChanged())).
		WithOptions(controller.Options{MaxConcurrentReconciles: concurrent}).
		Complete(r)
}

func (r *Reconciler) domainsOfRelay(ctx context.Context, o client.Object) []ctrl.Request {
	return r.requests(ctx, o.GetNamespace(), o.GetName(), func(*v1alpha1.SendingDomain) bool { return true })
}

// siblings are the other SendingDomains for the same domain on the same relay.
func (r *Reconciler) siblings(ctx context.Context, o client.Object) []ctrl.Request {
	d, ok := o.(*v1alpha1.SendingDomain)
	if !ok {
		return nil
	}
	return r.requests(ctx, d.Namespace, string(d.Spec.RelayRef.Name), func(s *v1alpha1.SendingDomain) bool {
		return s.Spec.Domain == d.Spec.Domain && s.Name != d.Name
	})
}

func (r *Reconciler) requests(ctx context.Context, namespace, relay string, wanted func(*v1alpha1.SendingDomain) bool) []ctrl.Request {
	var list v1alpha1.SendingDomainList
	if err := r.Client.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{index.DomainRelay: relay}); err != nil {
		log.FromContext(ctx).Error(err, "listing the SendingDomains of a relay")
		return nil
	}
	var requests []ctrl.Request
	for i := range list.Items {
		if wanted(&list.Items[i]) {
			requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
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
