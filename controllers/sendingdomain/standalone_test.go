package sendingdomain

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/dkimkey"
	"github.com/postrider/postrider/controllers/dnscheck"
	"github.com/postrider/postrider/relay/dns"
)

// zone answers TXT questions from a map; everything else does not exist.
type zone map[string]string

func (z zone) TXT(_ context.Context, name string) ([]string, error) {
	if value, ok := z[name]; ok {
		return []string{value}, nil
	}
	return nil, dns.ErrNXDomain
}
func (zone) MX(context.Context, string) ([]dns.MX, error)        { return nil, dns.ErrNXDomain }
func (zone) Addrs(context.Context, string) ([]netip.Addr, error) { return nil, dns.ErrNXDomain }
func (zone) PTR(context.Context, netip.Addr) ([]string, error)   { return nil, dns.ErrNXDomain }
func (z zone) resolver() func([]string) dns.Resolver             { return func([]string) dns.Resolver { return z } }
func (z zone) publish(t *testing.T, domain string, k []dkimkey.Key) {
	t.Helper()
	for _, key := range k {
		public, err := dnscheck.NewPublicKey(key.Selector, key.Public)
		if err != nil {
			t.Fatal(err)
		}
		z[public.Name(domain)] = public.Record()
	}
}

// Without an API server, too, keys sign only once DNS holds them, and go on signing when it no longer does.
func TestStandaloneGate(t *testing.T) {
	algorithms := []v1alpha1.DKIMAlgorithm{v1alpha1.Ed25519}
	d := &v1alpha1.SendingDomain{Spec: v1alpha1.SendingDomainSpec{
		Domain: "acme.example",
		DKIM:   v1alpha1.DKIM{Signing: v1alpha1.SigningEnabled, Algorithms: algorithms},
		DNS:    v1alpha1.DomainDNS{Gates: []v1alpha1.DNSGate{v1alpha1.GateDKIM}, RecheckSeconds: 3600},
	}}
	if !NeedsKeys(d, nil) {
		t.Fatal("a domain without keys needs none")
	}
	set, err := dkimkey.Generate("pr20260901-a", algorithms)
	if err != nil {
		t.Fatal(err)
	}
	f := Facts{Relay: &v1alpha1.MailRelay{}, Sets: []dkimkey.Set{set}}
	if NeedsKeys(d, f.Sets) {
		t.Fatal("a domain with keys needs more")
	}
	now := time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)
	z, watch := zone{}, &Standalone{}
	pass := func() []dkimkey.Key {
		watch.Again()
		d.Status.Records = watch.Look(t.Context(), d, f, z.resolver(), now)
		var sign []dkimkey.Key
		d.Status, sign = Judge(d, f, now)
		return sign
	}
	if sign := pass(); len(sign) != 0 || d.Status.DKIM.PendingSelector == "" {
		t.Errorf("before publication %d keys sign; status %+v", len(sign), d.Status.DKIM)
	}
	z.publish(t, "acme.example", set.Keys)
	if sign := pass(); len(sign) != 1 || d.Status.DKIM.PendingSelector != "" {
		t.Errorf("after publication %d keys sign; status %+v", len(sign), d.Status.DKIM)
	}
	clear(z)
	if sign := pass(); len(sign) != 1 {
		t.Errorf("when DNS forgets, %d keys sign", len(sign))
	}
}

// A look that is not due asks nothing.
func TestStandalonePace(t *testing.T) {
	d := &v1alpha1.SendingDomain{Spec: v1alpha1.SendingDomainSpec{
		Domain: "acme.example", DKIM: v1alpha1.DKIM{Signing: v1alpha1.SigningDisabled}, DNS: v1alpha1.DomainDNS{RecheckSeconds: 3600},
	}}
	asked := 0
	resolver := func([]string) dns.Resolver { asked++; return zone{} }
	now, watch := time.Unix(1e9, 0), &Standalone{}
	for range 3 {
		d.Status.Records = watch.Look(t.Context(), d, Facts{}, resolver, now)
	}
	if asked != 1 || len(d.Status.Records) == 0 {
		t.Errorf("asked %d times in a moment, %d records", asked, len(d.Status.Records))
	}
}
