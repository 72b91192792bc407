package policy

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/relay/envelope"
)

// dateFormat is RFC 5322 §3.3.
const dateFormat = "Mon, 02 Jan 2006 15:04:05 -0700"

// Trace is what a Received field tells (RFC 5321 §4.4).
type Trace struct {
	ID       envelope.ID
	Hostname string
	// Helo is what the client called itself, Remote where it really was.
	Helo   string
	Remote netip.Addr
	// HideClient leaves both out.
	HideClient bool
	// ESMTP says that it said EHLO, UTF8 that it asked for SMTPUTF8, User that it authenticated.
	ESMTP bool
	UTF8  bool
	User  string
	TLS   *envelope.TLS
	// Recipients: a single one is named. Several are not, because each would learn of the others.
	Recipients []envelope.Recipient
	// Priority is named unless it is 0 (RFC 6710 §7).
	Priority int
	Now      time.Time
}

// Received is the field, folded, with the CRLF at its end. Every part of it is checked or ours: none can break it.
func (t Trace) Received() []byte {
	var words []string
	if !t.HideClient {
		words = append(words, "from "+t.Helo+" ("+envelope.Literal(t.Remote)+")")
	}
	if t.TLS != nil {
		words = append(words, "(using "+t.TLS.Version+" with cipher "+t.TLS.Cipher+")")
	}
	words = append(words, "by "+t.Hostname+" (Postrider)", "with "+t.protocol()+" id "+string(t.ID))
	if len(t.Recipients) == 1 {
		words = append(words, "for <"+t.Recipients[0].Address+">")
	}
	if t.Priority != 0 {
		words = append(words, "PRIORITY "+strconv.Itoa(t.Priority))
	}
	date := t.Now.UTC().Format(dateFormat)
	return []byte("Received: " + strings.Join(words, "\r\n\t") + ";\r\n\t" + date + "\r\n")
}

// protocol is the name of RFC 3848, or of RFC 6531 §4.3.
func (t Trace) protocol() string {
	name := "ESMTP"
	switch {
	case t.UTF8:
		name = "UTF8SMTP"
	case !t.ESMTP:
		return "SMTP"
	}
	if t.TLS != nil {
		name += "S"
	}
	if t.User != "" {
		name += "A"
	}
	return name
}
