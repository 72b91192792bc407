// Package policy decides what is accepted: who a client is, whom it may send as and to, and what a message lacks.
// Its decisions are pure: a configuration and a question in, nil or a reply out. It stores nothing, looks nothing
// up, and refuses to guess: what is not allowed is refused.
package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/rate"
	"github.com/postrider/postrider/relay/reply"
)

// Options of a Policy.
type Options struct {
	Relay   config.Relay
	Domains []config.Domain
	// Accounts are those of config.Config: users of this kind, and no others, may vanish while their session goes on.
	Accounts map[string]string
	// RelaysTo says whether anyone may reach a recipient domain: route.Router.RelaysTo.
	RelaysTo func(domain string) bool
	// Limiter counts messages of the Accept stage.
	Limiter Limiter
}

// Limiter is what policy asks of a rate.Limiter.
type Limiter interface {
	Accept(s rate.Subject) (policy string, ok bool)
}

// Policy is the rules of one configuration. It is immutable and safe for concurrent use.
type Policy struct {
	options    Options
	postmaster string
	hostname   string
	trusted    []netip.Prefix
	domains    map[string]config.Domain
}

// New makes the rules of a configuration.
func New(o Options) (*Policy, error) {
	p := &Policy{options: o, domains: make(map[string]config.Domain, len(o.Domains))}
	for _, text := range o.Relay.Access.TrustedCIDRs {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("access.trustedCIDRs: %w", err)
		}
		p.trusted = append(p.trusted, prefix.Masked())
	}
	postmaster, err := envelope.ParseAddress(o.Relay.Postmaster)
	if err != nil {
		return nil, fmt.Errorf("postmaster %q: %w", o.Relay.Postmaster, err)
	}
	p.postmaster, p.hostname = postmaster.String(), strings.ToLower(o.Relay.Hostname)
	for _, d := range o.Domains {
		p.domains[d.Name] = d
	}
	return p, nil
}

// Trusted says whether a client at this address may relay without AUTH.
func (p *Policy) Trusted(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(p.trusted, func(prefix netip.Prefix) bool { return prefix.Contains(addr) })
}

// Client is who sends.
type Client struct {
	Origin envelope.Origin
	// User is the name the client authenticated with, for Submitted.
	User string
	// UID is that of the account that User was then.
	UID string
}

// ClientOf says who a client is: the user that it proved to be, else a trusted address, else anyone.
func ClientOf(user string, trusted bool) Client {
	switch {
	case user != "":
		return Client{Origin: envelope.Submitted, User: user}
	case trusted:
		return Client{Origin: envelope.Trusted}
	default:
		return Client{Origin: envelope.Relayed}
	}
}

// may says whether c may send as a domain.
func (p *Policy) may(c Client, domain string) bool {
	d, declared := p.domains[domain]
	switch c.Origin {
	case envelope.Submitted:
		return declared && (slices.Contains(d.Users, c.User) || p.accountMay(d, c))
	case envelope.Trusted:
		return declared || p.options.Relay.Access.UndeclaredSenders == config.SendersAccept
	default:
		return false
	}
}

// accountMay says whether a client is an account of those that a domain admits, and is still there: one that was made
// again under its name is another.
func (p *Policy) accountMay(d config.Domain, c Client) bool {
	uid, there := p.options.Accounts[c.User]
	return there && uid == c.UID && (slices.Contains(d.Accounts, c.User) || d.AccountsOf != "" && strings.HasPrefix(c.User, d.AccountsOf))
}

// ReversePath says whether c may use the address of a MAIL FROM; path is as the listener gives it. Anyone may use
// any: what they may reach is decided by Recipient.
func (p *Policy) ReversePath(c Client, path string) error {
	switch {
	case c.Origin == envelope.Relayed:
		return nil
	case path == "" && c.Origin == envelope.Trusted:
		return nil
	case path == "":
		return refuse(550, "5.7.1", "The null reverse path is not for users")
	case !p.may(c, envelope.DomainOf(path)):
		return refuse(550, "5.7.1", "You may not send as %s", path)
	}
	return nil
}

// Accept counts a message in the Accept stage of the rate policies. tenant is Verdict.Tenant, empty when it is not
// known.
func (p *Policy) Accept(c Client, path, tenant string) error {
	sender, domain := path, tenant
	if c.User != "" {
		sender = c.User
	}
	switch {
	case c.Origin == envelope.Relayed: // anyone can name anybody, and must not use up what is theirs
		sender = "<" + path + ">"
	case domain == "":
		domain = envelope.DomainOf(path)
	}
	if policy, ok := p.options.Limiter.Accept(rate.Subject{Sender: sender, SenderDomain: domain}); !ok {
		return refuse(451, "4.7.1", "Over the limit of %s; try again later", policy)
	}
	return nil
}

// Recipient says whether c may send to an address, given as the listener does, and returns the address that gets
// the mail: the relay's postmaster in place of the roles that every host has (RFC 5321 §4.5.1, RFC 2142).
func (p *Policy) Recipient(c Client, to string) (string, error) {
	if p.isRole(to) {
		return p.postmaster, nil
	}
	address, err := envelope.ParseAddressUTF8(to)
	if err != nil {
		return "", refuse(553, "5.1.3", "%s", err)
	}
	switch {
	case c.Origin != envelope.Relayed && address.IsLiteral():
		return "", refuse(550, "5.1.2", "Address literals are not routed")
	case c.Origin != envelope.Relayed:
		return to, nil
	case address.IsLiteral() || !p.options.RelaysTo(address.Domain):
		return "", refuse(550, "5.7.1", "Relaying denied")
	case strings.ContainsAny(address.Local, "@%!"):
		return "", refuse(550, "5.7.1", "Relaying denied: the local part names another host")
	}
	return to, nil
}

// isRole says whether an address is postmaster without a domain, or postmaster or abuse here.
func (p *Policy) isRole(to string) bool {
	local, domain, _ := strings.Cut(strings.ToLower(to), "@")
	switch local {
	case "postmaster":
		return domain == "" || domain == p.hostname
	case "abuse":
		return domain == p.hostname
	}
	return false
}

func refuse(code int, enhanced, format string, args ...any) error {
	return reply.Reply{Code: code, Enhanced: enhanced, Text: fmt.Sprintf(format, args...)}
}
