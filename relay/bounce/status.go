package bounce

import (
	"net/netip"
	"strings"

	"github.com/postrider/postrider/relay/envelope"
)

// status is for programs: the fields of the message, then a group for each recipient (RFC 3464 §2).
func (c *composer) status() part {
	c.field("Original-Envelope-Id", c.Envelope.EnvelopeID)
	c.field("Reporting-MTA", "dns; "+c.ReportingMTA)
	if !c.Envelope.Accepted.IsZero() {
		c.field("Arrival-Date", date(c.Envelope.Accepted))
	}
	for _, r := range c.Recipients {
		c.line("")
		c.recipient(r)
	}
	return c.part("message/delivery-status", "message/global-delivery-status", "Delivery report")
}

func (c *composer) recipient(r envelope.Recipient) {
	if kind, address, ok := strings.Cut(r.Original, ";"); ok && kind != "" && kind == token(kind) {
		c.field("Original-Recipient", kind+";"+c.address(kind, address))
	}
	kind := "rfc822"
	if !isASCII(r.Address) {
		kind = "utf-8"
	}
	c.field("Final-Recipient", kind+"; "+c.address(kind, r.Address))
	c.field("Action", string(c.Action))
	c.field("Status", status(c.Action, r.Last))
	if o := r.Last; o != nil {
		c.outcome(o)
	}
	c.field("Final-Log-ID", string(c.Envelope.ID))
	if c.Action == Delayed && !c.Until.IsZero() {
		c.field("Will-Retry-Until", date(c.Until))
	}
}

// outcome tells who said what. A reply that no server gave is ours, and not of type smtp (RFC 3464 §2.3.6).
func (c *composer) outcome(o *envelope.Outcome) {
	kind := "X-Postrider"
	if o.NextHop != "" {
		kind = "smtp"
		c.field("Remote-MTA", "dns; "+remote(o.NextHop))
	}
	c.field("Diagnostic-Code", kind+"; "+o.Reply.String())
	if !o.At.IsZero() {
		c.field("Last-Attempt-Date", date(o.At))
	}
}

// remote is the host of "mx1.example.com[192.0.2.1]:25"; its address where it has no name.
func remote(nextHop string) string {
	host, rest, _ := strings.Cut(nextHop, "[")
	if address, err := netip.ParseAddr(host); err == nil {
		return envelope.Literal(address)
	}
	if host != "" {
		return host
	}
	address, _, _ := strings.Cut(rest, "]")
	return "[" + address + "]"
}

// address is what stands behind an address type. What is not ASCII is encoded where UTF-8 has no place (RFC 6533 §3).
func (c *composer) address(kind, address string) string {
	if c.utf8 || isASCII(address) || !strings.EqualFold(strings.TrimSpace(kind), "utf-8") {
		return address
	}
	return utf8AddrXtext(address)
}

// status is the enhanced code of the last reply, its class made to fit the action: a recipient that was deferred
// until the message was too old has failed (RFC 3464 §2.3.4, RFC 3463 X.4.7).
func status(action Action, last *envelope.Outcome) string {
	class := class(action)
	if last == nil {
		if class == "2" {
			return "2.0.0"
		}
		return class + ".4.7"
	}
	code := last.Reply.Status()
	if !isStatus(code) {
		return class + ".0.0"
	}
	if code[:1] == "4" && class == "5" {
		return "5.4.7"
	}
	return class + code[1:]
}

func class(a Action) string {
	switch a {
	case Delayed:
		return "4"
	case Relayed, Delivered:
		return "2"
	default:
		return "5"
	}
}

// isStatus says whether a code is one of RFC 3463 §2: a class, and two numbers of up to three digits.
func isStatus(code string) bool {
	parts := strings.Split(code, ".")
	if len(parts) != 3 || len(parts[0]) != 1 {
		return false
	}
	for _, p := range parts {
		if p == "" || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return false
		}
	}
	return true
}
