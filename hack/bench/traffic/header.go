package traffic

import (
	"strconv"
	"time"
)

const crlf = "\r\n"

// stampField is the field with the time at which a message was due, in nanoseconds since 1970.
const stampField = "X-Sent: "

// header appends the header block of message n (RFC 5322, 3.6), with the empty line after it. It is of the same length
// for each message of a run.
func (r *run) header(b []byte, n int, due time.Time) []byte {
	b = append(b, "From: <"...)
	b = append(b, r.From...)
	b = append(b, ">\r\nTo: <r0@"...)
	b = append(b, r.Domain...)
	b = append(b, ">\r\nSubject: load\r\nDate: "...)
	b = due.UTC().AppendFormat(b, "Mon, 02 Jan 2006 15:04:05 -0700")
	b = append(b, "\r\nMessage-ID: <"...)
	b = appendHex(b, r.id)
	b = append(b, '.')
	b = appendHex(b, uint64(n))
	b = append(b, "@load.example>\r\n"+stampField...)
	b = strconv.AppendInt(b, due.UnixNano(), 10)
	return append(b, crlf+crlf...)
}

// appendHex appends 16 digits.
func appendHex(b []byte, n uint64) []byte {
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, "0123456789abcdef"[n>>shift&15])
	}
	return b
}

// mail appends the command MAIL.
func (r *run) mail(b []byte) []byte {
	b = append(b, "MAIL FROM:<"...)
	b = append(b, r.From...)
	b = append(b, '>')
	if r.Priority != 0 {
		b = append(b, " MT-PRIORITY="...)
		b = strconv.AppendInt(b, int64(r.Priority), 10)
	}
	return append(b, crlf...)
}

// rcpt appends the command RCPT for recipient i.
func (r *run) rcpt(b []byte, i int) []byte {
	b = append(b, "RCPT TO:<r"...)
	b = strconv.AppendInt(b, int64(i), 10)
	b = append(b, '@')
	b = append(b, r.Domain...)
	return append(b, ">\r\n"...)
}
