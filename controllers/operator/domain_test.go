package operator_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/smtptest"
)

func (f *fixture) domain(name, domain string) *v1alpha1.SendingDomain {
	return &v1alpha1.SendingDomain{
		ObjectMeta: f.meta(name),
		Spec:       v1alpha1.SendingDomainSpec{Domain: v1alpha1.DomainName(domain), RelayRef: v1alpha1.RelayReference{Name: "outbound"}},
	}
}

// dns starts a server with records, which the relay is to ask.
func (f *fixture) dns(records ...string) *smtptest.DNS {
	f.t.Helper()
	d, err := smtptest.NewDNS(records...)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(d.Close)
	return d
}

// configured is how the relay's configuration has a domain.
func (f *fixture) configured(domain string) (config.Domain, bool) {
	f.t.Helper()
	for shard := range config.DomainShards {
		c := &corev1.ConfigMap{ObjectMeta: f.meta(fmt.Sprintf("outbound-domains-%02d", shard))}
		if !f.get(c) {
			continue
		}
		var domains []config.Domain
		if err := json.Unmarshal([]byte(c.Data[fmt.Sprintf(config.DomainsFile, shard)]), &domains); err != nil {
			f.t.Fatal(err)
		}
		for _, d := range domains {
			if d.Name == domain {
				return d, true
			}
		}
	}
	return config.Domain{}, false
}

// publish makes the DNS server hold what a SendingDomain expects for its keys.
func (f *fixture) publish(d *smtptest.DNS, domain *v1alpha1.SendingDomain) {
	f.t.Helper()
	for _, r := range domain.Status.Records {
		if r.Purpose != v1alpha1.PurposeDKIM {
			continue
		}
		value := r.Expected[0]
		cut := min(len(value), 200)
		if err := d.Add(fmt.Sprintf("%s. 1 TXT %q %q", r.Name, value[:cut], value[cut:])); err != nil {
			f.t.Fatal(err)
		}
	}
}

// recheck makes the operator ask DNS now.
func (f *fixture) recheck(domain *v1alpha1.SendingDomain) {
	f.t.Helper()
	change(f, domain, func(d *v1alpha1.SendingDomain) { d.Spec.DNS.RecheckSeconds++ })
}

func TestSendingDomainFromKeyToSignature(t *testing.T) {
	f := setUp(t)
	d := f.dns(
		"example.com. 1 MX 10 mx1.example.com.", "mx1.example.com. 1 A 203.0.113.10",
		`example.com. 1 TXT "v=spf1 a:mx1.example.com -all"`, `_dmarc.example.com. 1 TXT "v=DMARC1; p=none"`,
	)
	relay := f.relay("outbound", 1)
	relay.Spec.DNS.Resolvers = []v1alpha1.Resolver{v1alpha1.Resolver(d.Addr())}
	relay.Spec.Egress.Addresses = []v1alpha1.IPAddress{"203.0.113.10"}
	f.create(relay)
	domain := f.domain("example", "example.com")
	f.create(domain)
	f.expectDomain(domain, map[string]string{
		"Accepted": "True/Accepted", "DKIMKeyReady": "True/KeysStored", "Ready": "False/DNSGateFailed",
		"MXVerified": "True/Pass", "SPFVerified": "True/Pass", "DMARCVerified": "True/Weak", "DKIMVerified": "False/Missing",
	})
	if s := domain.Status.DKIM; s.ActiveSelector != "" || !strings.HasPrefix(s.PendingSelector, "pr") {
		t.Errorf("the selectors are %+v", s)
	}
	f.eventually("the relay knows the domain, and has no key to sign with", func() error {
		if c, ok := f.configured("example.com"); !ok || !c.Sign || len(c.Keys) > 0 {
			return fmt.Errorf("it is configured as %+v", c)
		}
		return nil
	})

	f.publish(d, domain)
	f.recheck(domain)
	f.expectDomain(domain, map[string]string{"DKIMVerified": "True/Pass", "Ready": "True/Verified"})
	if s := domain.Status.DKIM; s.ActiveSelector == "" || s.PendingSelector != "" {
		t.Errorf("the selectors are %+v", s)
	}
	f.eventually("the relay signs with both keys", func() error {
		if c, _ := f.configured("example.com"); len(c.Keys) != 2 {
			return fmt.Errorf("it is configured as %+v", c)
		}
		return nil
	})

	keys := &corev1.Secret{ObjectMeta: f.meta("example-dkim")}
	if !f.get(keys) || !metav1.IsControlledBy(keys, domain) || len(keys.Data) != 2 {
		t.Errorf("the Secret is %+v", keys.ObjectMeta)
	}
	f.restart()
	f.recheck(domain)
	f.expectDomain(domain, map[string]string{"Ready": "True/Verified"})
	again := &corev1.Secret{ObjectMeta: f.meta("example-dkim")}
	f.get(again)
	for name, key := range keys.Data {
		if !bytes.Equal(again.Data[name], key) {
			t.Errorf("%s was made again", name)
		}
	}

	// A record that vanishes is shown, and mail stays signed.
	d.Close()
	f.recheck(domain)
	f.recheck(domain)
	f.expectDomain(domain, map[string]string{"DKIMVerified": "True/Pass", "Ready": "True/Verified"})
	f.recheck(domain)
	f.expectDomain(domain, map[string]string{"DKIMVerified": "Unknown/LookupFailed", "MXVerified": "Unknown/LookupFailed", "Ready": "True/Verified"})
	if c, _ := f.configured("example.com"); len(c.Keys) != 2 {
		t.Errorf("the keys are out of use: %+v", c)
	}
}

