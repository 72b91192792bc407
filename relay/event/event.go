// Package event owns what is told about mail: one record for everything that happens to a recipient, in the same
// words for the log, the journal that trace reads, and webhooks. It decides nothing and sends nothing.
package event

import "time"

// Type is what happened.
type Type string

const (
	Accepted   Type = "Accepted"   // answered 250, durable
	Delivered  Type = "Delivered"  // the next hop took it
	Deferred   Type = "Deferred"   // an attempt ended without a decision; it is tried again
	Bounced    Type = "Bounced"    // failed for good, whether or not a DSN was due
	Suppressed Type = "Suppressed" // refused or dropped by the suppression list
	Held       Type = "Held"       // an admin keeps it back
	Released   Type = "Released"   // an admin lets it go
	Flushed    Type = "Flushed"    // an admin wants it tried now
	Removed    Type = "Removed"    // an admin removed it
	Reported   Type = "Reported"   // a DSN about it was made; Reason is its action, Reply its spool id
	HandedOut  Type = "HandedOut"  // the pod Peer has it now, under the same id
	HandedIn   Type = "HandedIn"   // it came from the pod Peer
)

// Event is one thing that happened to one recipient. It is not changed once it is told.
type Event struct {
	Type Type      `json:"type"`
	At   time.Time `json:"at"`
	// Began is when what ended at At began, if it took time and that is known. It is told to nobody but tracing.
	Began time.Time `json:"-"`
	// SpoolID is that of the message; empty for a recipient that was refused.
	SpoolID   string `json:"spoolID,omitempty"`
	Recipient string `json:"recipient"`
	// From is the reverse path; empty for <>.
	From string `json:"from"`
	// Tenant is the SendingDomain, User who authenticated.
	Tenant string `json:"tenant,omitempty"`
	User   string `json:"user,omitempty"`
	// Origin is how the message came to us; "Internal" for a DSN.
	Origin string `json:"origin,omitempty"`
	// About is the spool id of the message that a DSN is about.
	About string `json:"about,omitempty"`
	// Listener, Client and Helo are where an accepted message came from.
	Listener string `json:"listener,omitempty"`
	Client   string `json:"client,omitempty"`
	Helo     string `json:"helo,omitempty"`
	// Size is that of an accepted message, in octets.
	Size int64 `json:"size,omitempty"`
	// Site, NextHop, Reply and Attempt are those of an attempt; Due is when the next one is, nil for none.
	Site    string     `json:"site,omitempty"`
	NextHop string     `json:"nextHop,omitempty"`
	Reply   string     `json:"reply,omitempty"`
	Attempt int        `json:"attempt,omitempty"`
	Due     *time.Time `json:"due,omitempty"`
	// TLS is the protocol and cipher under which it came in or went out; empty in clear.
	TLS string `json:"tls,omitempty"`
	// Reason is an admin's, or why a recipient is suppressed.
	Reason string `json:"reason,omitempty"`
	// Peer is the pod that it came from or went to.
	Peer string `json:"peer,omitempty"`
}
