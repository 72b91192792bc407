package envelope

import (
	"errors"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
)

// MaxAddress is the longest address, in octets: a path of 256 without its brackets (RFC 5321 §4.5.3.1.3). The
// limit of 64 on the local part is not enforced: bounce addresses that carry a key exceed it every day.
const MaxAddress = 254

// The ways in which an address can be wrong.
var (
	ErrAddressSyntax   = errors.New("the address is malformed")
	ErrAddressTooLong  = errors.New("the address is too long")
	ErrAddressNonASCII = errors.New("the address needs SMTPUTF8")
)

// Address is a mailbox (RFC 5321 §4.1.2) taken apart.
type Address struct {
	// Local is the local part without quotes and escapes; its case matters.
	Local string
	// Domain is lower case, or an address literal with its brackets.
	Domain string
}

// ParseAddress takes the address of MAIL FROM or RCPT TO, without brackets. It is strict: what it accepts means
// the same to every reader.
func ParseAddress(s string) (Address, error) {
	if len(s) > MaxAddress {
		return Address{}, ErrAddressTooLong
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r > '~' }) {
		return Address{}, ErrAddressNonASCII
	}
	local, domain, ok := cutLocal(s)
	if !ok {
		return Address{}, ErrAddressSyntax
	}
	domain, err := parseDomain(domain)
	if err != nil {
		return Address{}, err
	}
	return Address{Local: local, Domain: domain}, nil
}

// String is the address as it stands in a command: the local part is quoted where it has to be.
func (a Address) String() string { return quoteLocal(a.Local) + "@" + a.Domain }

// IsLiteral says whether the domain is an address literal.
func (a Address) IsLiteral() bool { return strings.HasPrefix(a.Domain, "[") }

// ParseDomain returns a domain name in lower case and A-labels, so that equal domains are equal strings.
func ParseDomain(s string) (string, error) {
	ascii, err := idna.Lookup.ToASCII(s)
	if err != nil || !isDomain(ascii) {
		return "", ErrAddressSyntax
	}
	return ascii, nil
}

func parseDomain(s string) (string, error) {
	if strings.HasPrefix(s, "[") {
		return parseLiteral(s)
	}
	lower := strings.ToLower(s)
	if !isDomain(lower) {
		return "", ErrAddressSyntax
	}
	return lower, nil
}

// parseLiteral takes an address literal (RFC 5321 §4.1.3). The general form has no registered tag, so none is known.
func parseLiteral(s string) (string, error) {
	inner, ok := strings.CutSuffix(strings.TrimPrefix(s, "["), "]")
	v6, tagged := cutPrefixFold(inner, "IPv6:")
	addr, err := netip.ParseAddr(v6)
	if !ok || err != nil || addr.Zone() != "" || addr.Is4() == tagged {
		return "", ErrAddressSyntax
	}
	return Literal(addr), nil
}

// Literal is the address literal of an IP address.
func Literal(addr netip.Addr) string {
	addr = addr.Unmap()
	if addr.Is4() {
		return "[" + addr.String() + "]"
	}
	return "[IPv6:" + addr.String() + "]"
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// cutLocal splits an address behind its local part, which it returns unquoted.
func cutLocal(s string) (local, domain string, ok bool) {
	if strings.HasPrefix(s, `"`) {
		return cutQuoted(s[1:])
	}
	local, domain, ok = strings.Cut(s, "@")
	return local, domain, ok && isDotString(local)
}

func cutQuoted(s string) (local, domain string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch c {
		case '"':
			domain, ok = strings.CutPrefix(s[i+1:], "@")
			return b.String(), domain, ok && b.Len() > 0
		case '\\':
			i++
			if i == len(s) {
				return "", "", false
			}
			c = s[i]
		}
		if c < ' ' || c > '~' {
			return "", "", false
		}
		b.WriteByte(c)
	}
	return "", "", false
}

func quoteLocal(local string) string {
	if isDotString(local) {
		return local
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(local) + `"`
}

// isDotString says whether s is a Dot-string: atoms joined by single dots.
func isDotString(s string) bool {
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" || strings.ContainsFunc(atom, func(r rune) bool { return !isAtext(r) }) {
			return false
		}
	}
	return true
}

func isAtext(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
		strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}

// isDomain says whether s is a domain name in lower-case LDH labels (RFC 5321 §4.1.2, RFC 1035 §2.3.4).
func isDomain(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !isLabel(label) {
			return false
		}
	}
	return true
}

func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	})
}
