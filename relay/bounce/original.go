package bounce

import (
	"bytes"
	"strings"
)

// maxHeader is how much of the original header is returned, in octets.
const maxHeader = 64 << 10

// original returns the message or its header.
func (c *composer) original() part {
	if c.returnsWhole() {
		c.b.Write(c.Original)
		return c.part("message/rfc822", "message/global", "Your message")
	}
	c.originalHeader()
	return c.part("text/rfc822-headers", "message/global-headers", "Header of your message")
}

// returnsWhole: a message goes back whole only when it is returned as it is, and readers agree where its lines end.
func (c *composer) returnsWhole() bool {
	return c.Whole && len(c.Original) <= MaxWhole && isWellFormed(c.Original)
}

// isWellFormed says whether a message has CR and LF only together, no NUL, and no line that is too long.
func isWellFormed(message []byte) bool {
	for line := range bytes.Lines(message) {
		text, ok := bytes.CutSuffix(line, []byte("\r\n"))
		if !ok || len(text) > maxLine || bytes.ContainsAny(text, "\r\x00") {
			return false
		}
	}
	return true
}

// originalHeader writes the header, up to its blank line, as far as it goes without breaking the rules of this
// message.
func (c *composer) originalHeader() {
	for line := range bytes.Lines(c.Original[:min(len(c.Original), maxHeader)]) {
		text := strings.TrimRight(string(line), "\r\n")
		if text == "" {
			return
		}
		c.line(c.inert(text))
	}
}
