package traffic

import (
	"math/rand/v2"
)

const (
	// lineOctets is the length of a line of random text with its CRLF. 78 are allowed without it (RFC 5322, 2.1.1).
	lineOctets = 78
	// textOctets is as much random text as a load makes at most, besides the length of one message. Bodies are cut from it at
	// random: two that overlap hardly ever stand close enough to one another for a compressor to see it.
	textOctets = 16 << 20
)

// text is lines of random printable ASCII. No dot is in it, so nothing needs stuffing (RFC 5321, 4.5.2).
type text []byte

// alphabet is as large a power of two as printable characters allow, and a letter of it 6 random bits.
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// newText makes text of at least so many octets.
func newText(octets int, random *rand.Rand) text {
	lines := (octets + lineOctets - 1) / lineOctets
	t := make(text, 0, lines*lineOctets+8)
	for range lines {
		end := len(t) + lineOctets - len(crlf)
		for len(t) < end {
			bits := random.Uint64()
			for range 8 {
				t = append(t, alphabet[bits&63])
				bits >>= 8
			}
		}
		t = append(t[:end], crlf...)
	}
	return t
}

// cut returns a piece of the text, at random, that makes a body of so many octets when a CRLF is put behind it.
func (t text) cut(octets int, random *rand.Rand) []byte {
	octets -= len(crlf)
	lines := (len(t) - octets) / lineOctets
	from := random.IntN(lines) * lineOctets
	if octets%lineOctets == lineOctets-1 {
		from++ // or it would end between CR and LF
	}
	return t[from : from+octets]
}
