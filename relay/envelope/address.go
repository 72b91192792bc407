package envelope

import (
	"errors"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

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
	// Local is the local part without quotes and escapes; its case matters, and so does its Unicode normal form.
	Local string
	// Domain is lower case in A-labels, or an address literal with its brackets.
	Domain string
}

// ParseAddress takes the address of MAIL FROM or RCPT TO, without brackets. It is strict: what it accepts means
// the same to every reader.
func ParseAddress(s string) (Address, error) {
	if len(s) <= MaxAddress && strings.ContainsFunc(s, func(r rune) bool { return r > '~' }) {
		return Address{}, ErrAddressNonASCII
	}
	return ParseAddressUTF8(s)
}

// ParseAddressUTF8 takes an address of a transaction with SMTPUTF8 as well (RFC 6531 §3.3): UTF-8 in the local part,
// which stays as it is, and U-labels in the domain, which become A-labels.
func ParseAddressUTF8(s string) (Address, error) {
	if len(s) > MaxAddress {
		return Address{}, ErrAddressTooLong
	}
	if !utf8.ValidString(s) {
		return Address{}, ErrAddressSyntax
	}
	local, domain, ok := cutLocal(s)
	if !ok {
		return Address{}, ErrAddressSyntax
	}
	domain, err := parseDomain(domain)
	if err != nil {
		return Address{}, err
	}
	a := Address{Local: local, Domain: domain}
	if len(a.String()) > MaxAddress { // A-labels are longer
		return Address{}, ErrAddressTooLong
	}
	return a, nil
}

// String is the address as it stands in a command: the local part is quoted where it has to be.
func (a Address) String() string { return quoteLocal(a.Local) + "@" + a.Domain }

// IsLiteral says whether the domain is an address literal.
func (a Address) IsLiteral() bool { return strings.HasPrefix(a.Domain, "[") }

// NeedsUTF8 says whether an address as Address.String writes it, or any other text, can only go where SMTPUTF8 is.
func NeedsUTF8(address string) bool {
	return strings.ContainsFunc(address, func(r rune) bool { return r >= utf8.RuneSelf })
}

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
	if NeedsUTF8(s) {
		return ParseDomain(s)
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

// Literal is the address literal of an IP address. A zone means nothing to others.
func Literal(addr netip.Addr) string {
	addr = addr.Unmap().WithZone("")
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
	escaped := false
	for i, r := range s {
		switch {
		case r < ' ' || r == 0x7f || isObscure(r):
			return "", "", false
		case !escaped && r == '"':
			domain, ok = strings.CutPrefix(s[i+1:], "@")
			return b.String(), domain, ok && b.Len() > 0
		case !escaped && r == '\\':
			escaped = true
		case escaped && r >= utf8.RuneSelf: // a quoted pair is ASCII (RFC 6531 §3.3)
			return "", "", false
		default:
			escaped = false
			b.WriteRune(r)
		}
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
		strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r) || r >= utf8.RuneSelf && !isObscure(r)
}

// isObscure says whether a character beyond ASCII ends lines or steers terminals: it would not be inert in logs.
func isObscure(r rune) bool {
	return r >= utf8.RuneSelf && (unicode.IsControl(r) || r == '\u2028' || r == '\u2029')
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
