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
	"github.com/postrider/postrider/controllers/foreign"
	"github.com/postrider/postrider/controllers/index"
	"github.com/postrider/postrider/controllers/mailrelay"
	"github.com/postrider/postrider/controllers/metrics"
	"github.com/postrider/postrider/controllers/optional"
	"github.com/postrider/postrider/controllers/probe"
	"github.com/postrider/postrider/controllers/ratelimitpolicy"
	"github.com/postrider/postrider/controllers/secret"
	"github.com/postrider/postrider/controllers/sendingdomain"
	"github.com/postrider/postrider/controllers/serviceaccount"
	"github.com/postrider/postrider/controllers/tenancy"
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
	// Namespaces are those that the operator is for, as given to Cache; none for all. With some, it does without what
	// only a ClusterRole grants.
	Namespaces []string
	// RelayImage is the container image of relay pods.
	RelayImage string
	// Version is the operator's own, and so that of the relay in an image that is named by its digest alone.
	Version string
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
	return s, errors.Join(clientgoscheme.AddToScheme(s), v1alpha1.AddToScheme(s), foreign.AddToScheme(s))
}

// managed selects what bears our label.
func managed() labels.Selector {
	return labels.SelectorFromSet(labels.Set{"app.kubernetes.io/managed-by": "postrider"})
}

// Cache holds of the kinds that others have too only what bears our label, without the bookkeeping of fields, and of
// objects with a namespace those of the namespaces given; of all if none is.
func Cache(namespaces []string) cache.Options {
	ours := cache.ByObject{Label: managed()}
	return cache.Options{
		DefaultTransform:  cache.TransformStripManagedFields(),
		DefaultNamespaces: inNamespaces(namespaces),
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

func inNamespaces(names []string) map[string]cache.Config {
	if len(names) == 0 {
		return nil
	}
	namespaces := map[string]cache.Config{}
	for _, name := range names {
		namespaces[name] = cache.Config{}
	}
	return namespaces
}

// Client reads from the caches, but for Secrets, which are never listed or watched, and for kinds that may be missing.
func Client() client.Options {
	return client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}, &foreign.Certificate{}}}}
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
	accounts, err := serviceaccount.NewAccounts(mgr, inNamespaces(o.Namespaces))
	if err != nil {
		return err
	}
	tokenKeys, err := serviceaccount.NewKeys(mgr, o.Now)
	if err != nil {
		return err
	}
	certificates, err := optional.New(mgr, optional.Options{
		Object: &foreign.Certificate{}, Namespaces: inNamespaces(o.Namespaces), Labels: managed(), Now: o.Now,
	})
	if err != nil {
		return err
	}
	admission := tenancy.Admission{Client: mgr.GetClient(), Namespaced: len(o.Namespaces) > 0}
	resolver := func(servers []string) dns.Resolver { return dns.New(dns.Options{Servers: servers, Now: o.Now}) }
	identity := &mailrelay.Identity{Client: mgr.GetClient(), Namespace: o.Namespace, Now: o.Now}
	relays := mailrelay.New(mailrelay.Options{
		Client: mgr.GetClient(), Admission: admission,
		Live:     mgr.GetAPIReader(),
		Applier:  apply.New(apply.Options{Client: mgr.GetClient(), Live: uncached, Recheck: ownFresh, Now: o.Now}),
		Secrets:  secrets(),
		Identity: identity,
		Prober:   probe.New(probe.Options{Credentials: identity.Credentials, Dial: o.Dial}),
		Accounts: accounts, TokenKeys: tokenKeys, Certificates: certificates,
		Events: events, Now: o.Now, Resolver: resolver,
		Poll:  cmp.Or(o.Poll, mailrelay.PollEvery),
		Image: o.RelayImage, Version: o.Version, Namespace: o.Namespace, ClusterDomain: o.ClusterDomain, UpgradesAtOnce: o.UpgradesAtOnce,
	})
	domains := sendingdomain.New(sendingdomain.Options{
		Client: mgr.GetClient(), Admission: admission, Secrets: secrets(), Events: events, Now: o.Now,
		Resolver: resolver,
	})
	policies := ratelimitpolicy.New(ratelimitpolicy.Options{Client: mgr.GetClient(), Admission: admission, Events: events, Now: o.Now})
	for name, c := range map[string]interface{ SetUp(ctrl.Manager) error }{
		"MailRelay": relays, "SendingDomain": domains, "RateLimitPolicy": policies,
	} {
		if err := c.SetUp(mgr); err != nil {
			return fmt.Errorf("setting up the controller of %s: %w", name, err)
		}
	}
	return nil
}

// uncached says of an object that the manager's cache does not hold its kind; see Client.
func uncached(o client.Object) bool {
	switch o.(type) {
	case *corev1.Secret, *foreign.Certificate:
		return true
	}
	return false
}
