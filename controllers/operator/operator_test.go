package operator_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/operator"
	"github.com/postrider/postrider/test/kubetest"
)

var server kubetest.Server

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(kubetest.Run(m, &server))
}

// patience is how long a test waits for what must happen. On an idle machine everything takes a second or two.
const patience = 60 * time.Second

// serviceAccount is whom the operator runs as: what config/rbac grants is all it may do.
const serviceAccount = "system:serviceaccount:postrider-system:postrider-manager"

// fixture is a cluster with the operator in it: a real API server, the real controllers of StatefulSets, of
// garbage and of claims, and a node that is played.
type fixture struct {
	t         *testing.T
	namespace string
	node      *node
	requests  *kubetest.Requests
	// image is the relay's that the operator brings, version the operator's own; upgrades is how many relays it upgrades at a time, 0 for its default.
	image    string
	version  string
	upgrades int
	// ahead is how far the operator's clock is ahead.
	ahead atomic.Int64
	// namespaces are those that the operator is installed for, as runsAs; none for all, as its ServiceAccount.
	namespaces []string
	runsAs     *rest.Config
	// metrics are those of the operator that runs.
	metrics *prometheus.Registry
	// stop stops the operator.
	stop func()
}

func setUp(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, namespace: server.Namespace(t), image: "postrider:test", requests: &kubetest.Requests{},
		runsAs: rest.CopyConfig(server.Config)}
	f.runsAs.Impersonate = rest.ImpersonationConfig{UserName: serviceAccount, Groups: []string{"system:serviceaccounts", "system:authenticated"}}
	server.Apply(t, "config/manager/namespace.yaml", "config/rbac/service_account.yaml", "config/rbac/role.yaml",
		"config/rbac/role_binding.yaml", "config/rbac/cluster_role.yaml", "config/rbac/namespace_role.yaml", "config/rbac/metrics_role.yaml")
	server.Controllers(t, "statefulset-controller", "garbage-collector-controller", "persistentvolumeclaim-protection-controller")
	f.node = startNode(t)
	f.startOperator()
	return f
}

// restart runs another operator, which remembers nothing, in place of the one there is.
func (f *fixture) restart() {
	f.t.Helper()
	f.stop()
	f.startOperator()
}

// startOperator runs it until the test ends or stop is called.
func (f *fixture) startOperator() {
	f.t.Helper()
	scheme, err := operator.Scheme()
	if err != nil {
		f.t.Fatal(err)
	}
	account := f.requests.Count(f.runsAs)
	account.QPS = -1
	caches := operator.Cache(f.namespaces)
	mgr, err := ctrl.NewManager(account, ctrl.Options{
		Scheme: scheme, Cache: caches, Client: operator.Client(),
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: new(true)},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.metrics = prometheus.NewRegistry()
	o := operator.Options{Namespace: f.home(), Namespaces: f.namespaces, RelayImage: f.image, Version: f.version, UpgradesAtOnce: f.upgrades, Dial: f.node.dial, Poll: time.Second, Metrics: f.metrics,
		Now: func() time.Time { return time.Now().Add(time.Duration(f.ahead.Load())) }}
	if err := operator.Add(ctx, mgr, o); err != nil {
		f.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := mgr.Start(ctx); err != nil {
			f.t.Error(err)
		}
	}()
	f.stop = sync.OnceFunc(func() { cancel(); <-done })
	f.t.Cleanup(f.stop)
}

// home is the operator's own namespace.
func (f *fixture) home() string {
	if len(f.namespaces) > 0 {
		return f.namespaces[0]
	}
	return "postrider-system"
}

func (f *fixture) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: f.namespace, Name: name}
}

func (f *fixture) relay(name string, replicas int32) *v1alpha1.MailRelay {
	return &v1alpha1.MailRelay{
		ObjectMeta: f.meta(name),
		Spec: v1alpha1.MailRelaySpec{
			Replicas: replicas, Hostname: "mx1.example.com", Postmaster: "ops@example.com",
			Listeners: []v1alpha1.Listener{{Name: "smtp", Port: 25, Mode: v1alpha1.ListenerRelay}},
			Queue:     v1alpha1.Queue{Storage: v1alpha1.Storage{Size: resource.MustParse("1Gi")}},
		},
	}
}

func (f *fixture) create(object client.Object) {
	f.t.Helper()
	if err := server.Client.Create(context.Background(), object); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) delete(object client.Object) {
	f.t.Helper()
	if err := server.Client.Delete(context.Background(), object); err != nil {
		f.t.Fatal(err)
	}
}

// get reads an object as it is now; it says whether there is one.
func (f *fixture) get(object client.Object) bool {
	f.t.Helper()
	err := server.Client.Get(context.Background(), client.ObjectKeyFromObject(object), object)
	if client.IgnoreNotFound(err) != nil {
		f.t.Fatal(err)
	}
	return err == nil
}

// change reads an object, changes it and writes it, as often as it takes.
func change[T client.Object](f *fixture, object T, with func(T)) {
	f.t.Helper()
	f.eventually("the change is taken", func() error {
		f.get(object)
		with(object)
		return server.Client.Update(context.Background(), object)
	})
}

// eventually waits until check returns nil.
func (f *fixture) eventually(what string, check func() error) {
	f.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("%s: not within %v: %v", what, patience, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// expect waits until the conditions of an object are as wanted: "Status/Reason" by type, "" for absent.
func (f *fixture) expect(object client.Object, conditions func() []metav1.Condition, want map[string]string) {
	f.t.Helper()
	f.eventually(fmt.Sprintf("the conditions of %s", object.GetName()), func() error {
		f.get(object)
		var wrong []string
		for kind, wanted := range want {
			got := ""
			c := meta.FindStatusCondition(conditions(), kind)
			if c != nil {
				got = string(c.Status) + "/" + c.Reason
			}
			if got != wanted || c != nil && c.ObservedGeneration != object.GetGeneration() {
				wrong = append(wrong, fmt.Sprintf("%s is %q, want %q: %+v", kind, got, wanted, c))
			}
		}
		if len(wrong) > 0 {
			return fmt.Errorf("%s", strings.Join(wrong, "; "))
		}
		return nil
	})
}

func (f *fixture) expectRelay(relay *v1alpha1.MailRelay, want map[string]string) {
	f.t.Helper()
	f.expect(relay, func() []metav1.Condition { return relay.Status.Conditions }, want)
}

func (f *fixture) expectDomain(domain *v1alpha1.SendingDomain, want map[string]string) {
	f.t.Helper()
	f.expect(domain, func() []metav1.Condition { return domain.Status.Conditions }, want)
}

func (f *fixture) expectPolicy(policy *v1alpha1.RateLimitPolicy, want map[string]string) {
	f.t.Helper()
	f.expect(policy, func() []metav1.Condition { return policy.Status.Conditions }, want)
}

// serving makes a relay and waits until it serves.
func (f *fixture) serving(name string, replicas int32) *v1alpha1.MailRelay {
	f.t.Helper()
	relay := f.relay(name, replicas)
	f.create(relay)
	f.expectRelay(relay, map[string]string{"Ready": "True/Serving", "ConfigCurrent": "True/InForce", "Reconciling": ""})
	return relay
}

// claims are the names of the volume claims that are there.
func (f *fixture) claims() []string {
	f.t.Helper()
	var list corev1.PersistentVolumeClaimList
	if err := server.Client.List(context.Background(), &list, client.InNamespace(f.namespace)); err != nil {
		f.t.Fatal(err)
	}
	var names []string
	for _, c := range list.Items {
		names = append(names, c.Name)
	}
	return names
}