func TestClaims(t *testing.T) {
	f := setUp(t)
	d := f.dns()
	relay := f.relay("outbound", 1)
	relay.Spec.DNS.Resolvers = []v1alpha1.Resolver{v1alpha1.Resolver(d.Addr())}
	first, second := f.domain("first", "example.com"), f.domain("second", "example.com")
	f.create(first)
	f.expectDomain(first, map[string]string{"Accepted": "False/RelayNotFound", "Ready": "False/NotAccepted"})
	f.create(relay)
	f.expectDomain(first, map[string]string{"Accepted": "True/Accepted"})
	f.create(second)
	f.expectDomain(second, map[string]string{"Accepted": "False/DomainClaimed", "Stalled": "True/DomainClaimed", "Ready": "False/NotAccepted"})
	for _, c := range second.Status.Conditions {
		if strings.Contains(c.Message, "first") {
			t.Errorf("the loser is told by whom: %s", c.Message)
		}
	}

	f.publish(d, second)
	f.recheck(second)
	f.expectDomain(second, map[string]string{"Accepted": "True/Accepted", "Ready": "True/Verified", "Stalled": ""})
	f.expectDomain(first, map[string]string{"Accepted": "False/DomainClaimed"})
	f.eventually("the relay signs with the keys of the one that proved it", func() error {
		if c, _ := f.configured("example.com"); len(c.Keys) != 2 || c.Keys[0].Selector != second.Status.DKIM.ActiveSelector {
			return fmt.Errorf("it is configured as %+v", c)
		}
		return nil
	})
	f.delete(second)
	f.expectDomain(first, map[string]string{"Accepted": "True/Accepted"})
}

// The keys in use survive the loss of the Secret they came from, also when the operator starts anew.
func TestLostKeysStayInUse(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 1)
	domain := f.domain("example", "example.com")
	domain.Spec.DNS = v1alpha1.DomainDNS{Gates: []v1alpha1.DNSGate{}}
	f.create(domain)
	f.expectDomain(domain, map[string]string{"Ready": "True/Verified"})
	f.eventually("the relay signs", func() error {
		if c, _ := f.configured("example.com"); len(c.Keys) != 2 {
			return fmt.Errorf("it is configured as %+v", c)
		}
		return nil
	})
	before, _ := f.configured("example.com")
	change(f, domain, func(d *v1alpha1.SendingDomain) { d.Spec.DNS.Gates = []v1alpha1.DNSGate{v1alpha1.GateDKIM} })
	f.delete(&corev1.Secret{ObjectMeta: f.meta("example-dkim")})
	f.restart()
	f.recheck(domain)
	f.expectDomain(domain, map[string]string{"DKIMKeyReady": "False/SecretInvalid", "Ready": "True/Verified"})
	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Postmaster = "postmaster@example.com" })
	f.expectRelay(relay, map[string]string{"ConfigCurrent": "True/InForce"})
	if after, _ := f.configured("example.com"); len(after.Keys) != 2 || after.Keys[0].Digest != before.Keys[0].Digest {
		t.Errorf("the relay signs with %+v, before with %+v", after.Keys, before.Keys)
	}
}
