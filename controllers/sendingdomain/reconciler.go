// Package sendingdomain owns the life of a SendingDomain: whose the domain is on its relay, its DKIM keys, and
// whether DNS holds what it needs. Questions to DNS are asked here; the verdicts are made elsewhere. It refuses
// to take a key out of use because DNS fails: what has once been seen published goes on signing.
package sendingdomain

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/apply"
	"github.com/postrider/postrider/controllers/claim"
	"github.com/postrider/postrider/controllers/condition"
	"github.com/postrider/postrider/controllers/secret"
	"github.com/postrider/postrider/controllers/tenancy"
	"github.com/postrider/postrider/relay/dns"
)

// Options are what a Reconciler works with.
type Options struct {
	// Client reads from caches, but for Secrets, and writes.
	Client client.Client
	// Admission finds the relays of SendingDomains, and who has a claim.
	Admission tenancy.Admission
	Secrets   *secret.Reader
	Events    events.EventRecorder
	Now       func() time.Time
	// Resolver makes a resolver for one check, without answers of the last one. The servers are host:port; none
	// for the operator's own.
	Resolver func(servers []string) dns.Resolver
}

// Reconciler reconciles SendingDomains.
type Reconciler struct {
	Options
	memory memories
	// makers are the places for those who make keys.
	makers chan struct{}
}

// New returns a Reconciler.
func New(o Options) *Reconciler {
	return &Reconciler{Options: o, memory: memories{of: map[client.ObjectKey]*memory{}}, makers: make(chan struct{}, max(runtime.GOMAXPROCS(0)/2, 1))}
}

// pass is one reconciliation.
type pass struct {
	*Reconciler
	domain *v1alpha1.SendingDomain
	memory *memory
	now    time.Time
	// relay is nil when there is none, or one of another namespace that does not admit the domain.
	relay *v1alpha1.MailRelay
	// allowed says that the relay admits the domain, claimed that another SendingDomain has it.
	allowed, claimed bool
	keys             keys
	records          []v1alpha1.DNSRecord
}

// Reconcile finds out whose the domain is, sees to its keys, looks at DNS if that is due, and reports.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	domain := &v1alpha1.SendingDomain{}
	if err := r.Client.Get(ctx, request.NamespacedName, domain); err != nil {
		r.memory.drop(request.NamespacedName)
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if domain.DeletionTimestamp != nil {
		return ctrl.Result{}, nil
	}
	p := &pass{Reconciler: r, domain: domain, memory: r.memory.get(request.NamespacedName), now: r.Now()}
	if err := p.gather(ctx); err != nil {
		return ctrl.Result{}, err
	}
	keys, failed := p.ensureKeys(ctx)
	p.keys = keys
	p.check(ctx)
	p.activate()
	if err := errors.Join(failed, p.report(ctx)); err != nil {
		return ctrl.Result{}, err
	}
	return p.again(), nil
}

// gather reads the relay, and finds out whether it admits the domain and whether another has the claim.
func (p *pass) gather(ctx context.Context) (err error) {
	p.relay, p.allowed, err = p.Admission.Relay(ctx, p.domain)
	if err != nil || !p.allowed {
		return err
	}
	claims, err := p.Admission.Claims(ctx, p.relay, p.domain.Spec.Domain)
	if err != nil {
		return err
	}
	owner := claim.Owners(claims)[p.domain.Spec.Domain]
	p.claimed = owner != nil && owner.UID != p.domain.UID
	return nil
}

// report writes the status if it means something else than before.
func (p *pass) report(ctx context.Context) error {
	before := p.domain.Status
	after := v1alpha1.SendingDomainStatus{
		ObservedGeneration: p.domain.Generation,
		DKIM:               p.keys.status(),
		Records:            p.records,
		Conditions:         p.conditions(),
	}
	if same(before, after) {
		return nil
	}
	old := p.domain.DeepCopy()
	p.domain.Status = after
	err := p.Client.Status().Patch(ctx, p.domain, client.MergeFrom(old), client.FieldOwner(apply.FieldOwner))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	for _, c := range condition.Transitions(before.Conditions, after.Conditions) {
		kind := corev1.EventTypeWarning
		if condition.Good(c) || c.Reason == v1alpha1.ReasonPending {
			kind = corev1.EventTypeNormal
		}
		p.Events.Eventf(old, nil, kind, c.Reason, c.Type, "%s is %s: %s", c.Type, c.Status, c.Message)
	}
	return nil
}
