package crash

import (
	"bytes"
	"strings"
)

const (
	// blockSize is that of pebble's log: it is a sequence of blocks, and each piece of a record in one begins with a
	// header. Where a record goes on in the next block, that header stands in the middle of it.
	blockSize = 32 << 10
	// idSize is the length of a message's id with the octet before it.
	idSize = 21
)

// headerSize is the length of the header at the beginning of a block. The kind of the piece stands behind its checksum
// and length, and pebble's logs have headers of three lengths.
func headerSize(block []byte) int {
	switch {
	case len(block) <= 6 || block[6] <= 4:
		return 7
	case block[6] <= 8:
		return 11
	}
	return 19
}

// logText is what was written to a log so far.
type logText struct {
	size   int
	header int // of the block that is being written
	// tail is the end of it: a message's id may begin there.
	tail []byte
}

// add takes the next octets, and returns them behind the tail, without the headers at the beginnings of blocks.
func (l *logText) add(octets []byte) []byte {
	text := bytes.Clone(l.tail)
	for len(octets) > 0 {
		at := l.size % blockSize
		if at == 0 {
			l.header = headerSize(octets)
		}
		n := min(len(octets), blockSize-at)
		text = append(text, octets[min(n, max(0, l.header-at)):n]...)
		octets = octets[n:]
		l.size += n
	}
	l.tail = text[max(0, len(text)-(idSize-1)):]
	return text
}

// unquote is what strace shows in quotes, as it was.
func unquote(shown string) []byte {
	_, shown, _ = strings.Cut(shown, `"`)
	shown = shown[:max(0, strings.LastIndex(shown, `"`))]
	var octets []byte
	for len(shown) > 0 {
		var o byte
		o, shown = octet(shown)
		octets = append(octets, o)
	}
	return octets
}

// octet takes the first octet, which may be spelled with up to three octal digits.
func octet(shown string) (o byte, rest string) {
	if shown[0] != '\\' || len(shown) == 1 {
		return shown[0], shown[1:]
	}
	if at := strings.IndexByte(`abtnvfr`, shown[1]); at >= 0 {
		return byte('\a' + at), shown[2:]
	}
	digits := 1
	for digits < min(4, len(shown)) && shown[digits] >= '0' && shown[digits] <= '7' {
		o = o<<3 | (shown[digits] - '0')
		digits++
	}
	if digits == 1 { // a quote or a backslash
		return shown[1], shown[2:]
	}
	return o, shown[digits:]
}
