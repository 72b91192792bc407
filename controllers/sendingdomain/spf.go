package sendingdomain

import (
	"context"
	"net"
	"net/netip"

	"blitiri.com.ar/go/spf"

	"github.com/postrider/postrider/controllers/dnscheck"
	"github.com/postrider/postrider/relay/dns"
)

// evaluate asks what SPF says to mail of the domain from an address.
func evaluate(ctx context.Context, r dns.Resolver, a netip.Addr, s subject) dnscheck.Evaluation {
	return EvaluateSPF(ctx, r, a, s.hostname, "postmaster@"+s.domain)
}

// EvaluateSPF asks what SPF says to mail from an address, as a receiver would (RFC 7208 §4). Without a sender, the
// HELO name counts.
func EvaluateSPF(ctx context.Context, r dns.Resolver, a netip.Addr, helo, sender string) dnscheck.Evaluation {
	result, err := spf.CheckHostWithSender(net.IP(a.AsSlice()), helo, sender, spf.WithContext(ctx), spf.WithResolver(spfResolver{r}))
	e := dnscheck.Evaluation{Address: a, Result: string(result)}
	if err != nil {
		e.Reason = err.Error()
	}
	return e
}

// spfResolver lets the evaluator ask our resolver.
type spfResolver struct{ dns.Resolver }

func (r spfResolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	values, err := r.TXT(ctx, trim(name))
	return values, failure(name, err)
}

func (r spfResolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	values, err := r.MX(ctx, trim(name))
	var list []*net.MX
	for _, mx := range values {
		list = append(list, &net.MX{Host: mx.Host, Pref: mx.Preference})
	}
	return list, failure(name, err)
}

func (r spfResolver) LookupIPAddr(ctx context.Context, name string) ([]net.IPAddr, error) {
	values, err := r.Addrs(ctx, trim(name))
	var list []net.IPAddr
	for _, a := range values {
		list = append(list, net.IPAddr{IP: a.AsSlice()})
	}
	return list, failure(name, err)
}

func (r spfResolver) LookupAddr(ctx context.Context, address string) ([]string, error) {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return nil, failure(address, dns.ErrNXDomain)
	}
	names, err := r.PTR(ctx, a)
	return names, failure(address, err)
}

func trim(name string) string {
	if n := len(name); n > 1 && name[n-1] == '.' {
		return name[:n-1]
	}
	return name
}

// failure is an error as the evaluator tells them apart: there is none, or there was no answer.
func failure(name string, err error) error {
	if err == nil {
		return nil
	}
	return &net.DNSError{Err: err.Error(), Name: name, IsNotFound: dns.NotFound(err), IsTemporary: !dns.NotFound(err)}
}
