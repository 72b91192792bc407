package bounce

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxLine is how long a line may be without its CRLF (RFC 5322 §2.1.1).
const maxLine = 998

// foldAt is how long a line of our own header fields may be.
const foldAt = 200

// line writes a line of text.
func line(b *bytes.Buffer, text string) { b.WriteString(text + "\r\n") }

// field writes a header field, made inert and folded: at spaces and, where there are none, after foldAt octets.
func field(b *bytes.Buffer, name, value string) {
	b.WriteString(name + ":")
	for _, piece := range wrap(inert(value), foldAt) {
		b.WriteString(" " + piece + "\r\n")
	}
}

// wrap breaks a text into lines of at most width octets, at spaces where it can. The pieces have no space at
// either end, and there is at least one.
func wrap(text string, width int) []string {
	var lines []string
	text = strings.TrimSpace(text)
	for len(text) > width {
		cut := strings.LastIndexByte(text[:width+1], ' ')
		if cut <= 0 {
			cut = width
		}
		lines = append(lines, strings.TrimRight(text[:cut], " "))
		text = strings.TrimLeft(text[cut:], " ")
	}
	return append(lines, text)
}

// pieces cuts a text every width octets; each piece after the first begins with a space, so that a header field
// stays one.
func pieces(text string, width int) []string {
	var all []string
	for len(text) > width {
		all = append(all, text[:width])
		text = " " + text[width:]
	}
	return append(all, text)
}

// inert makes a text from elsewhere safe in any place of a DSN: line ends become "; ", other control characters "?",
// and what is not ASCII its code point, as RFC 6533 §3 writes it: \x{E4}.
func inert(text string) string {
	if isPlain(text) {
		return text
	}
	text = strings.NewReplacer("\r\n", "; ", "\n", "; ", "\r", "; ", "\t", " ").Replace(text)
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == utf8.RuneError, r < ' ', r == 0x7f:
			b.WriteByte('?')
		case r > 0x7f:
			fmt.Fprintf(&b, `\x{%X}`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func isPlain(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// token keeps what may stand in a boundary or in a Message-ID.
func token(text string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._-", r) {
			return r
		}
		return '-'
	}, text)
}
