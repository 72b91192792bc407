package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/sendingdomain"
	"github.com/postrider/postrider/relay/dns"
)

func newDNS(s streams) *cobra.Command {
	c := &cobra.Command{Use: "dns", Short: "The DNS records of a relay's domains: what to publish, what is published, SPF", Args: arguments(cobra.NoArgs), RunE: help}
	c.AddCommand(newDNSRecords(s), newDNSCheck(s), newDNSSPF(s))
	return c
}

// sendingDomains are the SendingDomains of the target, or the one of them that is named.
func (t *target) sendingDomains(ctx context.Context, domain string) ([]*v1alpha1.SendingDomain, error) {
	objects, err := t.objects(ctx)
	if err != nil {
		return nil, err
	}
	var found []*v1alpha1.SendingDomain
	for _, o := range objects {
		if d, ok := o.(*v1alpha1.SendingDomain); ok && (domain == "" || string(d.Spec.Domain) == domain) {
			found = append(found, d)
		}
	}
	if len(found) == 0 {
		return nil, errors.New(strings.TrimSpace("there is no SendingDomain " + domain))
	}
	return found, nil
}

func newDNSRecords(s streams) *cobra.Command {
	return newDomainCommand("records", "Print the records to publish, as lines of a zone file", func(o output, domains []*v1alpha1.SendingDomain) error {
		var lines []string
		for _, d := range domains {
			for _, r := range d.Status.Records {
				lines = append(lines, zoneLines(r)...)
			}
		}
		if o.structured() {
			return o.write(s.out, lines)
		}
		for _, line := range lines {
			if _, err := fmt.Fprintln(s.out, line); err != nil {
				return err
			}
		}
		return nil
	})
}

func newDNSCheck(s streams) *cobra.Command {
	return newDomainCommand("check", "Show what is published, and what to change; fails if a record is not as it must be", func(o output, domains []*v1alpha1.SendingDomain) error {
		records := map[string][]v1alpha1.DNSRecord{}
		var rows [][]string
		var bad []error
		for _, d := range domains {
			records[string(d.Spec.Domain)] = d.Status.Records
			for _, r := range d.Status.Records {
				rows = append(rows, []string{string(d.Spec.Domain), string(r.Purpose), r.Name, string(r.Result), r.Message})
				if r.Result == v1alpha1.ResultMissing || r.Result == v1alpha1.ResultMismatch || r.Result == v1alpha1.ResultLookupFailed {
					bad = append(bad, fmt.Errorf("%s of %s: %s", r.Purpose, d.Spec.Domain, r.Result))
				}
			}
			if len(d.Status.Records) == 0 {
				bad = append(bad, fmt.Errorf("DNS has not been asked about %s yet", d.Spec.Domain))
			}
		}
		if o.structured() {
			return errors.Join(o.write(s.out, records), errors.Join(bad...))
		}
		return errors.Join(table(s.out, []string{"DOMAIN", "RECORD", "NAME", "RESULT", "WHAT TO DO"}, rows), errors.Join(bad...))
	})
}

// newDomainCommand is a command about the domains of a relay, or about one of them.
func newDomainCommand(use, short string, show func(output, []*v1alpha1.SendingDomain) error) *cobra.Command {
	var t target
	var o output
	var domain string
	c := &cobra.Command{
		Use: use + " [NAME]", Short: short, Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := t.take(args); err != nil {
				return err
			}
			if err := o.check(); err != nil {
				return err
			}
			domains, err := t.sendingDomains(c.Context(), strings.ToLower(domain))
			if err != nil {
				return err
			}
			return show(o, domains)
		},
	}
	t.flags(c)
	o.flags(c)
	c.Flags().StringVar(&domain, "domain", "", "only this domain")
	return c
}

// zoneLines are the lines of a zone file for the values that a record should have. What is right already and has
// no expected value needs none.
func zoneLines(r v1alpha1.DNSRecord) []string {
	var lines []string
	for _, value := range r.Expected {
		if r.Type == "TXT" {
			value = quoteTXT(value)
		}
		lines = append(lines, fmt.Sprintf("%s. IN %s %s", r.Name, r.Type, value))
	}
	return lines
}

// maxTXT is how long one character-string of a TXT record may be (RFC 1035 §3.3).
const maxTXT = 255

// quoteTXT is a value as character-strings.
func quoteTXT(value string) string {
	var parts []string
	for len(value) > 0 {
		n := min(len(value), maxTXT)
		parts = append(parts, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value[:n])+`"`)
		value = value[n:]
	}
	return strings.Join(parts, " ")
}

func newDNSSPF(s streams) *cobra.Command {
	var ip, helo, from, resolver string
	var o output
	c := &cobra.Command{
		Use: "spf --ip IP --from ADDRESS", Short: "Evaluate SPF as a receiver would (RFC 7208); fails unless it passes", Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			address, err := netip.ParseAddr(ip)
			if err != nil {
				return usageError{fmt.Errorf("--ip: %w", err)}
			}
			if helo == "" && from == "" {
				return usageError{errors.New("--from or --helo is required")}
			}
			if err := o.check(); err != nil {
				return err
			}
			return evaluateSPF(c.Context(), s, o, spfQuestion{address, helo, from, resolver})
		},
	}
	o.flags(c)
	c.Flags().StringVar(&ip, "ip", "", "address that the mail comes from")
	c.Flags().StringVar(&helo, "helo", "", "name in HELO")
	c.Flags().StringVar(&from, "from", "", "reverse path; empty for <>, then the HELO name counts")
	c.Flags().StringVar(&resolver, "resolver", "", "address and port of the DNS server to ask; default those of this machine")
	return c
}

type spfQuestion struct {
	address              netip.Addr
	helo, from, resolver string
}

func evaluateSPF(ctx context.Context, s streams, o output, q spfQuestion) error {
	var servers []string
	if q.resolver != "" {
		servers = []string{q.resolver}
	}
	e := sendingdomain.EvaluateSPF(ctx, dns.New(dns.Options{Servers: servers}), q.address, q.helo, q.from)
	var err error
	if o.structured() {
		err = o.write(s.out, map[string]string{"result": e.Result, "reason": e.Reason})
	} else {
		_, err = fmt.Fprintln(s.out, strings.TrimSpace(e.Result+"  "+e.Reason))
	}
	if err == nil && e.Result != "pass" {
		err = fmt.Errorf("SPF does not pass: %s", e.Result)
	}
	return err
}
