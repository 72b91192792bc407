package deliver

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/postrider/postrider/relay/envelope"
)

// mailCommand is MAIL with the parameters that the server knows.
func (s *conn) mailCommand(e *envelope.Envelope) string {
	command := "MAIL FROM:<" + e.ReversePath + ">"
	if s.offers("SIZE") && e.Size > 0 {
		command += " SIZE=" + strconv.FormatInt(e.Size, 10)
	}
	if e.EightBit {
		command += " BODY=8BITMIME"
	}
	if e.UTF8 {
		command += " SMTPUTF8"
	}
	if e.Priority != 0 && s.offers("MT-PRIORITY") {
		command += " MT-PRIORITY=" + strconv.Itoa(e.Priority) // RFC 6710 §4.4
	}
	if !s.passesDSN() {
		return command
	}
	if e.Return == envelope.ReturnFull || e.Return == envelope.ReturnHeaders {
		command += " RET=" + string(e.Return)
	}
	if e.EnvelopeID != "" && e.Origin != envelope.Internal {
		command += " ENVID=" + xtext(e.EnvelopeID)
	}
	return command
}

// rcptCommand is RCPT with what the sender wants to hear about the recipient, just as it was said to us
// (RFC 3461 §5.2.1). Where the original recipient was not said, it is the one we were given.
func (s *conn) rcptCommand(r *envelope.Recipient) string {
	command := "RCPT TO:<" + r.Address + ">"
	if !s.passesDSN() || r.Notify == 0 && r.Original == "" {
		return command
	}
	if words := notifyWords(r.Notify); words != "" {
		command += " NOTIFY=" + words
	}
	original := r.Original
	if original == "" {
		original = addressType(r.Address) + ";" + r.Address
	}
	if parameter, ok := orcpt(original); ok {
		command += " ORCPT=" + parameter
	}
	return command
}

// maxOriginal is how long an ORCPT is at most, in octets (RFC 3461 §4.2).
const maxOriginal = 500

// orcpt encodes an original recipient, "type;address".
func orcpt(original string) (string, bool) {
	kind, address, _ := strings.Cut(original, ";")
	encode := xtext
	if strings.EqualFold(kind, "utf-8") {
		encode = utf8xtext
	}
	parameter := kind + ";" + encode(address)
	return parameter, address != "" && isAtom(kind) && len(parameter) <= maxOriginal
}

func notifyWords(n envelope.Notify) string {
	if n.Has(envelope.NotifyNever) {
		return "NEVER"
	}
	var words []string
	for _, w := range []struct {
		notify envelope.Notify
		word   string
	}{{envelope.NotifySuccess, "SUCCESS"}, {envelope.NotifyFailure, "FAILURE"}, {envelope.NotifyDelay, "DELAY"}} {
		if n.Has(w.notify) {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, ",")
}

// addressType is the type of an address of ours in ORCPT (RFC 3461 §4.2, RFC 6533 §3).
func addressType(address string) string {
	for i := range len(address) {
		if address[i] >= utf8.RuneSelf {
			return "utf-8"
		}
	}
	return "rfc822"
}

// isAtom recognises what can be an address type without being anything more.
func isAtom(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '=' || r == '+' })
}

// xtext encodes a string for a parameter (RFC 3461 §4): whatever is in it, nothing but the value comes of it.
func xtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < '!' || c > '~' || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// utf8xtext encodes an internationalised address as a server without SMTPUTF8 takes it too (RFC 6533 §3,
// utf-8-addr-xtext).
func utf8xtext(s string) string {
	var b strings.Builder
	for _, c := range s {
		if c < '!' || c > '~' || c == '+' || c == '=' || c == '\\' {
			fmt.Fprintf(&b, `\x{%X}`, c)
		} else {
			b.WriteRune(c)
		}
	}
	return b.String()
}
