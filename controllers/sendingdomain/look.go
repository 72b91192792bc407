package sendingdomain

import (
	"context"
	"net/netip"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/dkimkey"
	"github.com/postrider/postrider/controllers/dnscheck"
	"github.com/postrider/postrider/relay/dns"
)

// subject is what DNS is asked about.
type subject struct {
	domain   string
	hostname string
	keys     []dkimkey.Key
	egress   []netip.Addr
}

// look asks DNS for everything that a domain needs, and judges the answers.
func look(ctx context.Context, r dns.Resolver, s subject) ([]v1alpha1.DNSRecord, error) {
	records := []v1alpha1.DNSRecord{lookMX(ctx, r, s.domain), lookSPF(ctx, r, s)}
	for _, k := range s.keys {
		public, err := dnscheck.NewPublicKey(k.Selector, k.Public)
		if err != nil {
			return nil, err
		}
		records = append(records, dnscheck.DKIM(s.domain, public, texts(ctx, r, public.Name(s.domain))))
	}
	return append(records, lookDMARC(ctx, r, s.domain)), nil
}

func texts(ctx context.Context, r dns.Resolver, name string) dnscheck.Texts {
	values, err := r.TXT(ctx, name)
	return dnscheck.Texts{Values: values, Err: err}
}

func lookMX(ctx context.Context, r dns.Resolver, domain string) v1alpha1.DNSRecord {
	var answer dnscheck.Exchangers
	answer.Values, answer.Err = r.MX(ctx, domain)
	if dns.NotFound(answer.Err) {
		_, answer.AddressErr = r.Addrs(ctx, domain)
	}
	return dnscheck.MX(domain, answer)
}

// lookDMARC walks up the tree to the first policy; an answer that does not come ends the walk, for the policy
// may stand there.
func lookDMARC(ctx context.Context, r dns.Resolver, domain string) v1alpha1.DNSRecord {
	var answers []dnscheck.Texts
	for _, name := range dnscheck.DMARCNames(domain) {
		answer := texts(ctx, r, name)
		answers = append(answers, answer)
		if dnscheck.HasDMARC(answer.Values) || answer.Err != nil && !dns.NotFound(answer.Err) {
			break
		}
	}
	return dnscheck.DMARC(domain, answers)
}

func lookSPF(ctx context.Context, r dns.Resolver, s subject) v1alpha1.DNSRecord {
	if len(s.egress) == 0 {
		return dnscheck.SPF(s.domain, nil, dnscheck.Texts{}, nil)
	}
	answer := texts(ctx, r, s.domain)
	var evaluations []dnscheck.Evaluation
	if answer.Err == nil {
		for _, a := range s.egress {
			evaluations = append(evaluations, evaluate(ctx, r, a, s))
		}
	}
	return dnscheck.SPF(s.domain, s.egress, answer, evaluations)
}

// addresses are the egress addresses of a relay.
func addresses(relay *v1alpha1.MailRelay) []netip.Addr {
	if relay == nil {
		return nil
	}
	var list []netip.Addr
	for _, a := range relay.Spec.Egress.Addresses {
		if parsed, err := netip.ParseAddr(string(a)); err == nil {
			list = append(list, parsed.Unmap())
		}
	}
	return list
}
