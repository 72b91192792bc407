package traffic

import (
	"bytes"
	"crypto/tls"
	"net"
	"slices"
	"strconv"
	"time"
)

// readOctets is how much a Sink reads at once.
const readOctets = 64 << 10

// serving is one connection of a Sink.
type serving struct {
	sink *Sink
	conn net.Conn
	in   input
	// out is replies. They go out when there is nothing to do before the next read (RFC 2920, 3.2).
	out    []byte
	secure bool
	letter
}

// letter is one message on its way.
type letter struct {
	recipients int
	octets     int64
	pause      time.Duration
	// watches are those of the recipients' domains. If there are any, head is the beginning of the message.
	watches []*Watch
	head    []byte
}

// talk ends with the connection.
func (s *Sink) talk(conn net.Conn) {
	s.all.add(Arrived{Connections: 1})
	v := &serving{sink: s, conn: conn, in: input{buffer: make([]byte, readOctets)}}
	v.say("220 sink.example ESMTP")
	for goOn := true; goOn; {
		line, ok := v.in.line()
		if ok {
			goOn = v.obey(line)
		} else {
			goOn = v.read()
		}
	}
	_ = v.flush()
}

func (v *serving) say(reply string) { v.out = append(append(v.out, reply...), crlf...) }

func (v *serving) flush() error {
	if len(v.out) == 0 {
		return nil
	}
	_, err := v.conn.Write(v.out)
	v.out = v.out[:0]
	return err
}

// read gives the peer its replies and takes more of what it says. It returns false when the connection is over.
func (v *serving) read() bool { return v.flush() == nil && v.in.fill(v.conn) == nil }

// obey does what a command says. It returns false when no other may follow.
func (v *serving) obey(line []byte) bool {
	switch verb, argument := parse(line); string(verb) {
	case "MAIL":
		v.letter.reset()
		v.say("250 2.1.0 Ok")
	case "RCPT":
		v.rcpt(argument)
	case "DATA":
		return v.data()
	case "BDAT":
		return v.bdat(argument)
	case "EHLO":
		v.ehlo()
	case "HELO":
		v.say("250 sink.example")
	case "RSET", "NOOP":
		v.letter.reset()
		v.say("250 2.0.0 Ok")
	case "STARTTLS":
		return v.startTLS()
	case "QUIT":
		v.say("221 2.0.0 Bye")
		return false
	default:
		v.say("500 5.5.1 Unknown command")
	}
	return true
}

// parse returns a command in capitals, in place, and what stands behind it.
func parse(line []byte) (verb, argument []byte) {
	verb, argument, _ = bytes.Cut(line, []byte(" "))
	for i, c := range verb {
		if 'a' <= c && c <= 'z' {
			verb[i] = c - 'a' + 'A'
		}
	}
	return verb, argument
}

func (v *serving) ehlo() {
	v.say("250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES")
	if !v.sink.options.NoChunking {
		v.say("250-CHUNKING")
	}
	if v.sink.options.TLS != nil && !v.secure {
		v.say("250-STARTTLS")
	}
	v.say("250 SIZE")
}

// startTLS drops what came in clear behind the command (RFC 3207, 5).
func (v *serving) startTLS() bool {
	if v.sink.options.TLS == nil || v.secure {
		v.say("502 5.5.1 No TLS here")
		return true
	}
	v.say("220 2.0.0 Go ahead")
	if v.flush() != nil {
		return false
	}
	v.in.drop()
	v.conn, v.secure = tls.Server(v.conn, v.sink.options.TLS), true
	return true
}

func (v *serving) rcpt(argument []byte) {
	_, name, _ := bytes.Cut(argument, []byte("@"))
	name, _, _ = bytes.Cut(name, []byte(">"))
	d := v.sink.domain(name)
	if d.Refuse {
		v.sink.all.add(Arrived{Refused: 1})
		v.say("451 4.3.0 Not now")
		return
	}
	v.recipients++
	v.pause = max(v.pause, d.PerData)
	if d.watch != nil && !slices.Contains(v.watches, d.watch) {
		v.watches = append(v.watches, d.watch)
	}
	v.say("250 2.1.5 Ok")
}

// data takes a message up to the line with the dot.
func (v *serving) data() bool {
	if v.recipients == 0 {
		v.say("554 5.5.1 No valid recipients")
		return true
	}
	v.say("354 Go ahead")
	v.in.from -= len(crlf) // the end of the command is still there, and ends the line before the message
	v.octets = -int64(len(crlf))
	for {
		octets, done := v.in.message()
		v.take(octets)
		if done {
			return v.arrived()
		}
		if !v.read() {
			return false
		}
	}
}

// bdat takes a chunk (RFC 3030). One whose length is not known ends the connection.
func (v *serving) bdat(argument []byte) bool {
	number, last, _ := bytes.Cut(argument, []byte(" "))
	left, err := strconv.ParseUint(string(number), 10, 63)
	if err != nil || v.sink.options.NoChunking {
		v.say("501 5.5.4 No chunk of that length")
		return false
	}
	for {
		ahead := v.in.ahead()
		ahead = ahead[:min(uint64(len(ahead)), left)]
		v.take(ahead)
		v.in.from += len(ahead)
		left -= uint64(len(ahead))
		if left == 0 {
			break
		}
		if !v.read() {
			return false
		}
	}
	switch {
	case v.recipients == 0:
		v.say("554 5.5.1 No valid recipients")
	case len(last) > 0:
		return v.arrived()
	default:
		v.say("250 2.0.0 Ok")
	}
	return true
}

// headOctets is how much of a message is searched for the stamp.
const headOctets = 32 << 10

// take notes octets of the message.
func (l *letter) take(octets []byte) {
	l.octets += int64(len(octets))
	if len(l.watches) > 0 {
		l.head = append(l.head, octets[:min(len(octets), headOctets-len(l.head))]...)
	}
}

func (l *letter) reset() { *l = letter{watches: l.watches[:0], head: l.head[:0]} }

// arrived counts a message, and answers it after the pause that its domain asks for.
func (v *serving) arrived() bool {
	now := time.Now()
	if v.pause > 0 && (v.flush() != nil || !v.sink.sleep(v.pause)) {
		return false
	}
	a := Arrived{Messages: 1, Recipients: v.recipients, Octets: v.octets}
	for _, w := range v.watches {
		w.add(a, v.head, now)
	}
	v.sink.all.add(a)
	v.letter.reset()
	v.say("250 2.0.0 Ok")
	return true
}
