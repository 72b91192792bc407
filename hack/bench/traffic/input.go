package traffic

import (
	"bytes"
	"errors"
	"io"
)

// input is what a peer says. It reads as much as there is, and is looked through in place.
type input struct {
	// buffer[from:to] has been read and not been used.
	buffer   []byte
	from, to int
}

// errLongLine is a line that fits no buffer.
var errLongLine = errors.New("a line is too long")

// ahead is what has been read and not been used. It is good until the next fill.
func (in *input) ahead() []byte { return in.buffer[in.from:in.to] }

// drop forgets what has been read.
func (in *input) drop() { in.from, in.to = 0, 0 }

// fill reads more behind what is ahead.
func (in *input) fill(r io.Reader) error {
	in.to = copy(in.buffer, in.ahead())
	in.from = 0
	if in.to == len(in.buffer) {
		return errLongLine
	}
	n, err := r.Read(in.buffer[in.to:])
	in.to += n
	if n > 0 {
		return nil
	}
	return err
}

// line uses the next line and returns it without its CRLF. There is none if ok is false: more has to be read.
func (in *input) line() (line []byte, ok bool) {
	i := bytes.IndexByte(in.ahead(), '\n')
	if i < 0 {
		return nil, false
	}
	line = in.ahead()[:i]
	in.from += i + 1
	return bytes.TrimSuffix(line, []byte("\r")), true
}

// end is that of a message, with the end of its last line (RFC 5321, 4.5.2).
const end = "\r\n.\r\n"

// message uses what surely belongs to a message and returns it, with the end of its last line if it is done; the dot is
// used then too. What is ahead must begin with a line end: that of DATA, to begin with. It looks for dots, which are
// rare, and at what stands around them; that is done many octets at a time.
func (in *input) message() (octets []byte, done bool) {
	ahead := in.ahead()
	for i := 0; ; i++ {
		dot := bytes.IndexByte(ahead[i:], '.')
		if dot < 0 {
			break
		}
		i += dot
		if i >= 2 && bytes.HasPrefix(ahead[i-2:], []byte(end)) {
			in.from += i - 2 + len(end)
			return ahead[:i], true
		}
	}
	n := max(0, len(ahead)-len(end)+1)
	in.from += n
	return ahead[:n], false
}
