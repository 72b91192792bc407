package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/mail"
	"slices"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/message"
)

// maxReceived is how many Received fields make a loop (RFC 5321 §6.3).
const maxReceived = 100

// Verdict is what is known about an acceptable message from its header.
type Verdict struct {
	// Tenant is the SendingDomain that the message is sent as: that of From. Empty when there is none.
	Tenant string
	// Sign says that the message must be signed as Tenant.
	Sign bool
	// Priority is what the rules of Tenant make of the header; 0 where none matches.
	Priority int
	// NoDate and NoMessageID say that the message lacks these fields.
	NoDate, NoMessageID bool
}

// Header judges the header block of a message from c. Mail from anyone is only guarded against loops: it is passed
// on as it is, never signed.
func (p *Policy) Header(c Client, header []byte) (Verdict, error) {
	fields, err := message.Fields(header)
	if c.Origin == envelope.Relayed {
		return Verdict{}, looping(received(header))
	}
	if err != nil {
		return Verdict{}, refuse(550, "5.6.0", "The header is malformed: %s", err)
	}
	if err := looping(message.Count(fields, "Received")); err != nil {
		return Verdict{}, err
	}
	from, err := p.author(c, fields)
	if err != nil {
		return Verdict{}, err
	}
	if err := p.others(c, fields); err != nil {
		return Verdict{}, err
	}
	v := Verdict{
		NoDate:      message.Count(fields, "Date") == 0,
		NoMessageID: message.Count(fields, "Message-ID") == 0,
	}
	v.Priority = priorityOf(fields, p.domains[from].Priorities)
	return p.signing(v, from)
}

// received counts the Received fields of any header block, well-formed or not.
func received(header []byte) int {
	return bytes.Count(append([]byte("\n"), bytes.ToLower(header)...), []byte("\nreceived:"))
}

func looping(received int) error {
	if received >= maxReceived {
		return refuse(554, "5.4.6", "Mail loop: %d Received fields", received)
	}
	return nil
}

// author returns the domain of From, when c may send as all of its addresses (RFC 5322 §3.6.2 allows several).
func (p *Policy) author(c Client, fields []message.Field) (string, error) {
	if n := message.Count(fields, "From"); n != 1 {
		return "", refuse(550, "5.7.1", "The header has %d From fields; it must have one", n)
	}
	at := slices.IndexFunc(fields, func(f message.Field) bool { return f.Is("From") })
	domains, err := domainsIn(fields[at])
	if err != nil {
		return "", refuse(550, "5.7.1", "The From field is malformed")
	}
	for _, domain := range domains {
		if !p.may(c, domain) {
			return "", refuse(550, "5.7.1", "You may not send with From at %s", domain)
		}
	}
	return p.signedAs(domains), nil
}

// others refuses that a user is shown as somebody else's SendingDomain beside its own From: "x on behalf of y". Domains
// that are nobody's here say nothing about who sends, and what cannot be read is not shown.
func (p *Policy) others(c Client, fields []message.Field) error {
	if c.Origin != envelope.Submitted {
		return nil
	}
	for _, f := range fields {
		if !f.Is("Sender") && !f.Is("Resent-From") && !f.Is("Resent-Sender") {
			continue
		}
		domains, _ := domainsIn(f)
		for _, domain := range domains {
			if _, declared := p.domains[domain]; declared && !p.may(c, domain) {
				return refuse(550, "5.7.1", "You may not send with %s at %s", f.Name, domain)
			}
		}
	}
	return nil
}

// signedAs is the first of the domains of From that signs, so that it is not put behind another to go unsigned; else
// the first of them.
func (p *Policy) signedAs(domains []string) string {
	if i := slices.IndexFunc(domains, func(d string) bool { return p.domains[d].Sign }); i >= 0 {
		return domains[i]
	}
	return domains[0]
}

// domainsIn are the domains of the addresses in a field: at least one. Names in any character set will do: only the
// addresses are looked at.
func domainsIn(f message.Field) ([]string, error) {
	parser := mail.AddressParser{WordDecoder: &mime.WordDecoder{
		CharsetReader: func(_ string, octets io.Reader) (io.Reader, error) { return octets, nil },
	}}
	addresses, err := parser.ParseList(f.Value())
	if err != nil {
		return nil, err
	}
	var domains []string
	for _, a := range addresses {
		domain, err := envelope.ParseDomain(envelope.DomainOf(a.Address))
		if err != nil {
			return nil, err
		}
		domains = append(domains, domain)
	}
	if len(domains) == 0 {
		return nil, errors.New("no address")
	}
	return domains, nil
}

// signing says who signs: the SendingDomain of From. A domain that signs is never sent unsigned.
func (p *Policy) signing(v Verdict, from string) (Verdict, error) {
	d, declared := p.domains[from]
	if !declared {
		return v, nil
	}
	v.Tenant, v.Sign = d.Name, d.Sign
	if d.Sign && len(d.Keys) == 0 {
		return v, refuse(451, "4.7.5", "There is no DKIM key for %s yet; try again later", d.Name)
	}
	return v, nil
}

// Missing returns the fields that a submitted message lacks (RFC 6409 §8): to be put above its header, and signed
// with it. Relay listeners add none.
func (v Verdict) Missing(mode config.ListenerMode, id envelope.ID, hostname string, now time.Time) []byte {
	var b bytes.Buffer
	if mode == config.ModeSubmission && v.NoDate {
		fmt.Fprintf(&b, "Date: %s\r\n", now.UTC().Format(dateFormat))
	}
	if mode == config.ModeSubmission && v.NoMessageID {
		fmt.Fprintf(&b, "Message-ID: <%s@%s>\r\n", id, hostname)
	}
	return b.Bytes()
}
