// Package bounce owns the composition of delivery status notifications (RFC 3464): what we tell a sender about
// recipients whose mail failed or is late. It decides neither whether one is due nor to whom it goes.
package bounce

import (
	"bytes"
	"fmt"
	"strings"
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
)

// Notice is what a DSN is made of. It is the caller's to fill in; nothing in it can break out of its place.
type Notice struct {
	// ID makes Message-ID and the MIME boundary unique: the spool id of the DSN itself, or any other unique word.
	ID string
	// ReportingMTA is our host name.
	ReportingMTA string
	// From is the address that the DSN comes from in its header, such as postmaster@relay.example.com; empty for
	// MAILER-DAEMON at ReportingMTA. Its envelope has the reverse path <>.
	From   string
	Action Action
	// Envelope is that of the message; its ReversePath is whom the DSN is for.
	Envelope envelope.Envelope
	// Recipients are those that the DSN is about, each with its last outcome.
	Recipients []envelope.Recipient
	// Header is the header block of the message.
	Header []byte
	// Until is when Delayed recipients are given up; zero if that is not to be said.
	Until time.Time
	Now   time.Time
}

// maxHeader is how much of the original header is returned, in octets.
const maxHeader = 64 << 10

// Compose returns a complete message, in ASCII with CRLF line ends and lines of at most 998 octets.
func Compose(n Notice) []byte {
	var b bytes.Buffer
	boundary := "postrider-" + token(n.ID)
	writeHeader(&b, n, boundary)
	for _, part := range []struct {
		contentType, description string
		write                    func(*bytes.Buffer, Notice)
	}{
		{"text/plain; charset=us-ascii", "Explanation", writeText},
		{"message/delivery-status", "Delivery report", writeStatus},
		{"text/rfc822-headers", "Header of the message", writeOriginal},
	} {
		fmt.Fprintf(&b, "\r\n--%s\r\n", boundary)
		fmt.Fprintf(&b, "Content-Type: %s\r\n", part.contentType)
		fmt.Fprintf(&b, "Content-Description: %s\r\n\r\n", part.description)
		part.write(&b, n)
	}
	fmt.Fprintf(&b, "\r\n--%s--\r\n", boundary)
	return b.Bytes()
}

func writeHeader(b *bytes.Buffer, n Notice, boundary string) {
	from := n.From
	if from == "" {
		from = "MAILER-DAEMON@" + n.ReportingMTA
	}
	subject := "Your message could not be delivered"
	if n.Action == Delayed {
		subject = "Your message is delayed"
	}
	field(b, "Date", n.Now.UTC().Format(time.RFC1123Z))
	field(b, "From", "Mail Delivery System <"+from+">")
	field(b, "To", "<"+n.Envelope.ReversePath+">")
	field(b, "Subject", subject)
	field(b, "Message-ID", "<"+token(n.ID)+".dsn@"+token(n.ReportingMTA)+">")
	field(b, "Auto-Submitted", "auto-replied") // RFC 3834 §5
	field(b, "MIME-Version", "1.0")
	field(b, "Content-Type", "multipart/report; report-type=delivery-status; boundary=\""+boundary+"\"")
}

// writeText explains to a person.
func writeText(b *bytes.Buffer, n Notice) {
	fmt.Fprintf(b, "This is the mail relay at %s.\r\n\r\n", inert(n.ReportingMTA))
	if n.Action == Delayed {
		line(b, "Your message could not be delivered yet to the addresses below. It is tried again by itself;")
		line(b, "you need not send it again.")
		if !n.Until.IsZero() {
			line(b, "If it cannot be delivered by "+n.Until.UTC().Format(time.RFC1123Z)+", you will hear of it.")
		}
	} else {
		line(b, "Your message could not be delivered to the addresses below. It is not tried again.")
	}
	for _, r := range n.Recipients {
		line(b, "")
		line(b, "<"+inert(r.Address)+">")
		if r.Last == nil {
			continue
		}
		if r.Last.NextHop != "" {
			line(b, "    at "+inert(r.Last.NextHop)+":")
		}
		for _, said := range wrap(inert(r.Last.Reply.String()), 72) {
			line(b, "    "+said)
		}
	}
	line(b, "")
	line(b, "The message was accepted as "+inert(string(n.Envelope.ID))+" on "+n.Envelope.Accepted.UTC().Format(time.RFC1123Z)+".")
	line(b, "A report for programs and the header of your message follow.")
}

// writeStatus writes the fields for programs: those of the message, then a group for each recipient.
func writeStatus(b *bytes.Buffer, n Notice) {
	field(b, "Reporting-MTA", "dns; "+n.ReportingMTA)
	field(b, "X-Postrider-Spool-Id", string(n.Envelope.ID))
	if !n.Envelope.Accepted.IsZero() {
		field(b, "Arrival-Date", n.Envelope.Accepted.UTC().Format(time.RFC1123Z))
	}
	for _, r := range n.Recipients {
		line(b, "")
		writeRecipient(b, n, r)
	}
}

func writeRecipient(b *bytes.Buffer, n Notice, r envelope.Recipient) {
	field(b, "Final-Recipient", "rfc822; "+r.Address)
	field(b, "Action", string(n.Action))
	field(b, "Status", status(n.Action, r.Last))
	if o := r.Last; o != nil {
		if host, _, ok := strings.Cut(o.NextHop, "["); ok {
			field(b, "Remote-MTA", "dns; "+host)
		}
		field(b, "Diagnostic-Code", "smtp; "+o.Reply.String())
		if !o.At.IsZero() {
			field(b, "Last-Attempt-Date", o.At.UTC().Format(time.RFC1123Z))
		}
	}
	if n.Action == Delayed && !n.Until.IsZero() {
		field(b, "Will-Retry-Until", n.Until.UTC().Format(time.RFC1123Z))
	}
}

// status is the enhanced code of the last reply, its class made to fit the action: a recipient that was deferred
// until the message was too old has failed (RFC 3464 §2.3.4, RFC 3463 X.4.7).
func status(action Action, last *envelope.Outcome) string {
	class := "5"
	if action == Delayed {
		class = "4"
	}
	if last == nil {
		return class + ".4.7"
	}
	code := last.Reply.Status()
	if _, rest, ok := strings.Cut(code, "."); ok && isStatus(code) {
		if code[:1] == "4" && class == "5" {
			return "5.4.7"
		}
		return class + "." + rest
	}
	return class + ".0.0"
}

func isStatus(code string) bool {
	return len(code) >= 5 && len(code) <= 9 && strings.Count(code, ".") == 2 && strings.Trim(code, "0123456789.") == ""
}

// writeOriginal returns the header of the message, as far as it goes without breaking the rules of this one, up to
// its blank line. A line that could be taken for a boundary is indented.
func writeOriginal(b *bytes.Buffer, n Notice) {
	header := n.Header[:min(len(n.Header), maxHeader)]
	for part := range bytes.Lines(header) {
		text := strings.TrimRight(string(part), "\r\n")
		if text == "" {
			return
		}
		if strings.HasPrefix(text, "--") {
			text = " " + text
		}
		for _, piece := range pieces(inert(text), maxLine-1) {
			line(b, piece)
		}
	}
}
