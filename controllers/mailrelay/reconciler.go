// Package mailrelay owns the life of a MailRelay: its objects, the configuration on its way to the pods, pods
// that come and go without a message lost, and a status that is true. It refuses to know SMTP.
//
// Reconcile is five calls, each in a file of its own: gather what there is, render the configuration, apply the
// objects, probe the pods, report. What is decided on the way (scaling, rollout, draining, hastening the
// kubelet) is decided by pure functions.
package mailrelay

import (
	"cmp"
	"context"
	"math/rand/v2"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/apply"
	"github.com/postrider/postrider/controllers/desired"
	"github.com/postrider/postrider/controllers/optional"
	"github.com/postrider/postrider/controllers/probe"
	"github.com/postrider/postrider/controllers/secret"
	"github.com/postrider/postrider/controllers/serviceaccount"
	"github.com/postrider/postrider/controllers/tenancy"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/dns"
	"github.com/postrider/postrider/relay/status"
)

const (
	// PollEvery is how often a relay at rest is asked.
	PollEvery = 15 * time.Second
	// hurry is the pace while a configuration is on its way, or a pod is being drained.
	hurry = time.Second / 2
)

// Prober asks a pod for its status.
type Prober interface {
	Status(ctx context.Context, t probe.Target) (*status.Status, error)
}

// Options are what a Reconciler works with.
type Options struct {
	// Client reads from caches, but for Secrets, and writes.
	Client client.Client
	// Admission finds the SendingDomains that relays admit.
	Admission tenancy.Admission
	Applier   *apply.Applier
	Secrets   *secret.Reader
	// Identity is the operator's authority and its certificate.
	Identity *Identity
	Prober   Prober
	// Accounts and TokenKeys are for relays that take tokens of ServiceAccounts.
	Accounts  *serviceaccount.Accounts
	TokenKeys *serviceaccount.Keys
	// Certificates are cert-manager's.
	Certificates *optional.Kind
	Events       events.EventRecorder
	// Resolver makes a resolver for one look, for servers as host:port; none for the operator's own.
	Resolver func(servers []string) dns.Resolver
	Now      func() time.Time
	// Live reads namespaces, nodes and volumes, of which there is no cache.
	Live client.Reader
	// Image is the relay's container image.
	Image string
	// Version is the operator's own, which is also that of an Image without a tag.
	Version string
	// Namespace is the operator's own.
	Namespace string
	// ClusterDomain is the DNS suffix of Services; empty for cluster.local.
	ClusterDomain string
	// Poll is how often a relay at rest is asked, plus up to an eighth: PollEvery, but in tests. Queue counts reach
	// the status at this pace.
	Poll time.Duration
	// UpgradesAtOnce is how many relays take up another version at the same time; 0 for four.
	UpgradesAtOnce int
}

// Reconciler reconciles MailRelays.
type Reconciler struct {
	Options
	memory memories
	turns  *turns
}

// New returns a Reconciler.
func New(o Options) *Reconciler {
	return &Reconciler{Options: o, turns: newTurns(cmp.Or(o.UpgradesAtOnce, upgradesAtOnce)), memory: memories{of: map[client.ObjectKey]*memory{}}}
}

// pass is one reconciliation.
type pass struct {
	*Reconciler
	relay  *v1alpha1.MailRelay
	memory *memory
	now    time.Time
	seen   seen
	// count is how many pods the StatefulSet is told to run.
	count int32
	// generation is that of the configuration as it is rendered now.
	generation int64
	statuses   map[string]*status.Status
	// losses are the pods whose nodes are lost.
	losses  []loss
	sharing sharing
	// refused is why the API server refuses an object.
	refused string
	// refresh says that newer token keys can be had at once.
	refresh bool
	// build is what the pods are to be made of; kept, unless nil, is the shape that they keep.
	build build
	kept  *desired.Kept
	// omitted names what the configuration does not say because there are pods that are too old for it.
	omitted []string
	// reshaped says that it is not known yet which pods are outdated, for their shape has just changed.
	reshaped bool
}

// seen is what there is in the cluster.
type seen struct {
	statefulSet *appsv1.StatefulSet
	service     *corev1.Service
	config      *corev1.ConfigMap
	pods        []pod
	claims      []corev1.PersistentVolumeClaim
	// heir gets the mail of a relay that is being deleted; nil when none does.
	heir *heir
	// index is that of the configuration that the pods are given; the zero Index before there is one.
	index config.Index
}

// Reconcile makes a relay what its spec asks, one step at a time, and says in the status what it is.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	relay := &v1alpha1.MailRelay{}
	if err := r.Client.Get(ctx, request.NamespacedName, relay); err != nil {
		r.forget(request.NamespacedName)
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if err := r.turns.recall(func() ([]client.ObjectKey, error) { return r.rollouts(ctx) }); err != nil {
		return ctrl.Result{}, err
	}
	p := &pass{Reconciler: r, relay: relay, memory: r.memory.get(request.NamespacedName, relay.UID), now: r.Now()}
	if relay.DeletionTimestamp != nil {
		return p.finalize(ctx)
	}
	if err := p.ensureFinalizer(ctx); err != nil {
		return ctrl.Result{}, err
	}
	return p.run(ctx)
}

func (p *pass) run(ctx context.Context) (ctrl.Result, error) {
	input, facts, err := p.gather(ctx)
	if err != nil {
		return ctrl.Result{}, err
	}
	if err := p.converge(ctx, input); err != nil {
		return ctrl.Result{}, err
	}
	p.probe(ctx)
	p.listen()
	p.refreshTokenKeys()
	if err := p.follow(ctx); err != nil {
		return ctrl.Result{}, err
	}
	if err := p.report(ctx, facts); err != nil {
		return ctrl.Result{}, err
	}
	return p.again(), nil
}

func (p *pass) paused() bool {
	return p.relay.Spec.Reconciliation == v1alpha1.ReconciliationPaused
}

// again says when to look next: such looks wait behind real changes.
func (p *pass) again() ctrl.Result {
	after := p.Poll + rand.N(p.Poll/8)
	switch {
	case p.sharesMove():
		after = atOnceAgain
	case p.underway() || p.refresh || p.exceeds() || p.detached() || rolling(p.relay):
		after = hurry
	}
	return ctrl.Result{RequeueAfter: after, Priority: ptr.To(handler.LowPriority)}
}

// underway says that a pod that answers lacks the newest configuration or is being drained.
func (p *pass) underway() bool {
	for _, pod := range p.seen.pods {
		s := p.statuses[pod.Name]
		if s != nil && (s.Generation < p.generation || (pod.surplus || pod.emptied() && !p.settled(&pod)) && (s.Queue.Queued == 0 || p.handsOver())) {
			return true
		}
	}
	return false
}

func (p *pass) key() client.ObjectKey { return client.ObjectKeyFromObject(p.relay) }

func (r *Reconciler) forget(key client.ObjectKey) {
	r.turns.drop(key)
	r.memory.drop(key)
	r.Applier.Forget(key.Namespace, key.Name)
}
