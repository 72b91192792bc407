package traffic

import (
	"net"
	"time"
)

// copiedOctets is how long a body may be that is copied, to go out in one write with its header and its end. A longer one
// is written from the text as it is.
const copiedOctets = 32 << 10

// message sends message n.
func (s *session) message(c *client, n int, due time.Time) error {
	if err := s.envelope(c); err != nil {
		return err
	}
	c.out = s.header(c.out, n, due)
	body := s.text.cut(s.Octets-len(c.out), s.random)
	if len(body) > copiedOctets {
		if _, err := (&net.Buffers{c.out, body}).WriteTo(c.conn); err != nil {
			return err
		}
		c.out, body = c.out[:0], nil
	}
	c.out = append(append(c.out, body...), "\r\n.\r\n"...)
	return c.flight("250")
}

// envelope sends what comes before the message.
func (s *session) envelope(c *client) error {
	c.out = s.mail(c.out)
	for i := range s.Recipients {
		if err := s.settle(c); err != nil {
			return err
		}
		c.out = s.rcpt(c.out, i)
	}
	if err := s.settle(c); err != nil {
		return err
	}
	c.out = append(c.out, "DATA\r\n"...)
	return c.flight("354")
}

// settle has the command in c.out answered 250, now or with the flight that it is in.
func (s *session) settle(c *client) error {
	if s.Pipelining {
		c.owed++
		return nil
	}
	return c.flight("250")
}
