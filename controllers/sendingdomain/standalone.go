package sendingdomain

import (
	"context"
	"time"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/dkimkey"
	"github.com/postrider/postrider/relay/dns"
)

// Standalone asks DNS about one SendingDomain where there is no API server. With Judge, it does what the Reconciler
// does: the caller finds out the facts, keeps the keys and stores the status. It is for one goroutine.
type Standalone struct{ memory memory }

// Facts are what the caller knows about a SendingDomain.
type Facts struct {
	// Relay is nil when there is none that admits the domain.
	Relay *v1alpha1.MailRelay
	// Claimed says that another SendingDomain has the domain on this relay.
	Claimed bool
	// Sets are the keys there are, oldest first; KeyProblem says why there are none.
	Sets       []dkimkey.Set
	KeyProblem string
}

// NeedsKeys says whether the domain signs and none of the sets has a key for each of its algorithms.
func NeedsKeys(d *v1alpha1.SendingDomain, sets []dkimkey.Set) bool {
	_, ok := newest(sets, d.Spec.DKIM.Algorithms)
	return !ok && d.Spec.DKIM.Signing != v1alpha1.SigningDisabled
}

// Look asks DNS, if that is due, and returns the verdicts that hold.
func (s *Standalone) Look(ctx context.Context, d *v1alpha1.SendingDomain, f Facts, resolver func(servers []string) dns.Resolver, now time.Time) []v1alpha1.DNSRecord {
	p := newPass(d, f, now)
	p.memory = &s.memory
	p.Reconciler = &Reconciler{Options: Options{Resolver: resolver}}
	p.check(ctx)
	return p.records
}

// Again makes the next Look ask DNS.
func (s *Standalone) Again() { s.memory.next = time.Time{} }

// Judge returns the status that follows from the facts and from d.Status.Records, and the keys that sign.
func Judge(d *v1alpha1.SendingDomain, f Facts, now time.Time) (v1alpha1.SendingDomainStatus, []dkimkey.Key) {
	p := newPass(d, f, now)
	p.activate()
	return v1alpha1.SendingDomainStatus{
		ObservedGeneration: d.Generation, DKIM: p.keys.status(), Records: p.records, Conditions: p.conditions(),
	}, p.keys.sign
}

func newPass(d *v1alpha1.SendingDomain, f Facts, now time.Time) *pass {
	p := &pass{domain: d, now: now, relay: f.Relay, allowed: f.Relay != nil, claimed: f.Claimed, records: d.Status.Records}
	if p.signs() {
		p.keys = choose(f.Sets, d.Spec.DKIM.Algorithms, d.Status.DKIM.ActiveSelector)
		p.keys.problem = f.KeyProblem
	}
	return p
}
