// Package envelope owns the envelope of a message: who sent it, to whom, and what became of each
// recipient. Its state machine is pure: it is told the time and the dice.
package envelope

import (
	"strings"
	"time"

	"github.com/postrider/postrider/relay/reply"
)

// ID is a spool id: unique in a cluster, sortable by time of acceptance, safe in logs, file names and
// the reply "250 2.0.0 queued as ID". It is not the Message-ID.
type ID string

// Key names an entry of the spool: a message and one of its destinations.
type Key struct {
	ID     ID
	Domain string
}

// Origin says how a message came to us.
type Origin string

const (
	// Submitted came from an authenticated client.
	Submitted Origin = "Submitted"
	// Trusted came from a client in access.trustedCIDRs.
	Trusted Origin = "Trusted"
	// Relayed came from anyone else, for a recipient we relay to.
	Relayed Origin = "Relayed"
	// Internal was made here: a DSN.
	Internal Origin = "Internal"
)

// Envelope is one message for one destination: the recipients that share a domain.
type Envelope struct {
	ID ID `json:"id"`
	// Domain is the recipients' domain: lower case, A-labels, or an address literal.
	Domain string `json:"domain"`
	// ReversePath is the address of MAIL FROM, without brackets; empty for <>.
	ReversePath string `json:"from"`
	// Tenant is the SendingDomain that the message is sent as; empty when there is none.
	Tenant string `json:"tenant,omitempty"`
	// User is the name the client authenticated with; empty when it did not.
	User   string `json:"user,omitempty"`
	Origin Origin `json:"origin"`
	// Accepted is when the message was answered 250.
	Accepted time.Time `json:"accepted"`
	// Size is the length of the stored message, trace header and signatures included, in octets.
	Size int64 `json:"size"`
	// EightBit says that the message needs 8BITMIME (RFC 6152).
	EightBit bool `json:"eightBit,omitempty"`
	// UTF8 says that the message needs SMTPUTF8 (RFC 6531).
	UTF8 bool `json:"utf8,omitempty"`
	// EnvelopeID is the ENVID of MAIL, decoded (RFC 3461 §4.4); empty for none. That of a DSN is the spool id of the
	// message that it is about, and stays here.
	EnvelopeID string `json:"envelopeID,omitempty"`
	// Return is the RET of MAIL: how much of the message a failure DSN returns (RFC 3461 §4.3).
	Return Return `json:"return,omitempty"`
	// Priority orders it among the mail of its sender: LowestPriority to HighestPriority, 0 for the usual (RFC 6710).
	Priority int `json:"priority,omitempty"`
	// Held is the reason for which an admin holds the entry; empty when nobody does.
	Held string `json:"held,omitempty"`
	// Released says that an admin let it go after it was held: a directive that was in force then holds it no more.
	Released bool `json:"released,omitempty"`
	// Recipients still in the queue. One that reached a final state leaves the record when that is stored.
	Recipients []Recipient `json:"recipients"`
}

// Key is the entry's name in the spool.
func (e *Envelope) Key() Key { return Key{ID: e.ID, Domain: e.Domain} }

// Due is when the entry is next to be attempted: the earliest due time of its queued recipients.
func (e *Envelope) Due() time.Time {
	var due time.Time
	for _, r := range e.Recipients {
		if r.State == Queued && (due.IsZero() || r.Due.Before(due)) {
			due = r.Due
		}
	}
	return due
}

// Class is that of its priority.
func (e *Envelope) Class() Class { return ClassOf(e.Priority) }

// Attempts is the highest number of attempts made for any of the recipients.
func (e *Envelope) Attempts() int {
	attempts := 0
	for _, r := range e.Recipients {
		attempts = max(attempts, r.Attempts)
	}
	return attempts
}

// Disposition is where a recipient is in its life. Every accepted recipient is in exactly one.
type Disposition string

