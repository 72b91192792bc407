// Package ratelimitpolicy owns the status of a RateLimitPolicy: whether its targets are there, and whether it is
// in force in every pod. It carries no limit anywhere: that is done with the configuration of the relays.
package ratelimitpolicy

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/apply"
	"github.com/postrider/postrider/controllers/condition"
	"github.com/postrider/postrider/controllers/programmed"
	"github.com/postrider/postrider/controllers/render"
	"github.com/postrider/postrider/controllers/tenancy"
)

// Waiting policies are looked at again at this pace, besides when their relays' status changes.
const (
	again  = 2 * time.Second
	atRest = 5 * time.Minute
)

// Options are what a Reconciler works with.
type Options struct {
	// Client reads from caches and writes.
	Client client.Client
	// Admission finds the relays of SendingDomains.
	Admission tenancy.Admission
	Events    events.EventRecorder
	Now       func() time.Time
}

// Reconciler reconciles RateLimitPolicies.
type Reconciler struct{ Options }

// New returns a Reconciler.
func New(o Options) *Reconciler { return &Reconciler{o} }

// Reconcile resolves the targets, asks how far their relays are, and reports.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	policy := &v1alpha1.RateLimitPolicy{}
	if err := r.Client.Get(ctx, request.NamespacedName, policy); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if policy.DeletionTimestamp != nil {
		return ctrl.Result{}, nil
	}
	o := condition.RateLimitPolicy{Policy: policy, Now: r.Now()}
	targets, relays, err := r.resolve(ctx, policy, &o)
	if err != nil {
		return ctrl.Result{}, err
	}
	o.Relays = len(relays)
	for _, relay := range relays {
		record, err := r.record(ctx, policy, relay)
		if err != nil {
			return ctrl.Result{}, err
		}
		if reason := waiting(policy, relay, record); reason != "" {
			o.Waiting = append(o.Waiting, reason)
		}
		if record.Shared != nil {
			o.Without = append(o.Without, record.Shared.Without...)
		}
	}
	if err := r.report(ctx, policy, targets, &o); err != nil {
		return ctrl.Result{}, err
	}
	after := atRest
	if len(o.Waiting) > 0 {
		after = again
	}
	return ctrl.Result{RequeueAfter: after, Priority: ptr.To(handler.LowPriority)}, nil
}

// resolve finds the targets and the relays that they mean, each once.
func (r *Reconciler) resolve(ctx context.Context, policy *v1alpha1.RateLimitPolicy, o *condition.RateLimitPolicy) ([]v1alpha1.TargetStatus, []*v1alpha1.MailRelay, error) {
	var targets []v1alpha1.TargetStatus
	var relays []*v1alpha1.MailRelay
	for _, ref := range policy.Spec.TargetRefs {
		relay, problem, err := r.relayOf(ctx, policy.Namespace, ref)
		if err != nil {
			return nil, nil, err
		}
		target := v1alpha1.TargetStatus{Ref: ref, Accepted: problem == "", Message: problem}
		if target.Accepted {
			record, err := r.record(ctx, policy, relay)
			if err != nil {
				return nil, nil, err
			}
			target.Effective = effective(policy, record)
		} else {
			o.Missing = append(o.Missing, fmt.Sprintf("%s %s", ref.Kind, ref.Name))
		}
		targets = append(targets, target)
		if relay != nil && !slices.ContainsFunc(relays, func(known *v1alpha1.MailRelay) bool { return known.UID == relay.UID }) {
			relays = append(relays, relay)
		}
	}
	return targets, relays, nil
}

// relayOf is the relay that a target means, or what is wrong with the target.
func (r *Reconciler) relayOf(ctx context.Context, namespace string, ref v1alpha1.TargetReference) (*v1alpha1.MailRelay, string, error) {
	if ref.Kind == v1alpha1.TargetSendingDomain {
		return r.relayOfDomain(ctx, namespace, string(ref.Name))
	}
	relay := &v1alpha1.MailRelay{}
	found, err := r.get(ctx, namespace, string(ref.Name), relay)
	if err != nil || !found {
		return nil, fmt.Sprintf("There is no MailRelay %s in this namespace.", ref.Name), err
	}
	return relay, "", nil
}

