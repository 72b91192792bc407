package dns

import (
	"strings"
)

// maxName is the longest domain name as text, without the final dot (RFC 1035 §2.3.4).
const maxName = 253

// hostName returns the name of a host as we write it, lower case and without the final dot, and whether it is one:
// labels of letters, digits, hyphens and, as DNS has them in practice, underscores; the last one not a number, so
// that an address in the place of a name is not taken for one (RFC 1123 §2.1).
func hostName(name string) (string, bool) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	last := name[strings.LastIndexByte(name, '.')+1:]
	return name, validName(name) && strings.Trim(last, "0123456789") != ""
}

// validName says whether a lower-case name is one that we put to DNS.
func validName(name string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if !validLabel(label) {
			return false
		}
	}
	return true
}

func validLabel(label string) bool {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for _, c := range []byte(label) {
		letter := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !letter && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// unescape turns the text form of a TXT record, which the library hands out, back into its octets
// (RFC 1035 §5.1: \DDD is an octet, \X is X).
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	octets := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			octets = append(octets, s[i])
			continue
		}
		if code, ok := decimal(s[i+1:]); ok {
			octets = append(octets, code)
			i += 3
			continue
		}
		i++
		octets = append(octets, s[i])
	}
	return string(octets)
}

// decimal reads the three digits that s begins with.
func decimal(s string) (byte, bool) {
	if len(s) < 3 {
		return 0, false
	}
	n := 0
	for _, c := range []byte(s[:3]) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return byte(n), n <= 255
}
