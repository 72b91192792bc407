package ratelimitpolicy

import (
	"context"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/index"
)

// SetUp adds the controller to a manager. A policy is looked at again when it changes, when a target comes,
// goes or means another relay, and when the pods of a relay report another configuration.
// What it may do stands in config/rbac/role.yaml, and tests run it with just that.
func (r *Reconciler) SetUp(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("ratelimitpolicy").
		For(&v1alpha1.RateLimitPolicy{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.MailRelay{}, handler.EnqueueRequestsFromMapFunc(r.policiesOfRelay), builder.WithPredicates(podsChanged())).
		Watches(&v1alpha1.SendingDomain{}, handler.EnqueueRequestsFromMapFunc(r.policiesOfDomain), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Complete(r)
}

// policiesOfRelay are those that target a relay or one of its domains.
func (r *Reconciler) policiesOfRelay(ctx context.Context, o client.Object) []ctrl.Request {
	requests := r.policiesOf(ctx, o.GetNamespace(), v1alpha1.TargetMailRelay, o.GetName())
	var domains v1alpha1.SendingDomainList
	if err := r.Client.List(ctx, &domains, client.MatchingFields{index.DomainRelay: client.ObjectKeyFromObject(o).String()}); err != nil {
		log.FromContext(ctx).Error(err, "listing the SendingDomains of a relay")
	}
	for _, d := range domains.Items {
		requests = append(requests, r.policiesOf(ctx, d.Namespace, v1alpha1.TargetSendingDomain, d.Name)...)
	}
	return requests
}

func (r *Reconciler) policiesOfDomain(ctx context.Context, o client.Object) []ctrl.Request {
	return r.policiesOf(ctx, o.GetNamespace(), v1alpha1.TargetSendingDomain, o.GetName())
}

func (r *Reconciler) policiesOf(ctx context.Context, namespace string, kind v1alpha1.TargetKind, name string) []ctrl.Request {
	var list v1alpha1.RateLimitPolicyList
	if err := r.Client.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{index.PolicyTarget: index.Target(kind, name)}); err != nil {
		log.FromContext(ctx).Error(err, "listing the RateLimitPolicies of a target")
		return nil
	}
	var requests []ctrl.Request
	for i := range list.Items {
		requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}
	return requests
}

// podsChanged passes what a relay's pods have in force.
func podsChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*v1alpha1.MailRelay)
		after, alsoOK := e.ObjectNew.(*v1alpha1.MailRelay)
		return !ok || !alsoOK || !equality.Semantic.DeepEqual(generations(before), generations(after))
	}}
}

func generations(relay *v1alpha1.MailRelay) map[string]int64 {
	in := map[string]int64{}
	for _, pod := range relay.Status.Pods {
		in[pod.Name] = -1
		if pod.ConfigGeneration != nil {
			in[pod.Name] = *pod.ConfigGeneration
		}
	}
	return in
}
