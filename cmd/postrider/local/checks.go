package local

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/dkimkey"
	"github.com/postrider/postrider/controllers/dnscheck"
	"github.com/postrider/postrider/relay/dns"
)

// recheckSoon is when records that don't pass are looked up again.
const recheckSoon = 15 * time.Second

// checks are the times at which domains are to be looked up again.
type checks map[types.NamespacedName]time.Time

// Question is what DNS is asked for a SendingDomain.
type Question struct {
	Domain string
	// Egress are the relay's addresses; Keys those that must be published.
	Egress []netip.Addr
	Keys   []dnscheck.PublicKey
}

// lookUp keeps the verdicts on all domains fresh until ctx is done, and puts keys into use once they are published.
func (s *supervisor) lookUp(ctx context.Context) error {
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	for {
		for _, c := range s.due(time.Now()) {
			records := Records(ctx, c.resolver, c.question)
			if ctx.Err() != nil {
				return nil
			}
			if err := s.judge(c.name, records); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// check is a look-up that is due.
type check struct {
	name     types.NamespacedName
	question Question
	// resolver remembers nothing: what counts is what is published now.
	resolver dns.Resolver
}

// lookAgain makes every look-up due.
func (s *supervisor) lookAgain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.checks)
}

// due are the look-ups whose time has come.
func (s *supervisor) due(now time.Time) []check {
	s.mu.Lock()
	defer s.mu.Unlock()
	var due []check
	for _, p := range s.plans {
		for i := range p.Domains {
			d := &p.Domains[i]
			name := key(d.Namespace, d.Name)
			if s.checks[name].After(now) {
				continue
			}
			q, err := p.question(keysDir(filepath.Join(s.DataDir, p.Relay.Name), d), d)
			if err != nil {
				s.Say("SendingDomain %s: %v", d.Name, err)
			}
			due = append(due, check{name: name, question: q, resolver: dns.New(dns.Options{Servers: p.servers})})
		}
	}
	return due
}

// question is what to ask about a domain.
func (p *Plan) question(keysDir string, d *v1alpha1.SendingDomain) (Question, error) {
	q := Question{Domain: string(d.Spec.Domain)}
	for _, a := range p.Relay.Spec.Egress.Addresses {
		if address, err := netip.ParseAddr(string(a)); err == nil {
			q.Egress = append(q.Egress, address)
		}
	}
	if d.Spec.DKIM.Signing == v1alpha1.SigningDisabled {
		return q, nil
	}
	sets, err := readKeys(keysDir)
	if err != nil || len(sets) == 0 {
		return q, err
	}
	for _, set := range sets {
		if set.Name != dkimkey.SetOf(d.Status.DKIM.ActiveSelector) && set.Name != dkimkey.SetOf(d.Status.DKIM.PendingSelector) {
			continue
		}
		for _, k := range set.Keys {
			public, err := dnscheck.NewPublicKey(k.Selector, k.Public)
			if err != nil {
				return q, fmt.Errorf("key %s: %w", k.Selector, err)
			}
			q.Keys = append(q.Keys, public)
		}
	}
	return q, nil
}

// judge takes new verdicts, and puts into force what follows from them.
func (s *supervisor) judge(name types.NamespacedName, records []v1alpha1.DNSRecord) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.plans {
		for i := range p.Domains {
			d := &p.Domains[i]
			if key(d.Namespace, d.Name) != name {
				continue
			}
			now := time.Now()
			d.Status.Records = dated(records, d.Status.Records, now)
			s.checks[name] = now.Add(again(d))
		}
	}
	return s.configure()
}

// again is when a domain is to be looked up next.
func again(d *v1alpha1.SendingDomain) time.Duration {
	for _, r := range d.Status.Records {
		if r.Result != v1alpha1.ResultPass && r.Result != v1alpha1.ResultNotRequired {
			return recheckSoon
		}
	}
	return time.Duration(d.Spec.DNS.RecheckSeconds) * time.Second
}

// dated gives each verdict the time at which it was first found to be so.
func dated(records, before []v1alpha1.DNSRecord, now time.Time) []v1alpha1.DNSRecord {
	at := metav1.NewTime(now.Truncate(time.Second))
	for i := range records {
		r := &records[i]
		r.LastChecked = &at
		for _, old := range before {
			if old.Purpose == r.Purpose && old.Name == r.Name && old.Result == r.Result {
				r.LastChecked = old.LastChecked
			}
		}
	}
	return records
}
