package traffic

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"slices"
	"strconv"
	"time"
)

// serving is one connection of a Sink.
type serving struct {
	sink *Sink
	conn net.Conn
	// buffer[from:to] has been read from the connection and not been looked at.
	buffer   []byte
	from, to int
	out      []byte
	// secure says that STARTTLS is over.
	secure bool
	transaction
}

// transaction is one message on its way.
type transaction struct {
	recipients int
	octets     int64
	pause      time.Duration
	// watches are those of the recipients' domains, and head the beginning of the message if there are any.
	watches []*Watch
	head    []byte
}

// bufferOctets is how much is read at once.
const bufferOctets = 64 << 10

func (s *Sink) serve(c net.Conn) {
	defer s.forget(c)
	v := &serving{sink: s, conn: c, buffer: make([]byte, bufferOctets)}
	v.say("220 sink.example ESMTP\r\n")
	for {
		line, err := v.line()
		if err != nil || !v.obey(line) {
			_ = v.flush()
			return
		}
	}
}

func (v *serving) say(reply string) { v.out = append(v.out, reply...) }

func (v *serving) flush() error {
	if len(v.out) == 0 {
		return nil
	}
	_, err := v.conn.Write(v.out)
	v.out = v.out[:0]
	return err
}

// fill reads more behind what there is, moving that to the front if need be.
func (v *serving) fill() error {
	if v.from == v.to {
		v.from, v.to = 0, 0
	}
	if v.to == len(v.buffer) {
		if v.from == 0 {
			return io.ErrShortBuffer
		}
		v.to = copy(v.buffer, v.buffer[v.from:v.to])
		v.from = 0
	}
	if err := v.flush(); err != nil {
		return err
	}
	n, err := v.conn.Read(v.buffer[v.to:])
	v.to += n
	return err
}

// line returns the next line without its CRLF. It is good until the next read.
func (v *serving) line() ([]byte, error) {
	seen := 0
	for {
		if i := bytes.IndexByte(v.buffer[v.from+seen:v.to], '\n'); i >= 0 {
			line := v.buffer[v.from : v.from+seen+i]
			v.from += seen + i + 1
			return bytes.TrimSuffix(line, []byte("\r")), nil
		}
		seen = v.to - v.from
		if err := v.fill(); err != nil {
			return nil, err
		}
	}
}

// obey does what a command says, and returns whether another one may come.
func (v *serving) obey(line []byte) bool {
	verb := line[:min(4, len(line))]
	switch {
	case bytes.EqualFold(verb, []byte("MAIL")):
		v.transaction = transaction{watches: v.watches[:0], head: v.head[:0]}
		v.say("250 2.1.0 Ok\r\n")
	case bytes.EqualFold(verb, []byte("RCPT")):
		v.rcpt(line)
	case bytes.EqualFold(verb, []byte("DATA")):
		return v.data()
	case bytes.EqualFold(verb, []byte("BDAT")) && !v.sink.options.NoChunking:
		return v.bdat(line)
	case bytes.EqualFold(verb, []byte("EHLO")):
		v.ehlo()
	case bytes.EqualFold(verb, []byte("HELO")):
		v.say("250 sink.example\r\n")
	case bytes.EqualFold(verb, []byte("RSET")), bytes.EqualFold(verb, []byte("NOOP")):
		v.transaction = transaction{}
		v.say("250 2.0.0 Ok\r\n")
	case bytes.EqualFold(line, []byte("STARTTLS")) && v.sink.options.TLS != nil && !v.secure:
		return v.startTLS()
	case bytes.EqualFold(verb, []byte("QUIT")):
		v.say("221 2.0.0 Bye\r\n")
		return false
	default:
		v.say("502 5.5.1 Unknown command\r\n")
	}
	return true
}

func (v *serving) ehlo() {
	v.say("250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n")
	if !v.sink.options.NoChunking {
		v.say("250-CHUNKING\r\n")
	}
	if v.sink.options.TLS != nil && !v.secure {
		v.say("250-STARTTLS\r\n")
	}
	v.say("250 SIZE\r\n")
}

