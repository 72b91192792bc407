package mailrelay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/condition"
	"github.com/postrider/postrider/controllers/dnscheck"
	"github.com/postrider/postrider/relay/dns"
)

const (
	// namesEvery is how often DNS is asked for the names of egress addresses, and namesAmiss while they are not as they should be.
	namesEvery, namesAmiss = time.Hour, 5 * time.Minute
	// namesTime is how long that may take.
	namesTime = 5 * time.Second
	// failuresKept is how many looks in a row must fail before the last verdict is given up.
	failuresKept = 3
)

// names is what is known of the names of a relay's egress addresses.
type names struct {
	// about is what the last look was about; next is when to look again.
	about    string
	next     time.Time
	failures int
	verdict  condition.Reverse
}

// reverse is the verdict on the names of the egress addresses; empty where there are none. DNS is asked when that is due.
func (p *pass) reverse(ctx context.Context) condition.Reverse {
	spec := &p.relay.Spec
	if len(spec.Egress.Addresses) == 0 || p.relay.DeletionTimestamp != nil {
		return condition.Reverse{}
	}
	n := &p.memory.names
	about := fmt.Sprint(spec.Hostname, spec.Egress.Addresses, spec.DNS.Resolvers)
	if n.about == about && p.now.Before(n.next) {
		return n.verdict
	}
	switch n.about {
	case "":
		*n = names{about: about, verdict: lastVerdict(p.relay)}
	case about:
	default:
		*n = names{about: about}
	}
	var servers []string
	for _, r := range spec.DNS.Resolvers {
		servers = append(servers, string(r))
	}
	ctx, cancel := context.WithTimeout(ctx, namesTime)
	defer cancel()
	var found condition.Reverse
	found.Reason, found.Message = dnscheck.PTR(string(spec.Hostname), lookNames(ctx, p.Resolver(servers), spec.Egress.Addresses))
	n.settle(found, p.now)
	return n.verdict
}

// lastVerdict is what the status said before the operator was started.
func lastVerdict(relay *v1alpha1.MailRelay) condition.Reverse {
	if c := meta.FindStatusCondition(relay.Status.Conditions, v1alpha1.ConditionPTRVerified); c != nil {
		return condition.Reverse{Reason: c.Reason, Message: c.Message}
	}
	return condition.Reverse{}
}

// settle takes up what was found: a look that failed once or twice keeps the last verdict.
func (n *names) settle(found condition.Reverse, now time.Time) {
	n.next = now.Add(namesAmiss)
	if found.Reason == v1alpha1.ReasonUnknown {
		// What resolvers say of their trouble differs each time, and means the same.
		n.failures++
		if before := n.verdict.Reason; before == "" || n.failures >= failuresKept && before != v1alpha1.ReasonUnknown {
			n.verdict = found
		}
		return
	}
	n.failures, n.verdict = 0, found
	if found.Reason == v1alpha1.ReasonForwardConfirmed {
		n.next = now.Add(namesEvery - rand.N(namesEvery/10))
	}
}

// lookNames asks for the names of addresses, and for the addresses of these.
func lookNames(ctx context.Context, r dns.Resolver, addresses []v1alpha1.IPAddress) []dnscheck.Named {
	var all []dnscheck.Named
	for _, text := range addresses {
		addr, err := netip.ParseAddr(string(text))
		if err != nil {
			continue // the API server has checked
		}
		one := dnscheck.Named{Addr: addr.Unmap(), Back: map[string][]netip.Addr{}}
		one.Names, one.Err = r.PTR(ctx, one.Addr)
		for _, name := range one.Names {
			back, err := r.Addrs(ctx, name)
			if err != nil && !dns.NotFound(err) {
				one.BackErr = errors.Join(one.BackErr, err)
			}
			one.Back[name] = back
		}
		all = append(all, one)
	}
	return all
}
