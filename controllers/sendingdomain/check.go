package sendingdomain

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/claim"
	"github.com/postrider/postrider/controllers/dkimkey"
)

const (
	// checkTime is how long one check may take.
	checkTime = 30 * time.Second
	// eager is the pace of checks while something is amiss, for the first hour of that; then patient is.
	eager, eagerJitter = 15 * time.Second, 15 * time.Second
	eagerFor           = time.Hour
	patient            = 5 * time.Minute
	// failuresKept is how many look-ups in a row must fail before the last verdict is given up.
	failuresKept = 3
)

// check looks at DNS, if that is due, and otherwise keeps the verdicts there are.
func (p *pass) check(ctx context.Context) {
	p.records = p.domain.Status.Records
	about := p.about()
	if p.memory.about == about && p.now.Before(p.memory.next) {
		return
	}
	p.memory.about = about
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	found, err := look(ctx, p.Resolver(p.servers()), p.subject())
	if err != nil {
		log.FromContext(ctx).Error(err, "judging DNS records")
		p.memory.next = p.now.Add(patient)
		return
	}
	p.records = p.memory.settle(p.domain.Status.Records, found, p.now)
	p.memory.plan(p.records, time.Duration(p.domain.Spec.DNS.RecheckSeconds)*time.Second, p.now)
}

// about is what the answers depend on, besides DNS: when it changes, DNS is asked at once.
func (p *pass) about() string {
	relay := int64(-1)
	if p.relay != nil {
		relay = p.relay.Generation
	}
	return fmt.Sprint(p.domain.UID, p.domain.Generation, relay, claim.Relay(p.domain), p.keys.active, p.keys.pending)
}

func (p *pass) subject() subject {
	s := subject{domain: string(p.domain.Spec.Domain), egress: addresses(p.relay)}
	s.keys = slices.Concat(p.keys.sign, p.keys.wait)
	s.hostname = s.domain
	if p.relay != nil {
		s.hostname = string(p.relay.Spec.Hostname)
	}
	return s
}

// servers are those that the relay asks.
func (p *pass) servers() []string {
	if p.relay == nil {
		return nil
	}
	var servers []string
	for _, r := range p.relay.Spec.DNS.Resolvers {
		servers = append(servers, string(r))
	}
	return servers
}

// settle turns what was found into the verdicts that hold: a look-up that failed once or twice keeps the last
// one, and lastChecked changes with the result alone.
func (m *memory) settle(before, found []v1alpha1.DNSRecord, now time.Time) []v1alpha1.DNSRecord {
	failures := map[string]int{}
	for i := range found {
		f := &found[i]
		id := string(f.Purpose) + " " + f.Name
		old := slices.IndexFunc(before, func(r v1alpha1.DNSRecord) bool { return r.Purpose == f.Purpose && r.Name == f.Name })
		if f.Result == v1alpha1.ResultLookupFailed {
			failures[id] = m.failures[id] + 1
			if old >= 0 && failures[id] < failuresKept {
				*f = before[old]
				continue
			}
		}
		f.LastChecked = ptr.To(metav1.NewTime(now.Truncate(time.Second)))
		if old >= 0 && before[old].Result == f.Result {
			f.LastChecked = before[old].LastChecked
		}
	}
	m.failures = failures
	return found
}

// plan decides when to look again: soon while something is amiss, at leisure otherwise.
func (m *memory) plan(records []v1alpha1.DNSRecord, recheck time.Duration, now time.Time) {
	amiss := len(m.failures) > 0 || slices.ContainsFunc(records, func(r v1alpha1.DNSRecord) bool {
		return !slices.Contains([]v1alpha1.RecordResult{v1alpha1.ResultPass, v1alpha1.ResultWeak, v1alpha1.ResultNotRequired}, r.Result)
	})
	switch {
	case !amiss:
		m.amiss = time.Time{}
		m.next = now.Add(recheck - rand.N(max(recheck/10, 1)))
		return
	case m.amiss.IsZero():
		m.amiss = now
	}
	wait := eager + rand.N(eagerJitter)
	if now.Sub(m.amiss) > eagerFor {
		wait = min(patient, recheck)
	}
	m.next = now.Add(wait)
}

// again comes back when the next look is due. That waits behind real changes.
func (p *pass) again() ctrl.Result {
	return ctrl.Result{RequeueAfter: max(p.memory.next.Sub(p.now), time.Second), Priority: ptr.To(handler.LowPriority)}
}

// ofKeys picks the records of these keys and all that are not of keys.
func ofKeys(records []v1alpha1.DNSRecord, list []dkimkey.Key, d *v1alpha1.SendingDomain) []v1alpha1.DNSRecord {
	var picked []v1alpha1.DNSRecord
	for _, r := range records {
		ours := slices.ContainsFunc(list, func(k dkimkey.Key) bool { return dkimName(k, d) == r.Name })
		if r.Purpose != v1alpha1.PurposeDKIM || ours {
			picked = append(picked, r)
		}
	}
	return picked
}
