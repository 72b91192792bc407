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
	// rcptParams go with to; chunks and chunked are the content by BDAT so far, and its length.
	rcptParams []string
	chunks     []byte
	chunked    int64
	user       string
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
	if verb == "LHLO" || verb == "EHLO" || verb == "HELO" {
		if c.sink.o.LMTP != (verb == "LHLO") {
			c.say(500, "5.5.1 %s is not for this protocol", verb)
			return true
		}
	}
	switch verb {
	case "EHLO", "LHLO":
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
	case "BDAT":
		return c.bdat(rest)
	case "AUTH":
		return c.auth(rest)
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
	for _, line := range c.sink.o.Offer {
		fmt.Fprintf(c.w, "250-%s\r\n", line)
	}
	if c.sink.o.TLS != nil && !c.tls {
		fmt.Fprintf(c.w, "250-STARTTLS\r\n")
	}
	if c.sink.o.Auth != nil && c.tls {
		fmt.Fprintf(c.w, "250-AUTH PLAIN LOGIN XOAUTH2\r\n")
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

func (c *sinkConn) reset() {
	c.mail, c.from, c.params, c.to, c.rcptParams, c.chunks, c.chunked = false, "", "", nil, nil, nil, 0
}

func (c *sinkConn) mailFrom(rest string) {
	from, params, ok := path(rest, "FROM:")
	switch {
	case !ok:
		c.say(501, "5.5.4 MAIL FROM:<address>")
	case c.mail:
		c.say(503, "5.5.1 a transaction is open")
	case c.sink.o.Auth != nil && c.user == "":
		c.say(530, "5.7.0 AUTH first")
	default:
		c.mail, c.from, c.params = true, from, params
		c.say(250, "2.1.0 ok")
	}
}

func (c *sinkConn) rcptTo(rest string) {
	to, params, ok := path(rest, "TO:")
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
		c.to, c.rcptParams = append(c.to, to), append(c.rcptParams, params)
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
	end := closing(s)
	if !strings.HasPrefix(s, "<") || end < 0 {
		return "", "", false
	}
	return s[1:end], strings.TrimSpace(s[end+1:]), true
}

// closing is the index of the first ">" outside quotes, -1 without one.
func closing(s string) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '>' && !quoted:
			return i
		}
	}
	return -1
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
	m := c.message(body, size)
	c.reset()
	c.answer(m)
	return true
}

func (c *sinkConn) message(body []byte, size int64) Message {
	return Message{From: c.from, To: c.to, Params: c.params, RecipientParams: c.rcptParams, User: c.user,
		Data: body, Size: size, Helo: c.helo, TLS: c.tls, Remote: c.conn.RemoteAddr(), Connection: c.n}
}

// answer decides on a message and says whether anybody got it.
func (c *sinkConn) answer(m Message) bool {
	verdict := c.verdict(m)
	m.At = time.Now()
	if c.sink.o.LMTP {
		return c.answerEach(m, verdict)
	}
	taken := verdict.Class() == reply.Success
	if taken {
		c.sink.take(m)
	}
	c.reply(verdict)
	return taken
}

// answerEach decides for one recipient after the other (RFC 2033 §4.2).
func (c *sinkConn) answerEach(m Message, verdict reply.Reply) bool {
	var verdicts []reply.Reply
	all := m
	m.To, m.RecipientParams = nil, nil
	for i, to := range all.To {
		each := verdict
		if c.sink.o.Each != nil && verdict.Class() == reply.Success {
			if r := c.sink.o.Each(all, to); r.Code != 0 {
				each = r
			}
		}
		if each.Class() == reply.Success {
			m.To, m.RecipientParams = append(m.To, to), append(m.RecipientParams, all.RecipientParams[i])
		}
		verdicts = append(verdicts, each)
	}
	if len(m.To) > 0 {
		c.sink.take(m)
	}
	for _, r := range verdicts {
		c.reply(r)
	}
	return len(m.To) > 0
}

func (c *sinkConn) verdict(m Message) reply.Reply {
	var verdict reply.Reply
	if limit := c.sink.o.MaxBytes; limit > 0 && m.Size > limit {
		verdict = reply.Reply{Code: 552, Enhanced: "5.3.4", Text: "too big"}
	} else if c.sink.o.Data != nil {
		verdict = c.sink.o.Data(m)
	}
	if verdict.Code == 0 {
		verdict = reply.Reply{Code: 250, Enhanced: "2.0.0", Text: "kept"}
	}
	return verdict
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