// relayOfDomain is the relay that a SendingDomain sends through.
func (r *Reconciler) relayOfDomain(ctx context.Context, namespace, name string) (*v1alpha1.MailRelay, string, error) {
	domain := &v1alpha1.SendingDomain{}
	found, err := r.get(ctx, namespace, name, domain)
	if err != nil || !found {
		return nil, fmt.Sprintf("There is no SendingDomain %s in this namespace.", name), err
	}
	relay, allowed, err := r.Admission.Relay(ctx, domain)
	if err != nil || relay == nil || !allowed {
		return nil, fmt.Sprintf("The SendingDomain %s names no MailRelay that admits it.", name), err
	}
	return relay, "", nil
}

func (r *Reconciler) get(ctx context.Context, namespace, name string, object client.Object) (bool, error) {
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("reading %T %s/%s: %w", object, namespace, name, err)
	}
	return err == nil, nil
}

// record is what the configuration of a relay says about the policy; the zero Record when it does not hold it.
func (r *Reconciler) record(ctx context.Context, policy *v1alpha1.RateLimitPolicy, relay *v1alpha1.MailRelay) (programmed.Record, error) {
	c := &corev1.ConfigMap{}
	if _, err := r.get(ctx, relay.Namespace, programmed.ConfigMapName(relay.Name), c); err != nil {
		return programmed.Record{}, err
	}
	return programmed.Parse(c.Annotations[programmed.Annotation])[render.PolicyName(policy)], nil
}

// effective are the limits that hold in a relay.
func effective(policy *v1alpha1.RateLimitPolicy, record programmed.Record) *v1alpha1.Limits {
	if record.Shared != nil && policy.Spec.Scope == v1alpha1.ScopeRelay {
		return &record.Shared.Effective
	}
	return ptr.To(render.EffectiveLimits(&policy.Spec))
}

// waiting says why the policy is not in force in every pod of a relay; nothing if it is.
func waiting(policy *v1alpha1.RateLimitPolicy, relay *v1alpha1.MailRelay, record programmed.Record) string {
	if record.Source != programmed.Source(policy) {
		return fmt.Sprintf("The configuration of %s does not hold it yet.", relay.Name)
	}
	reason := late(relay, record.Since)
	if reason == "" && record.Shared != nil && record.Shared.Moving {
		return fmt.Sprintf("Shares move from pod to pod of %s.", relay.Name)
	}
	return reason
}

// late names the first pod of a relay that does not have a generation in force, as far as is known.
func late(relay *v1alpha1.MailRelay, since int64) string {
	if len(relay.Status.Pods) == 0 {
		return fmt.Sprintf("%s has no pods.", relay.Name)
	}
	for _, pod := range relay.Status.Pods {
		switch {
		case pod.ConfigGeneration == nil:
			return fmt.Sprintf("Pod %s does not say what it has in force.", pod.Name)
		case *pod.ConfigGeneration < since:
			return fmt.Sprintf("Pod %s has generation %d in force, the policy is in %d.", pod.Name, *pod.ConfigGeneration, since)
		}
	}
	return ""
}

// report writes the status if it means something else than before.
func (r *Reconciler) report(ctx context.Context, policy *v1alpha1.RateLimitPolicy, targets []v1alpha1.TargetStatus, o *condition.RateLimitPolicy) error {
	before := policy.Status
	after := v1alpha1.RateLimitPolicyStatus{ObservedGeneration: policy.Generation, Targets: targets, Conditions: o.Conditions()}
	unchanged := before.ObservedGeneration == after.ObservedGeneration && equality.Semantic.DeepEqual(before.Targets, after.Targets)
	if unchanged && condition.Same(before.Conditions, after.Conditions) {
		return nil
	}
	old := policy.DeepCopy()
	policy.Status = after
	err := r.Client.Status().Patch(ctx, policy, client.MergeFrom(old), client.FieldOwner(apply.FieldOwner))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	for _, c := range condition.Transitions(before.Conditions, after.Conditions) {
		kind := corev1.EventTypeNormal
		if c.Reason == v1alpha1.ReasonTargetNotFound {
			kind = corev1.EventTypeWarning
		}
		r.Events.Eventf(old, nil, kind, c.Reason, c.Type, "%s is %s: %s", c.Type, c.Status, c.Message)
	}
	return nil
}