const (
	// Queued is every state before the end, deferred and held included.
	Queued Disposition = "Queued"
	// Delivered: the next hop answered 2xx.
	Delivered Disposition = "Delivered"
	// Failed for good, whether or not a DSN was due.
	Failed Disposition = "Failed"
	// Suppressed: dropped by the suppression list.
	Suppressed Disposition = "Suppressed"
	// Removed by an admin's recorded act.
	Removed Disposition = "Removed"
)

// Return is how much of a message a DSN returns (RFC 3461 §4.3).
type Return string

const (
	// ReturnDefault leaves it to us: the header.
	ReturnDefault Return = ""
	ReturnFull    Return = "FULL"
	ReturnHeaders Return = "HDRS"
)

// Notify is what a sender wants to hear about a recipient (RFC 3461 §4.1), as a set. The zero value leaves it to us:
// failures, and delays where the mail was submitted here.
type Notify uint8

const (
	NotifyNever Notify = 1 << iota // alone
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// Has says whether n holds all of what.
func (n Notify) Has(what Notify) bool { return n&what == what }

// Recipient is one address and its state.
type Recipient struct {
	// Address is the address of RCPT TO, without brackets, quoted where RFC 5321 wants it.
	Address string      `json:"address"`
	State   Disposition `json:"state"`
	// Notify and Original are the NOTIFY and ORCPT of RCPT; Original is decoded, "rfc822;user@example.com", and empty
	// for none (RFC 3461 §4.1, §4.2).
	Notify   Notify `json:"notify,omitempty"`
	Original string `json:"original,omitempty"`
	// Attempts begun so far.
	Attempts int `json:"attempts,omitempty"`
	// Due is when the next attempt may begin.
	Due time.Time `json:"due"`
	// Last is the outcome of the latest attempt that ended.
	Last *Outcome `json:"last,omitempty"`
	// DelayNotified says that a delay DSN was made.
	DelayNotified bool `json:"delayNotified,omitempty"`
}

// Handover says who tells the sender of a success (RFC 3461 §5.2.2).
type Handover string

const (
	// HandoverRelayed: the next hop does not know DSNs; if one is due, ours is the last: "relayed".
	HandoverRelayed Handover = ""
	// HandoverPassed: the next hop was told what the sender wants, and it is its duty now.
	HandoverPassed Handover = "Passed"
	// HandoverFinal: it is in the mailbox (LMTP): "delivered".
	HandoverFinal Handover = "Final"
)

// Outcome is how an attempt ended for one recipient.
type Outcome struct {
	// Handover is what a success means for DSNs.
	Handover Handover `json:"handover,omitempty"`
	// Reply is the final reply: the peer's, or one we made up when there was none (421 4.4.1 no route).
	Reply reply.Reply `json:"reply"`
	// NextHop is the host and address spoken to, "mx1.example.com[192.0.2.1]:25"; empty when none was reached.
	NextHop string `json:"nextHop,omitempty"`
	// TLS is the protocol and cipher, "TLS1.3 TLS_AES_128_GCM_SHA256"; empty for plaintext.
	TLS string `json:"tls,omitempty"`
	// At is when the attempt ended.
	At time.Time `json:"at"`
	// AtRecipient says that Reply answered RCPT: it is about the recipient and not about the message. It is not kept.
	AtRecipient bool `json:"-"`
}

// SenderDomain is whom the message is counted and routed for: the SendingDomain, else the domain of the reverse
// path, else empty. Mail from anyone has none, for anyone can name any: it must not use a sender's routes, with their
// credentials, nor its limits.
func (e *Envelope) SenderDomain() string {
	if e.Tenant != "" || e.Origin == Relayed {
		return e.Tenant
	}
	return DomainOf(e.ReversePath)
}

// DomainOf is the domain of an address in lower case: what follows the last "@", since a quoted local part may
// hold others. It is empty when there is none.
func DomainOf(address string) string {
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return ""
	}
	return strings.ToLower(address[at+1:])
}
