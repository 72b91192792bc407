// Package bounce owns the composition of delivery status notifications (RFC 3464, RFC 6522, RFC 6533): what we tell a
// sender about recipients whose mail failed, is late or has arrived. It decides neither whether one is due nor to
// whom it goes. Whatever it quotes stays in its place.
package bounce

import (
	"bytes"
	"fmt"
	"time"

	"github.com/postrider/postrider/relay/envelope"
)

// Action is what a DSN reports (RFC 3464 §2.3.3).
type Action string

const (
	// Failed: the recipients are given up.
	Failed Action = "failed"
	// Delayed: the recipients are late, and still tried.
	Delayed Action = "delayed"
	// Relayed: the next hop took the message and will not report what becomes of it.
	Relayed Action = "relayed"
	// Delivered: the message is in the recipients' mailboxes.
	Delivered Action = "delivered"
)

// MaxWhole is the longest message that is returned whole, in octets.
const MaxWhole = 1 << 20

// Notice is what a DSN is made of. It is the caller's to fill in; nothing in it can break out of its place.
type Notice struct {
	// ID makes Message-ID and the MIME boundary unique: the spool id of the DSN itself, or any other unique word.
	ID string
	// ReportingMTA is our host name.
	ReportingMTA string
	// From is the address that the DSN comes from in its header, such as postmaster@relay.example.com; empty for
	// none, a group without members (RFC 6854). Its envelope has the reverse path <>.
	From   string
	Action Action
	// Envelope is that of the message; its ReversePath is whom the DSN is for. When it needed SMTPUTF8, the sender's
	// programs understand a DSN of RFC 6533.
	Envelope envelope.Envelope
	// Recipients are those that the DSN is about, each with its last outcome.
	Recipients []envelope.Recipient
	// Original is what is returned of the message: its header block or, if Whole says so, all of it.
	Original []byte
	Whole    bool
	// Until is when Delayed recipients are given up; zero if that is not to be said.
	Until time.Time
	Now   time.Time
}

// DSN is a complete message, with CRLF line ends.
type DSN struct {
	Content []byte
	// EightBit says that it needs 8BITMIME, UTF8 that it needs SMTPUTF8: an address in its own header does.
	EightBit, UTF8 bool
}

// part is a body part of the report.
type part struct {
	contentType, description string
	body                     []byte
}

// Compose makes the DSN. It is ASCII unless the sender has used SMTPUTF8 or a message of eight bits is returned
// whole. Its lines have at most 998 octets, those of a message that is returned whole excepted: these stay as they are.
func Compose(n Notice) DSN {
	addresses := n.From + " " + n.Envelope.ReversePath // they stand in the header
	c := composer{Notice: n, utf8: n.Envelope.UTF8 || !isASCII(addresses)}
	parts := []part{c.explanation(), c.status(), c.original()}
	eightBit := !isASCII(c.inert(addresses))
	for _, p := range parts {
		eightBit = eightBit || !isASCII(p.body)
	}
	boundary := c.boundary()
	c.header(boundary, eightBit)
	for _, p := range parts {
		fmt.Fprintf(&c.b, "\r\n--%s\r\n", boundary)
		fmt.Fprintf(&c.b, "Content-Type: %s\r\n", p.contentType)
		fmt.Fprintf(&c.b, "Content-Description: %s\r\n", p.description)
		if !isASCII(p.body) {
			c.line("Content-Transfer-Encoding: 8bit")
		}
		c.line("")
		c.b.Write(p.body)
	}
	fmt.Fprintf(&c.b, "\r\n--%s--\r\n", boundary)
	return DSN{Content: c.b.Bytes(), EightBit: eightBit, UTF8: !isASCII(addresses)}
}

// composer writes the parts of a DSN.
type composer struct {
	Notice
	// utf8 says that UTF-8 may stand in the report.
	utf8 bool
	b    bytes.Buffer
}

// part takes what was written as a body part.
func (c *composer) part(ascii, utf8, description string) part {
	p := part{contentType: ascii, description: description, body: bytes.Clone(c.b.Bytes())}
	if c.utf8 {
		p.contentType = utf8
	}
	c.b.Reset()
	return p
}

// boundary returns one that does not occur in the original. Nothing else begins a line with "--".
func (c *composer) boundary() string {
	base := "postrider-" + token(c.ID)
	boundary := base
	for i := 1; bytes.Contains(c.Original, []byte("--"+boundary)); i++ {
		boundary = fmt.Sprintf("%s-%d", base, i)
	}
	return boundary
}

func (c *composer) header(boundary string, eightBit bool) {
	c.field("Date", date(c.Now))
	if c.From == "" {
		c.field("From", "Mail Delivery System:;")
	} else {
		c.field("From", "Mail Delivery System <"+c.From+">")
	}
	c.field("To", "<"+c.Envelope.ReversePath+">")
	c.field("Subject", subject(c.Action))
	c.field("Message-ID", "<"+token(c.ID)+".dsn@"+token(c.ReportingMTA)+">")
	c.field("Auto-Submitted", "auto-replied") // RFC 3834 §5
	c.field("MIME-Version", "1.0")
	c.field("Content-Type", "multipart/report; report-type=delivery-status; boundary=\""+boundary+"\"")
	if eightBit {
		c.field("Content-Transfer-Encoding", "8bit")
	}
}

func subject(a Action) string {
	switch a {
	case Delayed:
		return "Your message is delayed"
	case Relayed:
		return "Your message was passed on"
	case Delivered:
		return "Your message was delivered"
	default:
		return "Your message could not be delivered"
	}
}

// explanation is for a person.
func (c *composer) explanation() part {
	c.line("This is the mail relay at " + c.inert(c.ReportingMTA) + ".")
	c.line("")
	c.verdict()
	for _, r := range c.Recipients {
		c.line("")
		c.line("<" + c.inert(r.Address) + ">")
		if r.Last == nil {
			continue
		}
		if r.Last.NextHop != "" {
			c.line("    at " + c.inert(r.Last.NextHop) + ":")
		}
		for _, said := range wrap(c.inert(r.Last.Reply.String()), 72) {
			c.line("    " + said)
		}
	}
	c.line("")
	c.line("The message was accepted as " + c.inert(string(c.Envelope.ID)) + " on " + date(c.Envelope.Accepted) + ".")
	if c.returnsWhole() {
		c.line("A report for programs and your message follow.")
	} else {
		c.line("A report for programs and the header of your message follow.")
	}
	return c.part("text/plain; charset=us-ascii", "text/plain; charset=utf-8", "Explanation")
}

func (c *composer) verdict() {
	switch c.Action {
	case Delayed:
		c.line("Your message could not be delivered yet to the addresses below. It is tried again by itself;")
		c.line("you need not send it again.")
		if !c.Until.IsZero() {
			c.line("If it cannot be delivered by " + date(c.Until) + ", you will hear of it.")
		}
	case Relayed:
		c.line("Your message for the addresses below was passed on to a mail system that does not confirm deliveries.")
	case Delivered:
		c.line("Your message was delivered to the addresses below.")
	default:
		c.line("Your message could not be delivered to the addresses below. It is not tried again.")
	}
}

func date(t time.Time) string { return t.UTC().Format(time.RFC1123Z) }
