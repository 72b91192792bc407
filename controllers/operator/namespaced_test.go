package operator_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/test/kubetest"
)

// setUpNamespaced installs what config/namespaced makes, and runs the operator as its ServiceAccount, with a token of
// that, and nothing else.
func setUpNamespaced(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, namespace: server.Namespace(t), image: "postrider:test", requests: &kubetest.Requests{}}
	f.namespaces = []string{f.namespace}
	var objects []*unstructured.Unstructured
	for _, u := range kubetest.Kustomize(t, "config/namespaced", "namespace: mail", "namespace: "+f.namespace) {
		if mapping, err := server.Client.RESTMapper().RESTMapping(u.GroupVersionKind().GroupKind()); err != nil {
			t.Fatal(err)
		} else if mapping.Scope.Name() != meta.RESTScopeNameNamespace || u.GetNamespace() != f.namespace {
			t.Errorf("%s %s is not in the namespace", u.GetKind(), u.GetName())
		}
		objects = append(objects, u)
	}
	server.ApplyObjects(t, objects...)
	account := &corev1.ServiceAccount{ObjectMeta: f.meta("postrider-manager")}
	if !f.get(account) {
		t.Fatal("there is no ServiceAccount")
	}
	f.runsAs = rest.AnonymousClientConfig(server.Config)
	f.runsAs.BearerToken = f.token(account)
	server.Controllers(t, "statefulset-controller", "garbage-collector-controller", "persistentvolumeclaim-protection-controller")
	f.node = startNode(t)
	f.startOperator()
	return f
}

// An operator with a Role and no ClusterRole serves its namespace, says what it cannot do, and leaves others alone.
func TestNamespacedInstall(t *testing.T) {
	f := setUpNamespaced(t)
	elsewhere := server.Namespace(t)
	foreign := f.relay("foreign", 1)
	foreign.Namespace = elsewhere
	f.create(foreign)
	relay := f.relay("outbound", 2)
	relay.Spec.AllowedDomains.Namespaces.From = v1alpha1.NamespacesAll
	relay.Spec.Listeners = append(relay.Spec.Listeners, f.listeners()...)
	f.create(relay)
	f.expectRelay(relay, map[string]string{"Ready": "True/Serving", "ConfigCurrent": "True/InForce", "Limited": "True/NamespacedInstall", "Stalled": ""})
	limited := meta.FindStatusCondition(relay.Status.Conditions, v1alpha1.ConditionLimited).Message
	for _, said := range []string{"volumes go", "lost node", "from is All"} {
		if !strings.Contains(limited, said) {
			t.Errorf("Limited does not say %q: %s", said, limited)
		}
	}
	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.AllowedDomains.Namespaces.From = v1alpha1.NamespacesSame })
	f.eventually("nothing more is asked for than there is", func() error {
		f.get(relay)
		if c := meta.FindStatusCondition(relay.Status.Conditions, v1alpha1.ConditionLimited); c == nil || strings.Contains(c.Message, "allowedDomains") {
			return fmt.Errorf("it is %+v", c)
		}
		return nil
	})

	domain, policy := f.domain("example", "example.com"), f.policy("cap", "outbound")
	domain.Spec.DNS = v1alpha1.DomainDNS{Gates: []v1alpha1.DNSGate{}}
	domain.Spec.Senders = []v1alpha1.Sender{{ServiceAccount: &v1alpha1.ServiceAccountReference{Namespace: "kube-system", Name: "default"}}}
	f.create(domain)
	f.create(policy)
	f.expectDomain(domain, map[string]string{"Ready": "True/Verified"})
	f.expectPolicy(policy, map[string]string{"Ready": "True/Programmed"})
	f.sends("example.com", true)
	tenant := f.tenant(elsewhere, "shop", "shop.example")
	f.create(tenant)

	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Replicas = 1 })
	f.expectRelay(relay, map[string]string{"Ready": "True/Serving", "Reconciling": ""})
	if f.get(foreign); foreign.Status.ObservedGeneration != -1 {
		t.Errorf("a relay elsewhere was touched: %+v", foreign.Status)
	}
	if f.get(tenant); tenant.Status.ObservedGeneration != -1 {
		t.Errorf("a SendingDomain elsewhere was touched: %+v", tenant.Status)
	}
	f.delete(relay)
	f.eventually("the relay goes", func() error {
		if f.get(relay) {
			return fmt.Errorf("it is there: %+v", relay.Status.Conditions)
		}
		return nil
	})
	for _, write := range f.requests.Writes() {
		if strings.Contains(write, "/namespaces/"+elsewhere+"/") {
			t.Errorf("it asked for %s", write)
		}
	}
}
