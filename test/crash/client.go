package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/textproto"
	"strings"
	"time"
)

// client sends one message after another over one connection after another.
type client struct {
	address string
	name    string
	book    *book
	dice    *rand.Rand
	sent    int
}

// message is one mail and the addresses at which it must arrive.
type message struct {
	from   string
	to     []string
	body   string
	expect []string
}

// run sends until ctx is done. A lost connection is what this is about; a permanent refusal is an error.
func (c *client) run(ctx context.Context) error {
	for {
		conn, err := dial(ctx, c.address)
		if err != nil {
			return nil //nolint:nilerr // ctx is done
		}
		err = c.session(ctx, conn)
		_ = conn.Close()
		var refused *textproto.Error
		if errors.As(err, &refused) && refused.Code >= 500 {
			return fmt.Errorf("the relay refused a message: %w", err)
		}
	}
}

func (c *client) session(ctx context.Context, conn net.Conn) error {
	t := textproto.NewConn(conn)
	if _, _, err := t.ReadResponse(220); err != nil {
		return err
	}
	if err := command(t, 250, "EHLO client.crash.test"); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			return err
		}
		m := c.next()
		if err := send(t, m); err != nil {
			return err
		}
		c.book.acknowledge(m)
	}
	return command(t, 221, "QUIT")
}

// next makes a message of its own: mostly small to one recipient; some go to two domains, some are large enough to
// be kept in a segment, some are refused so that a DSN must arrive in their place.
func (c *client) next() message {
	c.sent++
	id := fmt.Sprintf("%s-%d", c.name, c.sent)
	m := message{from: "s" + id + "@sender.crash.test", body: strings.Repeat(strings.Repeat("x", 72)+"\r\n", 14)}
	switch n := c.dice.IntN(100); {
	case n < 5:
		m.to, m.expect = []string{"r" + id + "@refuse.crash.test"}, []string{m.from}
		return m
	case n < 15:
		m.to = []string{"m" + id + "@a.crash.test", "m" + id + "@b.crash.test"}
	case n < 20:
		m.body = strings.Repeat(m.body, 100)
		fallthrough
	default:
		m.to = []string{"m" + id + "@a.crash.test"}
	}
	m.expect = m.to
	return m
}

func send(t *textproto.Conn, m message) error {
	if err := command(t, 250, "MAIL FROM:<%s>", m.from); err != nil {
		return err
	}
	for _, to := range m.to {
		if err := command(t, 250, "RCPT TO:<%s>", to); err != nil {
			return err
		}
	}
	if err := command(t, 354, "DATA"); err != nil {
		return err
	}
	return command(t, 250, "From: <%s>\r\nTo: <%s>\r\nSubject: crash\r\n\r\n%s.", m.from, m.to[0], m.body)
}

// command sends a line, or the content of a message, and reads its reply.
func command(t *textproto.Conn, want int, format string, args ...any) error {
	if err := t.PrintfLine(format, args...); err != nil {
		return err
	}
	_, _, err := t.ReadResponse(want)
	return err
}
