package filter

import (
	"bytes"
	"slices"
	"strings"
)

const (
	// maxFields and maxFieldBytes bound what all filters together may add to a message; maxField is for one field.
	maxFields     = 64
	maxFieldBytes = 32 << 10
	maxField      = 8 << 10
	// foldAt is how long a line should be, maxWord how long one without a space may be (RFC 5322 §2.1.1).
	foldAt  = 76
	maxWord = 900
)

// field is a header field that a filter wants added.
type field struct{ name, value string }

// guarded are the fields that a message has once at most, that say who speaks and what is shown, that our signatures
// name, or that are ours to write: a filter that could add a second one would change the message.
func guarded() []string {
	return []string{
		"From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Message-ID", "In-Reply-To", "References", "Subject", "Date",
		"Received", "Return-Path", "DKIM-Signature", "MIME-Version",
	}
}

// mayAdd says whether a field of this name may be added.
func mayAdd(name string) bool {
	if name == "" || len(name) > foldAt {
		return false
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c > '~' || c == ':' {
			return false
		}
	}
	lower := strings.ToLower(name)
	for _, prefix := range []string{"content-", "resent-", "list-"} {
		if strings.HasPrefix(lower, prefix) {
			return false
		}
	}
	return !slices.ContainsFunc(guarded(), func(g string) bool { return strings.EqualFold(g, name) })
}

// append adds the field to a header block, folded at spaces. It says no to one that may not be added, or that cannot
// be folded.
func (f field) append(block []byte) ([]byte, bool) {
	value := inert(f.value, maxField)
	if !mayAdd(f.name) || len(f.value) > maxField {
		return block, false
	}
	out := append(slices.Clone(block), f.name+":"...)
	column := len(f.name) + 1
	for i, word := range strings.Fields(value) {
		if len(word) > maxWord {
			return block, false
		}
		if i > 0 && column+1+len(word) > foldAt {
			out = append(out, "\r\n"...)
			column = 0
		}
		out = append(append(out, ' '), word...)
		column += 1 + len(word)
	}
	return append(out, "\r\n"...), true
}

// render makes the header fields of all filters one block. What may not be added is left out, and logged.
func (c *Chain) render(m *Message, fields []field) []byte {
	var block []byte
	for i, f := range fields {
		next, ok := f.append(block)
		if !ok || i >= maxFields || len(next) > maxFieldBytes {
			c.log.Info("a header field of a filter is not added", "spool_id", m.ID, "field", inert(f.name, foldAt))
			continue
		}
		block = next
	}
	return bytes.Clone(block)
}
