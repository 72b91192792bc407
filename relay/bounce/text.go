package bounce

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxLine is how long a line may be without its CRLF, in octets (RFC 5322 §2.1.1).
	maxLine = 998
	// foldAt is how long a line of our own header fields should be. One without a space is longer, up to foldBy: no
	// address has to be broken.
	foldAt, foldBy = 200, 900
)

// line writes a text that is inert, as one line if it is no longer than a line may be. What follows begins with a
// space, so that a header field stays one.
func (c *composer) line(text string) {
	for len(text) > maxLine {
		n := cut(text, maxLine)
		c.b.WriteString(text[:n] + "\r\n")
		text = " " + text[n:]
	}
	c.b.WriteString(text + "\r\n")
}

// field writes a header field, made inert and folded. One that would be blank is left out.
func (c *composer) field(name, value string) {
	if strings.TrimSpace(value) == "" {
		return
	}
	c.b.WriteString(name + ":")
	for _, piece := range wrap(c.inert(value), foldAt) {
		c.b.WriteString(" " + piece + "\r\n")
	}
}

// wrap breaks a text at spaces into lines of about width octets; one without a space after foldBy octets. The
// pieces have no space at either end, and there is at least one.
func wrap(text string, width int) []string {
	var lines []string
	text = strings.TrimSpace(text)
	for len(text) > width {
		end := strings.LastIndexByte(text[:width+1], ' ')
		if end <= 0 {
			end = strings.IndexByte(text, ' ')
		}
		if end < 0 && len(text) <= foldBy {
			break
		}
		if end < 0 || end > foldBy {
			end = cut(text, foldBy)
		}
		lines = append(lines, strings.TrimRight(text[:end], " "))
		text = strings.TrimLeft(text[end:], " ")
	}
	return append(lines, text)
}

// cut is where a text is cut into at most width octets, between characters.
func cut(text string, width int) int {
	for !utf8.RuneStart(text[width]) {
		width--
	}
	return width
}

// inert makes a text from elsewhere safe in any place of a DSN: line ends become "; ", other control characters "?",
// and what is not ASCII its code point, as RFC 6533 §3 writes it, \x{E4}, unless UTF-8 has its place here.
func (c *composer) inert(text string) string {
	if isPlain(text) {
		return text
	}
	text = strings.NewReplacer("\r\n", "; ", "\n", "; ", "\r", "; ", "\t", " ").Replace(text)
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == utf8.RuneError, r < ' ', r == 0x7f:
			b.WriteByte('?')
		case r > 0x7f && (!c.utf8 || !unicode.IsPrint(r)):
			fmt.Fprintf(&b, `\x{%X}`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// utf8AddrXtext is an address in the form of RFC 6533 §3 for places that are ASCII.
func utf8AddrXtext(address string) string {
	var b strings.Builder
	for _, r := range address {
		if r > ' ' && r < 0x7f && !strings.ContainsRune(`+=\`, r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\x{%X}`, r)
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

func isASCII[T string | []byte](text T) bool {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
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
