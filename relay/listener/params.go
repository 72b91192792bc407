package listener

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
)

// Longest ENVID and ORCPT, in octets as they stand in the command (RFC 3461 §4.2, §4.4).
const (
	maxEnvelopeID = 100
	maxOriginal   = 500
)

// mailParams are the parameters of MAIL.
type mailParams struct {
	size       int64
	utf8       bool
	returns    envelope.Return
	envelopeID string
	priority   *int
}

// rcptParams are those of RCPT.
type rcptParams struct {
	notify   envelope.Notify
	original string
}

// parseMailParams takes SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531), RET and ENVID (RFC 3461), MT-PRIORITY
// (RFC 6710) and, where AUTH is offered, AUTH (RFC 4954 §5), which is not relied on. Its error is a reply.
func parseMailParams(params []string, maxBytes int64, auth bool) (p mailParams, err error) {
	err = eachParam(params, func(name, value string) error {
		var err error
		switch {
		case name == "SIZE":
			p.size, err = parseSize(value, maxBytes)
		case name == "BODY" && (strings.EqualFold(value, "7BIT") || strings.EqualFold(value, "8BITMIME")):
		case name == "SMTPUTF8" && value == "":
			p.utf8 = true
		case name == "RET":
			p.returns, err = parseReturn(value)
		case name == "ENVID":
			p.envelopeID, err = parseEnvelopeID(value)
		case name == "MT-PRIORITY":
			p.priority, err = parsePriority(value)
		case name == "AUTH" && auth && value != "":
		default:
			return unsupported(name)
		}
		return err
	})
	return p, err
}

// parseRcptParams takes NOTIFY and ORCPT (RFC 3461). unicode says that SMTPUTF8 is in force. Its error is a reply.
func parseRcptParams(params []string, unicode bool) (p rcptParams, err error) {
	err = eachParam(params, func(name, value string) error {
		var err error
		switch name {
		case "NOTIFY":
			p.notify, err = parseNotify(value)
		case "ORCPT":
			p.original, err = parseOriginal(value, unicode)
		default:
			return unsupported(name)
		}
		return err
	})
	return p, err
}

// eachParam takes parameters apart. One that is given twice has no meaning.
func eachParam(params []string, take func(name, value string) error) error {
	if len(params) == 0 {
		return nil
	}
	seen := make(map[string]bool, len(params))
	for _, param := range params {
		name, value, _ := strings.Cut(param, "=")
		name = strings.ToUpper(name)
		if seen[name] {
			return badParam("%s is there twice", name)
		}
		seen[name] = true
		if err := take(name, value); err != nil {
			return err
		}
	}
	return nil
}

func unsupported(name string) error {
	return reply.Reply{Code: 555, Enhanced: "5.5.4", Text: "Parameter " + name + " is not supported"}
}

func badParam(format string, args ...any) error {
	return reply.Reply{Code: 501, Enhanced: "5.5.4", Text: fmt.Sprintf(format, args...)}
}

// parseSize refuses what is longer than a message may be.
func parseSize(value string, maxBytes int64) (int64, error) {
	size, err := strconv.ParseUint(value, 10, 63)
	switch {
	case errors.Is(err, strconv.ErrRange) || err == nil && int64(size) > maxBytes:
		return 0, reply.Reply{Code: 552, Enhanced: "5.3.4", Text: fmt.Sprintf("At most %d octets are accepted", maxBytes)}
	case err != nil:
		return 0, badParam("SIZE is a number of octets")
	}
	return int64(size), nil
}

func parseReturn(value string) (envelope.Return, error) {
	switch r := envelope.Return(strings.ToUpper(value)); r {
	case envelope.ReturnFull, envelope.ReturnHeaders:
		return r, nil
	}
	return "", badParam("RET is FULL or HDRS")
}

func parseEnvelopeID(value string) (string, error) {
	id, ok := decodeXtext(value)
	if !ok || len(value) > maxEnvelopeID {
		return "", badParam("ENVID is xtext of at most %d octets", maxEnvelopeID)
	}
	return id, nil
}