// startTLS drops what came in clear behind the command (RFC 3207, 6).
func (v *serving) startTLS() bool {
	v.say("220 2.0.0 Go ahead\r\n")
	if v.flush() != nil {
		return false
	}
	secure := tls.Server(v.conn, v.sink.options.TLS)
	v.from, v.to = 0, 0
	v.conn, v.secure = secure, true
	return secure.Handshake() == nil
}

func (v *serving) rcpt(line []byte) {
	_, name, _ := bytes.Cut(line, []byte("@"))
	name, _, _ = bytes.Cut(name, []byte(">"))
	if d := v.sink.domain(name); d != nil {
		if d.Refuse {
			v.sink.all.add(Arrived{Refused: 1})
			v.say("451 4.3.0 Not now\r\n")
			return
		}
		v.pause = max(v.pause, d.PerData)
		if d.watch != nil && !slices.Contains(v.watches, d.watch) {
			v.watches = append(v.watches, d.watch)
		}
	}
	v.recipients++
	v.say("250 2.1.5 Ok\r\n")
}

// data takes a message up to the line with a dot.
func (v *serving) data() bool {
	if v.recipients == 0 {
		v.say("554 5.5.1 No valid recipients\r\n")
		return true
	}
	v.say("354 Go ahead\r\n")
	v.from -= len(crlf) // the end of the command is the beginning of the end of an empty message
	v.octets = -int64(len(crlf))
	for {
		if i := bytes.Index(v.buffer[v.from:v.to], []byte("\r\n.\r\n")); i >= 0 {
			v.take(i + 2)
			v.from += 3
			return v.end()
		}
		v.take(max(0, v.to-v.from-4))
		if v.fill() != nil {
			return false
		}
	}
}

// bdat takes a chunk.
func (v *serving) bdat(line []byte) bool {
	number, last, _ := bytes.Cut(line[min(5, len(line)):], []byte(" "))
	left, err := strconv.Atoi(string(number))
	if err != nil {
		v.say("501 5.5.4 BDAT size [LAST]\r\n")
		return false
	}
	refused := v.recipients == 0
	isLast := len(last) > 0
	for {
		n := min(left, v.to-v.from)
		v.take(n)
		if left -= n; left == 0 {
			break
		}
		if v.fill() != nil {
			return false
		}
	}
	switch {
	case refused:
		v.say("554 5.5.1 No valid recipients\r\n")
	case isLast:
		return v.end()
	default:
		v.say("250 2.0.0 Ok\r\n")
	}
	return true
}

// headOctets is how much of a message is searched for the stamp.
const headOctets = 32 << 10

// take looks at so many octets of the message.
func (v *serving) take(n int) {
	if len(v.watches) > 0 && len(v.head) < headOctets {
		v.head = append(v.head, v.buffer[v.from:v.from+n]...)
	}
	v.from += n
	v.octets += int64(n)
}

// end counts a message and answers it.
func (v *serving) end() bool {
	now := time.Now()
	if v.pause > 0 && !v.sink.sleep(v.pause) {
		return false
	}
	a := Arrived{Messages: 1, Recipients: v.recipients, Octets: v.octets}
	for _, w := range v.watches {
		if at, ok := stamp(v.head); ok {
			w.note(now.Sub(at))
		}
		w.add(a)
	}
	v.sink.all.add(a)
	v.transaction = transaction{watches: v.watches[:0], head: v.head[:0]}
	v.say("250 2.0.0 Ok\r\n")
	return true
}

// stamp is the time in the field that Send writes.
func stamp(head []byte) (time.Time, bool) {
	_, value, found := bytes.Cut(head, []byte(crlf+stampField))
	value, _, ended := bytes.Cut(value, []byte(crlf))
	nanoseconds, err := strconv.ParseInt(string(value), 10, 64)
	return time.Unix(0, nanoseconds), found && ended && err == nil
}

// sleep returns false when the sink is closed.
func (s *Sink) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.done:
		return false
	}
}
