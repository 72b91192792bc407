package deliver

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
)

// parseExtensions reads the lines after the first of a reply to EHLO.
func parseExtensions(text string) map[string]string {
	extensions := make(map[string]string)
	_, lines, _ := strings.Cut(text, "\n")
	for line := range strings.SplitSeq(lines, "\n") {
		name, parameters, _ := strings.Cut(strings.TrimSpace(line), " ")
		extensions[strings.ToUpper(name)] = parameters
	}
	return extensions
}

// limits are those of a server (RFC 9422); 0 for none.
type limits struct {
	mails      int // MAILMAX: transactions over a connection
	recipients int // RCPTMAX: of a transaction; also what a server was seen to take
}

// parseLimits reads the parameters of LIMITS. What is no number of up to six digits says nothing (§3).
func parseLimits(parameters string) limits {
	var l limits
	for limit := range strings.FieldsSeq(parameters) {
		name, value, _ := strings.Cut(limit, "=")
		number, err := strconv.ParseUint(value, 10, 32)
		if err != nil || len(value) > 6 {
			continue
		}
		switch strings.ToUpper(name) {
		case "MAILMAX":
			l.mails = int(number)
		case "RCPTMAX":
			l.recipients = int(number)
		}
	}
	return l
}

// strictest is what we would do, at most what the server allows.
func strictest(policy, usual, server int) int {
	if policy <= 0 {
		policy = usual
	}
	if server > 0 {
		return min(policy, server)
	}
	return policy
}

func (s *conn) maxRecipients(policy int) int {
	return strictest(policy, usualRecipients, s.limits.recipients)
}

func (s *conn) maxMessages(policy int) int { return strictest(policy, usualMessages, s.limits.mails) }

func (s *conn) offers(extension string) bool {
	_, ok := s.extensions[extension]
	return ok
}

// maxSize is the size that the server announced; 0 for none (RFC 1870 §4).
func (s *conn) maxSize() int64 {
	size, err := strconv.ParseInt(strings.TrimSpace(s.extensions["SIZE"]), 10, 64)
	if err != nil {
		return 0
	}
	return size
}

// lack says which extension this server does not have and the message needs; a reply without code if none. Nothing
// is converted: that would break signatures.
func (s *conn) lack(e *envelope.Envelope) reply.Reply {
	switch {
	case e.UTF8 && !s.offers("SMTPUTF8"):
		return reply.Reply{Code: 550, Enhanced: "5.6.7", Text: "the next hop does not offer SMTPUTF8, and the message needs it"}
	case e.EightBit && !s.offers("8BITMIME"):
		return reply.Reply{Code: 554, Enhanced: "5.6.3", Text: "the next hop does not offer 8BITMIME, and the message needs it"}
	}
	return reply.Reply{}
}

// tooBig is the reply to a message that the server would not take for its size; a reply without code if it may.
func (s *conn) tooBig(size int64) reply.Reply {
	limit := s.maxSize()
	if limit <= 0 || size <= limit {
		return reply.Reply{}
	}
	return reply.Reply{Code: 552, Enhanced: "5.3.4", Text: fmt.Sprintf("the message has %d octets; the next hop takes %d", size, limit)}
}

// oneFlight says whether a message of a size can be sent together with its envelope: as one chunk (RFC 3030), among
// commands whose replies are not waited for (RFC 2920).
func (s *conn) oneFlight(size int64) bool {
	return size > 0 && size <= blockSize && !s.careful && s.offers("PIPELINING") && s.offers("CHUNKING")
}

// passesDSN says whether the server is told what the sender wants to know (RFC 3461 §5.2.1). A server of LMTP is
// the end of the way: a success there is reported by us.
func (s *conn) passesDSN() bool { return !s.key.lmtp && s.offers("DSN") }

// handover is what a success means for DSNs.
func (s *conn) handover() envelope.Handover {
	switch {
	case s.key.lmtp:
		return envelope.HandoverFinal
	case s.offers("DSN"):
		return envelope.HandoverPassed
	default:
		return envelope.HandoverRelayed
	}
}
