// Package reply owns SMTP replies and their class. It is the only place where a reply is judged
// transient or permanent.
package reply

import (
	"fmt"
	"strings"
)

// Class is what a reply means for the command it answers (RFC 5321 §4.2.1).
type Class string

const (
	// Success is a 2xx reply: the receiver has taken responsibility.
	Success Class = "Success"
	// Transient is a 4xx reply, and every failure that is not a well-formed permanent reply:
	// a time-out, a broken connection, a garbled answer. The attempt is repeated later.
	Transient Class = "Transient"
	// Permanent is a 5xx reply. The attempt is not repeated.
	Permanent Class = "Permanent"
)

// Reply is a complete SMTP reply, made by a peer or by us.
type Reply struct {
	// Code is the three-digit reply code.
	Code int `json:"code"`
	// Enhanced is the enhanced status code (RFC 3463), "4.7.1"; empty when the peer gave none.
	Enhanced string `json:"enhanced,omitempty"`
	// Text is the text of all lines, joined by "\n", without codes.
	Text string `json:"text"`
}

// Class judges the reply.
func (r Reply) Class() Class {
	switch {
	case r.Code >= 200 && r.Code < 300:
		return Success
	case r.Code >= 500 && r.Code < 600:
		return Permanent
	default:
		return Transient
	}
}

// Status is the enhanced status code, made up from the class when the reply has none
// (RFC 3463 §2: X.0.0 is "other or undefined").
func (r Reply) Status() string {
	if r.Enhanced != "" {
		return r.Enhanced
	}
	switch r.Class() {
	case Success:
		return "2.0.0"
	case Permanent:
		return "5.0.0"
	default:
		return "4.0.0"
	}
}

// String is the reply on one line, as it stands in logs and status: "451 4.7.1 Greylisted; try later".
func (r Reply) String() string {
	parts := []string{fmt.Sprintf("%03d", r.Code)}
	if r.Enhanced != "" {
		parts = append(parts, r.Enhanced)
	}
	if r.Text != "" {
		parts = append(parts, strings.ReplaceAll(r.Text, "\n", "; "))
	}
	return strings.Join(parts, " ")
}

// Error makes a Reply an error, for callers that pass one up. The receiver of the error
// gets the reply back with errors.As.
func (r Reply) Error() string { return r.String() }
