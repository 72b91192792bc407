package local

import (
	"context"
	"net"
	"net/netip"

	"blitiri.com.ar/go/spf"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/dnscheck"
	"github.com/postrider/postrider/relay/dns"
)

// Records asks DNS all that concerns a domain, and returns the verdicts.
func Records(ctx context.Context, r dns.Resolver, q Question) []v1alpha1.DNSRecord {
	texts := func(name string) dnscheck.Texts {
		values, err := r.TXT(ctx, name)
		return dnscheck.Texts{Values: values, Err: err}
	}
	var evaluations []dnscheck.Evaluation
	for _, address := range q.Egress {
		result, err := EvaluateSPF(ctx, r, address, q.Domain, "postmaster@"+q.Domain)
		evaluations = append(evaluations, evaluation(address, result, err))
	}
	records := []v1alpha1.DNSRecord{dnscheck.SPF(q.Domain, q.Egress, texts(q.Domain), evaluations)}
	for _, k := range q.Keys {
		records = append(records, dnscheck.DKIM(q.Domain, k, texts(k.Name(q.Domain))))
	}
	var policies []dnscheck.Texts
	for _, name := range dnscheck.DMARCNames(q.Domain) {
		answer := texts(name)
		policies = append(policies, answer)
		if dnscheck.HasDMARC(answer.Values) || answer.Err != nil && !dns.NotFound(answer.Err) {
			break
		}
	}
	return append(records, dnscheck.DMARC(q.Domain, policies), dnscheck.MX(q.Domain, exchangers(ctx, r, q.Domain)))
}

func evaluation(address netip.Addr, result spf.Result, err error) dnscheck.Evaluation {
	e := dnscheck.Evaluation{Address: address, Result: string(result)}
	if err != nil {
		e.Reason = err.Error()
	}
	return e
}

func exchangers(ctx context.Context, r dns.Resolver, domain string) dnscheck.Exchangers {
	values, err := r.MX(ctx, domain)
	answer := dnscheck.Exchangers{Values: values, Err: err}
	if dns.NotFound(err) {
		_, answer.AddressErr = r.Addrs(ctx, domain)
	}
	return answer
}

// EvaluateSPF asks what SPF says to mail from an address (RFC 7208 §4). The error explains the result.
func EvaluateSPF(ctx context.Context, r dns.Resolver, address netip.Addr, helo, sender string) (spf.Result, error) {
	return spf.CheckHostWithSender(net.IP(address.AsSlice()), helo, sender, spf.WithContext(ctx), spf.WithResolver(spfResolver{r}))
}

// spfResolver lets the evaluation ask our resolver. A definite "no" and no answer must not be mixed up.
type spfResolver struct{ dns.Resolver }

func (r spfResolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	values, err := r.TXT(ctx, name)
	return values, netError(name, err)
}

func (r spfResolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	values, err := r.MX(ctx, name)
	var list []*net.MX
	for _, mx := range values {
		list = append(list, &net.MX{Host: mx.Host, Pref: mx.Preference})
	}
	return list, netError(name, err)
}

func (r spfResolver) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	values, err := r.Addrs(ctx, host)
	var list []net.IPAddr
	for _, a := range values {
		list = append(list, net.IPAddr{IP: a.AsSlice(), Zone: a.Zone()})
	}
	return list, netError(host, err)
}

func (r spfResolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	address, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, err
	}
	names, err := r.PTR(ctx, address)
	return names, netError(addr, err)
}

// netError is an error of ours as package net would say it.
func netError(name string, err error) error {
	if err == nil {
		return nil
	}
	return &net.DNSError{Err: err.Error(), Name: name, IsNotFound: dns.NotFound(err), IsTemporary: !dns.NotFound(err)}
}
