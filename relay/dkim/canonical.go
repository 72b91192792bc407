package dkim

import (
	"bytes"
	"io"
)

var crlf = []byte("\r\n")

// appendRelaxedField appends a field in the relaxed form (RFC 6376 §3.4.2): lower-case name, unfolded, each run of
// white space one space, none around the value.
func appendRelaxedField(to, raw []byte) []byte {
	name, value, _ := bytes.Cut(raw, []byte(":"))
	to = append(to, bytes.ToLower(bytes.TrimRight(name, " \t"))...)
	to = append(to, ':')
	for i, word := range bytes.FieldsFunc(value, isFoldingSpace) {
		if i > 0 {
			to = append(to, ' ')
		}
		to = append(to, word...)
	}
	return append(to, crlf...)
}

func isFoldingSpace(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\n' }

// relaxedBody writes a body on in the relaxed form (RFC 6376 §3.4.4): white space at the end of lines and empty
// lines at the end of the body are dropped, each other run of white space is one space. Its memory is the size of
// a write: dropped lines are counted, not kept.
type relaxedBody struct {
	out io.Writer
	// space says that white space was read that belongs before the next octet of the line, if there is one.
	space bool
	// lines is how many line ends were read since the last octet that is not white space.
	lines int
	// begun says that something was written.
	begun bool
	buf   []byte
}

// Write never fails: it writes to a hash.
func (b *relaxedBody) Write(p []byte) (int, error) {
	n := len(p)
	b.buf = b.buf[:0]
	for len(p) > 0 {
		switch p[0] {
		case ' ', '\t':
			b.space = true
			p = p[1:]
		case '\n':
			b.space = false
			b.lines++
			p = p[1:]
		case '\r': // what we sign has CR only before LF, which counts the line
			p = p[1:]
		default:
			p = b.text(p)
		}
	}
	_, err := b.out.Write(b.buf)
	return n, err
}

// text takes the octets up to the next white space and returns the rest.
func (b *relaxedBody) text(p []byte) []byte {
	for ; b.lines > 0; b.lines-- {
		b.buf = append(b.buf, crlf...)
		if len(b.buf) >= 4096 {
			_, _ = b.out.Write(b.buf)
			b.buf = b.buf[:0]
		}
	}
	if b.space {
		b.buf = append(b.buf, ' ')
		b.space = false
	}
	end := 0
	for end < len(p) && p[end] != ' ' && p[end] != '\t' && p[end] != '\r' && p[end] != '\n' {
		end++
	}
	b.buf = append(b.buf, p[:end]...)
	b.begun = true
	return p[end:]
}

// close ends the body: one that is not empty ends in exactly one CRLF, an empty one is empty.
func (b *relaxedBody) close() {
	if b.begun {
		_, _ = b.out.Write(crlf)
	}
}
