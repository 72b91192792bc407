package operator_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/desired"
	"github.com/postrider/postrider/controllers/render"
	"github.com/postrider/postrider/relay/config"
)

// tenant is a SendingDomain of another namespace that names the fixture's relay, and signs at once.
func (f *fixture) tenant(namespace, name, domain string) *v1alpha1.SendingDomain {
	d := f.domain(name, domain)
	d.Namespace, d.Spec.RelayRef.Namespace = namespace, v1alpha1.NamespaceName(f.namespace)
	d.Spec.DNS = v1alpha1.DomainDNS{Gates: []v1alpha1.DNSGate{}}
	return d
}

func (f *fixture) label(namespace string, labels map[string]string) {
	f.t.Helper()
	change(f, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, func(n *corev1.Namespace) {
		n.Labels = labels
	})
}

// heldTo is the names of the policies that the relay is configured with, with the domains that they are held to.
func (f *fixture) heldTo() map[string][]string {
	f.t.Helper()
	c := &corev1.ConfigMap{ObjectMeta: f.meta("outbound-config")}
	f.get(c)
	var relay config.Relay
	if err := json.Unmarshal([]byte(c.Data[config.RelayFile]), &relay); err != nil {
		f.t.Fatal(err)
	}
	held := map[string][]string{}
	for _, p := range relay.Policies {
		held[p.Name] = p.SenderDomains
	}
	return held
}

// sends waits until the relay does or does not know a domain, and says how long it took.
func (f *fixture) sends(domain string, want bool) time.Duration {
	f.t.Helper()
	began := time.Now()
	f.eventually(fmt.Sprintf("%s is in the configuration: %v", domain, want), func() error {
		if _, ok := f.configured(domain); ok != want {
			return fmt.Errorf("it is: %v", ok)
		}
		return nil
	})
	return time.Since(began)
}

// signs waits until the keys that a domain's configuration names are there for the pods: without them, none of it counts.
func (f *fixture) signs(domain string) {
	f.t.Helper()
	f.eventually("there are the keys of "+domain, func() error {
		var secrets corev1.SecretList
		if err := server.Client.List(context.Background(), &secrets, client.InNamespace(f.namespace)); err != nil {
			return err
		}
		described, _ := f.configured(domain)
		for _, k := range described.Keys {
			if !slices.ContainsFunc(secrets.Items, func(s corev1.Secret) bool { return s.Data[k.File] != nil }) {
				return fmt.Errorf("no Secret holds %s", k.File)
			}
		}
		return nil
	})
}

func TestAllowedDomains(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 1)
	elsewhere := server.Namespace(t)
	domain, lost := f.tenant(elsewhere, "shop", "shop.example"), f.tenant(elsewhere, "lost", "lost.example")
	lost.Spec.RelayRef.Name = "nowhere"
	f.create(domain)
	f.create(lost)
	refused := map[string]string{"Accepted": "False/NotAllowedByRelay", "Stalled": "True/NotAllowedByRelay", "Ready": "False/NotAccepted"}
	f.expectDomain(domain, refused)
	f.expectDomain(lost, refused)
	told := func(d *v1alpha1.SendingDomain) string {
		message := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionAccepted).Message
		return strings.NewReplacer(string(d.Spec.RelayRef.Name), "RELAY", string(d.Spec.Domain), "DOMAIN").Replace(message)
	}
	if a, b := told(domain), told(lost); a != b {
		t.Errorf("a tenant can tell a relay that does not admit it from none: %q, %q", a, b)
	}
	f.sends("shop.example", false)

	change(f, relay, func(r *v1alpha1.MailRelay) {
		r.Spec.AllowedDomains.Namespaces = v1alpha1.AllowedNamespaces{
			From: v1alpha1.NamespacesSelector, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"mail": "yes"}},
		}
	})
	f.label(elsewhere, map[string]string{"mail": "yes"})
	f.expectDomain(domain, map[string]string{"Accepted": "True/Accepted", "Stalled": "", "Ready": "True/Verified"})
	f.sends("shop.example", true)
	policy := f.policy("cap", "")
	policy.Namespace = elsewhere
	policy.Spec.TargetRefs = []v1alpha1.TargetReference{{Kind: v1alpha1.TargetSendingDomain, Name: "shop"}}
	f.create(policy)
	f.expectPolicy(policy, map[string]string{"Programmed": "True/Programmed"})
	if held := f.heldTo()[elsewhere+"/cap"]; !slices.Equal(held, []string{"shop.example"}) {
		t.Errorf("a tenant's policy is held to %q", held)
	}

	f.label(elsewhere, nil)
	if took := f.sends("shop.example", false); took > 10*time.Second {
		t.Errorf("revoked by a label, it could send for %v", took)
	}
	f.expectDomain(domain, refused)
	f.expectPolicy(policy, map[string]string{"Accepted": "False/TargetNotFound"})

	change(f, relay, func(r *v1alpha1.MailRelay) {
		r.Spec.AllowedDomains.Namespaces = v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesAll}
	})
	f.expectDomain(domain, map[string]string{"Accepted": "True/Accepted"})
	f.sends("shop.example", true)
	f.signs("shop.example")
	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.AllowedDomains.Suffixes = []v1alpha1.DomainName{"other.example"} })
	if took := f.sends("shop.example", false); took > 10*time.Second {
		t.Errorf("revoked by a suffix, it could send for %v", took)
	}
	f.expectDomain(domain, map[string]string{"Accepted": "False/NotAllowedByRelay"})
}

