// Package operator puts the controllers together: their clients, their caches and what they share. It decides
// nothing else.
package operator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/apply"
	"github.com/postrider/postrider/controllers/index"
	"github.com/postrider/postrider/controllers/mailrelay"
	"github.com/postrider/postrider/controllers/metrics"
	"github.com/postrider/postrider/controllers/probe"
	"github.com/postrider/postrider/controllers/ratelimitpolicy"
	"github.com/postrider/postrider/controllers/secret"
	"github.com/postrider/postrider/controllers/sendingdomain"
	"github.com/postrider/postrider/controllers/serviceaccount"
	"github.com/postrider/postrider/relay/dns"
)

const (
	// secretsFresh is how long a Secret is believed to be as it was read.
	secretsFresh = time.Minute
	// ownFresh is how long one is that nobody but us writes.
	ownFresh = 15 * time.Minute
)

// Options are what differs between installations.
type Options struct {
	// Namespace is the operator's own; its authority is stored there.
	Namespace string
	// RelayImage is the container image of relay pods.
	RelayImage string
	// ClusterDomain is the DNS suffix of Services; empty for cluster.local.
	ClusterDomain string
	// Dial opens connections to relay pods; nil for the network's own.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Now tells the time; time.Now if nil.
	Now func() time.Time
	// Metrics takes a collector of what the objects' conditions say; nil for none.
	Metrics prometheus.Registerer
	// Poll is how often relays at rest are asked; mailrelay.PollEvery if zero.
	Poll time.Duration
	// UpgradesAtOnce is how many relays take up another version at the same time; 0 for the default.
	UpgradesAtOnce int
}

// Scheme knows every kind that the operator reads or writes.
func Scheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	return s, errors.Join(clientgoscheme.AddToScheme(s), v1alpha1.AddToScheme(s))
}

// Cache holds of the kinds that others have too only what bears our label, without the bookkeeping of fields.
func Cache() cache.Options {
	ours := cache.ByObject{Label: labels.SelectorFromSet(labels.Set{"app.kubernetes.io/managed-by": "postrider"})}
	return cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Pod{}:                   ours,
			&corev1.ConfigMap{}:             ours,
			&corev1.Service{}:               ours,
			&corev1.ServiceAccount{}:        ours,
			&corev1.PersistentVolumeClaim{}: ours,
			&appsv1.StatefulSet{}:           ours,
			&policyv1.PodDisruptionBudget{}: ours,
			&networkingv1.NetworkPolicy{}:   ours,
		},
	}
}

// Client reads from the caches, but for Secrets: they are never listed or watched.
func Client() client.Options {
	return client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}}
}

// Add adds all controllers to a manager that was made with Scheme, Cache and Client.
func Add(ctx context.Context, mgr ctrl.Manager, o Options) error {
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := index.Register(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	if o.Metrics != nil {
		if err := o.Metrics.Register(metrics.New(mgr.GetCache())); err != nil {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	events := mgr.GetEventRecorder("postrider")
	// Each controller reads Secrets by itself, so that one's memory never hides what the other has written.
	secrets := func() *secret.Reader {
		return secret.New(secret.Options{Client: mgr.GetClient(), Keep: secretsFresh, Now: o.Now})
	}
	accounts, err := serviceaccount.NewAccounts(mgr)
	if err != nil {
		return err
	}
	tokenKeys, err := serviceaccount.NewKeys(mgr, o.Now)
	if err != nil {
		return err
	}
	resolver := func(servers []string) dns.Resolver { return dns.New(dns.Options{Servers: servers, Now: o.Now}) }
	identity := &mailrelay.Identity{Client: mgr.GetClient(), Namespace: o.Namespace, Now: o.Now}
	relays := mailrelay.New(mailrelay.Options{
		Client:   mgr.GetClient(),
		Live:     mgr.GetAPIReader(),
		Applier:  apply.New(apply.Options{Client: mgr.GetClient(), Live: isSecret, Recheck: ownFresh, Now: o.Now}),
		Secrets:  secrets(),
		Identity: identity,
		Prober:   probe.New(probe.Options{Credentials: identity.Credentials, Dial: o.Dial}),
		Accounts: accounts, TokenKeys: tokenKeys,
		Events: events, Now: o.Now, Resolver: resolver,
		Poll:  cmp.Or(o.Poll, mailrelay.PollEvery),
		Image: o.RelayImage, Namespace: o.Namespace, ClusterDomain: o.ClusterDomain, UpgradesAtOnce: o.UpgradesAtOnce,
	})
	domains := sendingdomain.New(sendingdomain.Options{
		Client: mgr.GetClient(), Secrets: secrets(), Events: events, Now: o.Now,
		Resolver: resolver,
	})
	policies := ratelimitpolicy.New(ratelimitpolicy.Options{Client: mgr.GetClient(), Events: events, Now: o.Now})
	for name, c := range map[string]interface{ SetUp(ctrl.Manager) error }{
		"MailRelay": relays, "SendingDomain": domains, "RateLimitPolicy": policies,
	} {
		if err := c.SetUp(mgr); err != nil {
			return fmt.Errorf("setting up the controller of %s: %w", name, err)
		}
	}
	return nil
}

func isSecret(o client.Object) bool {
	_, ok := o.(*corev1.Secret)
	return ok
}
