package smtptest

import (
	"encoding/base64"
	"io"
	"slices"
	"strconv"
	"strings"
)

// bdat takes a chunk (RFC 3030). One that is refused leaves the transaction open: only RSET makes room for the next.
func (c *sinkConn) bdat(rest string) bool {
	number, last, _ := strings.Cut(strings.TrimSpace(rest), " ")
	size, err := strconv.ParseInt(number, 10, 32)
	if err != nil || size < 0 || !c.offers("CHUNKING") {
		c.say(501, "5.5.4 BDAT size [LAST]")
		return false // what follows may be the chunk
	}
	if !c.chunk(size) {
		return false
	}
	switch {
	case len(c.to) == 0:
		c.say(503, "5.5.1 no valid recipients")
	case !strings.EqualFold(strings.TrimSpace(last), "LAST"):
		c.say(250, "2.0.0 %d octets", size)
	default:
		m := c.message(c.chunks, c.chunked)
		m.Chunked = true
		if c.answer(m) {
			c.reset()
		}
	}
	return true
}

// chunk reads the octets of a chunk and says whether they came.
func (c *sinkConn) chunk(size int64) bool {
	c.chunked += size
	if c.sink.o.Discard {
		_, err := c.r.Discard(int(size))
		return err == nil
	}
	at := len(c.chunks)
	c.chunks = append(c.chunks, make([]byte, size)...)
	_, err := io.ReadFull(c.r, c.chunks[at:])
	return err == nil
}

func (c *sinkConn) offers(extension string) bool { return slices.Contains(c.sink.o.Offer, extension) }

// auth checks credentials (RFC 4954); XOAUTH2 is that of the large providers.
func (c *sinkConn) auth(rest string) bool {
	mechanism, initial, given := strings.Cut(rest, " ")
	mechanism = strings.ToUpper(mechanism)
	if c.sink.o.Auth == nil || !c.tls || c.user != "" {
		c.say(503, "5.5.1 not now")
		return true
	}
	var user, secret string
	var heard bool
	switch mechanism {
	case "PLAIN":
		user, secret, heard = c.plain(initial, given)
	case "LOGIN":
		if user, heard = c.challenge("Username:"); heard {
			secret, heard = c.challenge("Password:")
		}
	case "XOAUTH2":
		user, secret, heard = c.bearer(initial, given)
	default:
		c.say(504, "5.5.4 no such mechanism")
		return true
	}
	if !heard {
		return false
	}
	if c.sink.o.Auth(mechanism, user, secret) {
		c.user = user
		c.say(235, "2.7.0 welcome")
		return true
	}
	if mechanism == "XOAUTH2" {
		if answer, ok := c.challenge(`{"status":"401"}`); !ok || answer != "" {
			return false
		}
	}
	c.say(535, "5.7.8 wrong credentials")
	return true
}

// challenge asks for one more answer.
func (c *sinkConn) challenge(text string) (answer string, ok bool) {
	c.say(334, "%s", base64.StdEncoding.EncodeToString([]byte(text)))
	if c.w.Flush() != nil {
		return "", false
	}
	line, err := c.r.ReadString('\n')
	if err != nil {
		return "", false
	}
	return decode(strings.TrimRight(line, "\r\n"))
}

// initial is the first answer, asked for unless it was given.
func (c *sinkConn) initial(response string, given bool) (string, bool) {
	if given {
		return decode(response)
	}
	return c.challenge("")
}

func (c *sinkConn) plain(response string, given bool) (user, secret string, ok bool) {
	answer, ok := c.initial(response, given)
	_, answer, _ = strings.Cut(answer, "\x00")
	user, secret, _ = strings.Cut(answer, "\x00")
	return user, secret, ok
}

func (c *sinkConn) bearer(response string, given bool) (user, token string, ok bool) {
	answer, ok := c.initial(response, given)
	for part := range strings.SplitSeq(answer, "\x01") {
		if u, found := strings.CutPrefix(part, "user="); found {
			user = u
		}
		if t, found := strings.CutPrefix(part, "auth=Bearer "); found {
			token = t
		}
	}
	return user, token, ok
}

func decode(s string) (string, bool) {
	octets, err := base64.StdEncoding.DecodeString(s)
	return string(octets), err == nil
}
