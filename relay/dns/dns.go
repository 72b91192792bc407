// Package dns owns questions to the domain name system and the meaning of what comes back: an answer, a proof
// that there is none, or no answer. It decides nothing about mail.
package dns

import (
	"context"
	"errors"
	"net/netip"
)

// MX is one mail exchanger (RFC 5321 §5.1). A null MX (RFC 7505) has the host "." .
type MX struct {
	// Host is lower case, without the final dot (but for ".").
	Host       string
	Preference uint16
}

// The two ways in which DNS says "no". Any other error means that there was no answer (SERVFAIL, REFUSED, a
// time-out, a CNAME loop, a malformed or truncated message): it says nothing about the name and is temporary.
var (
	// ErrNXDomain: the name does not exist.
	ErrNXDomain = errors.New("no such domain")
	// ErrNoData: the name exists, but has no record of the type asked for.
	ErrNoData = errors.New("no such record")
)

// NotFound says whether err is a definite "no" from DNS.
func NotFound(err error) bool { return errors.Is(err, ErrNXDomain) || errors.Is(err, ErrNoData) }

// Resolver asks one kind of question per method. Names are given without the final dot; an empty answer is
// always an error.
type Resolver interface {
	// MX returns the exchangers of a domain in ascending preference.
	MX(ctx context.Context, domain string) ([]MX, error)
	// Addrs returns the IPv4 and IPv6 addresses of a host. It fails only when both look-ups do.
	Addrs(ctx context.Context, host string) ([]netip.Addr, error)
	// TXT returns the TXT records of a name, the strings of each record joined (RFC 7208 §3.3).
	TXT(ctx context.Context, name string) ([]string, error)
	// PTR returns the names of an address.
	PTR(ctx context.Context, addr netip.Addr) ([]string, error)
}