// parsePriority takes a digit, with a sign where it is below 0 (RFC 6710 §3).
func parsePriority(value string) (*int, error) {
	digit := strings.TrimPrefix(value, "-")
	if len(digit) != 1 || digit[0] < '0' || digit[0] > '9' || value == "-0" {
		return nil, badParam("MT-PRIORITY is a number from %d to %d", envelope.LowestPriority, envelope.HighestPriority)
	}
	priority := int(digit[0] - '0')
	if digit != value {
		priority = -priority
	}
	return &priority, nil
}

func parseNotify(value string) (envelope.Notify, error) {
	if strings.EqualFold(value, "NEVER") {
		return envelope.NotifyNever, nil
	}
	var n envelope.Notify
	for word := range strings.SplitSeq(strings.ToUpper(value), ",") {
		switch word {
		case "SUCCESS":
			n |= envelope.NotifySuccess
		case "FAILURE":
			n |= envelope.NotifyFailure
		case "DELAY":
			n |= envelope.NotifyDelay
		default:
			return 0, badParam("NOTIFY is NEVER, or some of SUCCESS, FAILURE and DELAY")
		}
	}
	return n, nil
}

// parseOriginal decodes an ORCPT: an address type, and an address in xtext, or in the forms of RFC 6533 §3 where the
// type is utf-8.
func parseOriginal(value string, unicode bool) (string, error) {
	kind, encoded, ok := strings.Cut(value, ";")
	if !ok || len(value) > maxOriginal || !isAtom(kind) {
		return "", badParam("ORCPT is type;address of at most %d octets", maxOriginal)
	}
	var address string
	if strings.EqualFold(kind, "utf-8") {
		address, ok = decodeUnitext(encoded, unicode)
	} else {
		address, ok = decodeXtext(encoded)
	}
	if !ok {
		return "", badParam("The address in ORCPT is not encoded as its type wants")
	}
	return kind + ";" + address, nil
}

// isAtom says whether s is an atom of ASCII (RFC 5322 §3.2.3).
func isAtom(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>[]:;@\,."=+`, r)
	})
}

// decodeXtext is RFC 3461 §4: "+" and two upper-case digits stand for an octet. The result is printable ASCII and
// not empty, so that it can stand in a DSN.
func decodeXtext(s string) (string, bool) {
	decoded := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c <= ' ' || c >= 0x7f || c == '=':
			return "", false
		case c == '+':
			if i+2 >= len(s) || strings.ToUpper(s[i+1:i+3]) != s[i+1:i+3] {
				return "", false
			}
			octet, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil || octet < ' ' || octet >= 0x7f {
				return "", false
			}
			c = byte(octet)
			i += 2
		}
		decoded = append(decoded, c)
	}
	return string(decoded), len(decoded) > 0
}

// decodeUnitext is utf-8-addr-xtext or, where Unicode may stand in the command, utf-8-addr-unitext (RFC 6533 §3):
// "\x{F6}" stands for a character.
func decodeUnitext(s string, allowed bool) (string, bool) {
	var b strings.Builder
	for s != "" {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == '\\':
			if r, size = embedded(s); size == 0 {
				return "", false
			}
		case r <= ' ' || r == '+' || r == '=' || r == utf8.RuneError && size == 1 || r >= utf8.RuneSelf && !allowed:
			return "", false
		}
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return "", false
		}
		b.WriteRune(r)
		s = s[size:]
	}
	return b.String(), b.Len() > 0
}

// embedded is the character that s begins with in the form \x{F6}, and its length there; 0 for none.
func embedded(s string) (rune, int) {
	digits, ok := strings.CutPrefix(s, `\x{`)
	end := strings.IndexByte(digits, '}')
	if !ok || end < 2 || end > 6 {
		return 0, 0
	}
	point, err := strconv.ParseUint(digits[:end], 16, 32)
	if err != nil || !utf8.ValidRune(rune(point)) {
		return 0, 0
	}
	return rune(point), len(`\x{}`) + end
}