// A tenant that gets a domain after another never gets its keys, although both sets have the same selectors.
func TestKeysAreNeverAnothers(t *testing.T) {
	f := setUp(t)
	relay := f.relay("outbound", 1)
	relay.Spec.AllowedDomains.Namespaces.From = v1alpha1.NamespacesAll
	f.create(relay)
	first := f.tenant(server.Namespace(t), "first", "example.com")
	f.create(first)
	f.eventually("the relay signs for the first", func() error {
		if c, _ := f.configured("example.com"); len(c.Keys) != 2 {
			return fmt.Errorf("it is configured as %+v", c)
		}
		return nil
	})
	f.expectDomain(first, map[string]string{"Ready": "True/Verified"})
	second := f.tenant(server.Namespace(t), "second", "example.com")
	f.create(second)
	f.eventually("the second has keys", func() error {
		if f.get(second); second.Status.DKIM.ActiveSelector != first.Status.DKIM.ActiveSelector {
			return fmt.Errorf("it has %+v", second.Status.DKIM)
		}
		return nil
	})
	change(f, second, func(d *v1alpha1.SendingDomain) { d.Spec.DNS.Gates = []v1alpha1.DNSGate{v1alpha1.GateDKIM} })
	keys := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: second.Namespace, Name: "second-dkim"}}
	f.delete(keys)
	f.restart()
	f.expectDomain(second, map[string]string{"DKIMKeyReady": "False/SecretInvalid"})
	f.delete(first)
	f.expectDomain(second, map[string]string{"Accepted": "True/Accepted"})
	f.eventually("the second has the domain, and no key", func() error {
		if c, ok := f.configured("example.com"); !ok || len(c.Keys) > 0 {
			return fmt.Errorf("it is configured as %+v", c)
		}
		return nil
	})
}

// What a tenant's namespace holds of a relay elsewhere is its own SendingDomain and its keys, nothing of the relay.
func TestNothingOfARelayIsMadeElsewhere(t *testing.T) {
	f := setUp(t)
	relay := f.relay("outbound", 1)
	relay.Spec.AllowedDomains.Namespaces.From = v1alpha1.NamespacesAll
	f.create(relay)
	elsewhere := server.Namespace(t)
	domain := f.tenant(elsewhere, "shop", "shop.example")
	f.create(domain)
	f.expectDomain(domain, map[string]string{"Ready": "True/Verified"})
	f.sends("shop.example", true)
	for _, object := range desired.Objects(desired.Input{Relay: relay, Files: &render.Files{Relay: map[string][]byte{}, Material: map[string][]byte{}}, Replicas: 2}) {
		object.SetNamespace(elsewhere)
		if f.get(object) {
			t.Errorf("there is a %T %s in the tenant's namespace", object, object.GetName())
		}
	}
	var secrets corev1.SecretList
	if err := server.Client.List(context.Background(), &secrets); err != nil {
		t.Fatal(err)
	}
	for _, s := range secrets.Items {
		if s.Namespace == elsewhere && s.Name != "shop-dkim" {
			t.Errorf("there is a Secret %s in the tenant's namespace", s.Name)
		}
	}
}
