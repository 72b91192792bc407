package smtptest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/relay/reply"
)

// sinkConn is one session with a sink. Replies are flushed when nothing more of the client is at hand, so that a
// group of pipelined commands is answered in one packet.
type sinkConn struct {
	sink *Sink
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
	n    int64

	helo   string
	tls    bool
	mail   bool
	from   string
	params string
	to     []string
}

func newSinkConn(s *Sink, c net.Conn, n int64) *sinkConn {
	return &sinkConn{sink: s, conn: c, n: n, r: bufio.NewReaderSize(c, 16<<10), w: bufio.NewWriterSize(c, 4<<10)}
}

func (c *sinkConn) serve() {
	c.say(220, "%s ESMTP sink", c.sink.o.Hostname)
	for {
		if c.r.Buffered() == 0 && c.w.Flush() != nil {
			return
		}
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(strings.TrimRight(string(line), "\r\n"), " ")
		if !c.command(strings.ToUpper(verb), rest) {
			_ = c.w.Flush()
			return
		}
	}
}

func (c *sinkConn) say(code int, format string, args ...any) {
	fmt.Fprintf(c.w, "%d "+format+"\r\n", append([]any{code}, args...)...)
}

func (c *sinkConn) reply(r reply.Reply) {
	c.say(r.Code, "%s %s", r.Status(), strings.ReplaceAll(r.Text, "\n", " "))
}

// command obeys one command and says whether the session goes on.
func (c *sinkConn) command(verb, rest string) bool {
	switch verb {
	case "EHLO":
		c.ehlo(rest)
	case "HELO":
		c.helo = rest
		c.say(250, "%s", c.sink.o.Hostname)
	case "STARTTLS":
		return c.startTLS()
	case "MAIL":
		c.mailFrom(rest)
	case "RCPT":
		c.rcptTo(rest)
	case "DATA":
		return c.data()
	case "RSET":
		c.reset()
		c.say(250, "2.0.0 reset")
	case "NOOP":
		c.say(250, "2.0.0 nothing done")
	case "QUIT":
		c.say(221, "2.0.0 bye")
		return false
	default:
		c.say(502, "5.5.1 %s is not known here", verb)
	}
	return true
}

func (c *sinkConn) ehlo(name string) {
	c.helo = name
	c.reset()
	extensions := []string{"PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "SIZE"}
	fmt.Fprintf(c.w, "250-%s\r\n", c.sink.o.Hostname)
	for _, name := range extensions {
		switch {
		case slices.Contains(c.sink.o.Without, name):
		case name == "SIZE" && c.sink.o.MaxBytes > 0:
			fmt.Fprintf(c.w, "250-SIZE %d\r\n", c.sink.o.MaxBytes)
		default:
			fmt.Fprintf(c.w, "250-%s\r\n", name)
		}
	}
	if c.sink.o.TLS != nil && !c.tls {
		fmt.Fprintf(c.w, "250-STARTTLS\r\n")
	}
	c.say(250, "HELP")
}

func (c *sinkConn) startTLS() bool {
	if c.sink.o.TLS == nil || c.tls {
		c.say(502, "5.5.1 not offered")
		return true
	}
	c.say(220, "2.0.0 go ahead")
	if c.w.Flush() != nil || c.r.Buffered() > 0 {
		return false
	}
	secure := tls.Server(c.conn, c.sink.o.TLS)
	if secure.HandshakeContext(context.Background()) != nil {
		return false
	}
	c.tls = true
	c.r.Reset(secure)
	c.w.Reset(secure)
	c.reset()
	return true
}

func (c *sinkConn) reset() { c.mail, c.from, c.params, c.to = false, "", "", nil }

func (c *sinkConn) mailFrom(rest string) {
	from, params, ok := path(rest, "FROM:")
	switch {
	case !ok:
		c.say(501, "5.5.4 MAIL FROM:<address>")
	case c.mail:
		c.say(503, "5.5.1 a transaction is open")
	default:
		c.mail, c.from, c.params = true, from, params
		c.say(250, "2.1.0 ok")
	}
}

func (c *sinkConn) rcptTo(rest string) {
	to, _, ok := path(rest, "TO:")
	refusal, refused := c.sink.refusal(to)
	switch {
	case !c.mail:
		c.say(503, "5.5.1 MAIL first")
	case !ok:
		c.say(501, "5.5.4 RCPT TO:<address>")
	case refused:
		c.reply(refusal)
	case c.sink.o.MaxRecipients > 0 && len(c.to) >= c.sink.o.MaxRecipients:
		c.say(452, "4.5.3 too many recipients")
	default:
		c.to = append(c.to, to)
		c.say(250, "2.1.5 ok")
	}
}

func (s *Sink) refusal(to string) (reply.Reply, bool) {
	to = strings.ToLower(to)
	if r, ok := s.o.Replies[to]; ok {
		return r, true
	}
	r, ok := s.o.Replies[to[max(strings.LastIndexByte(to, '@'), 0):]]
	return r, ok
}

// path cuts "FROM:<a@b> X=1" into the address and the parameters.
func path(s, word string) (address, params string, ok bool) {
	if len(s) < len(word) || !strings.EqualFold(s[:len(word)], word) {
		return "", "", false
	}
	s = strings.TrimSpace(s[len(word):])
	end := strings.LastIndexByte(s, '>')
	if !strings.HasPrefix(s, "<") || end < 0 {
		return "", "", false
	}
	return s[1:end], strings.TrimSpace(s[end+1:]), true
}

func (c *sinkConn) data() bool {
	if len(c.to) == 0 {
		c.say(503, "5.5.1 no valid recipients")
		return true
	}
	c.say(354, "go ahead")
	if c.w.Flush() != nil {
		return false
	}
	body, size, err := c.body()
	if err != nil {
		return false
	}
	m := Message{From: c.from, To: c.to, Params: c.params, Data: body, Size: size, Helo: c.helo, TLS: c.tls,
		Remote: c.conn.RemoteAddr(), Connection: c.n}
	c.reset()
	c.answer(m)
	return true
}

func (c *sinkConn) answer(m Message) {
	var verdict reply.Reply
	if limit := c.sink.o.MaxBytes; limit > 0 && m.Size > limit {
		verdict = reply.Reply{Code: 552, Enhanced: "5.3.4", Text: "too big"}
	} else if c.sink.o.Data != nil {
		verdict = c.sink.o.Data(m)
	}
	if verdict.Code == 0 {
		verdict = reply.Reply{Code: 250, Enhanced: "2.0.0", Text: "kept"}
	}
	m.At = time.Now()
	if verdict.Class() == reply.Success {
		c.sink.take(m)
	}
	c.reply(verdict)
}

// body reads up to the line with a single dot, and takes the stuffed dots away. Only CRLF ends a line; a line
// longer than the buffer comes in pieces.
func (c *sinkConn) body() (kept []byte, size int64, err error) {
	for start, afterCR := true, false; ; {
		piece, err := c.r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, 0, io.ErrUnexpectedEOF
		}
		if start && piece[0] == '.' {
			if len(piece) == 3 && piece[1] == '\r' {
				return kept, size, nil
			}
			piece = piece[1:]
		}
		start = bytes.HasSuffix(piece, []byte("\r\n")) || afterCR && len(piece) == 1 && piece[0] == '\n'
		afterCR = bytes.HasSuffix(piece, []byte("\r"))
		size += int64(len(piece))
		if !c.sink.o.Discard {
			kept = append(kept, piece...)
		}
	}
}
