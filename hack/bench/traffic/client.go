package traffic

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"syscall"
)

// replyOctets is how long a line of a reply may be, and more: 512 are allowed (RFC 5321, 4.5.3.1.5).
const replyOctets = 4 << 10

// client is a connection to an engine. Commands are gathered in out, and go out with flight.
type client struct {
	conn net.Conn
	out  []byte
	in   input
	// release has the connection outlive the context.
	release func() bool
	// owed is how many replies 250 are due for what is in out, before that of its last command.
	owed int
	// plain is the connection when there is no TLS on it.
	plain *turn
}

// dial connects and says EHLO, over TLS if the load is to be. The connection is closed when ctx is over.
func dial(ctx context.Context, l Load) (*client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", l.Address)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, in: input{buffer: make([]byte, replyOctets)}}
	c.release = context.AfterFunc(ctx, func() { _ = conn.Close() })
	if err := c.greet(ctx, l.TLS); err != nil {
		c.close()
		return nil, fmt.Errorf("greet %s: %w", l.Address, err)
	}
	return c, nil
}

func (c *client) greet(ctx context.Context, config *tls.Config) error {
	if err := c.reply("220"); err != nil {
		return err
	}
	if config != nil {
		if err := c.startTLS(ctx, config); err != nil {
			return err
		}
	} else if raw, err := c.conn.(syscall.Conn).SyscallConn(); err == nil {
		c.plain = newTurn(raw)
	}
	return c.say("EHLO load.example", "250")
}

// startTLS drops what came in clear behind the reply (RFC 3207, 6).
func (c *client) startTLS(ctx context.Context, config *tls.Config) error {
	if err := c.say("EHLO load.example", "250"); err != nil {
		return err
	}
	if err := c.say("STARTTLS", "220"); err != nil {
		return err
	}
	secure := tls.Client(c.conn, config)
	c.in.drop()
	c.conn = secure
	return secure.HandshakeContext(ctx)
}

// say sends a command and reads its reply.
func (c *client) say(command, code string) error {
	c.out = append(append(c.out[:0], command...), crlf...)
	return c.flight(code)
}

// flight sends what is in out, reads the replies that are owed, and one with the code.
func (c *client) flight(code string) error {
	if err := c.exchange(); err != nil {
		return err
	}
	for ; c.owed > 0; c.owed-- {
		if err := c.reply("250"); err != nil {
			return err
		}
	}
	return c.reply(code)
}

// exchange sends what is in out and, where that is cheaper than to do it later, waits for the beginning of the reply.
func (c *client) exchange() error {
	rest := c.out
	if c.plain != nil && len(c.in.ahead()) == 0 {
		got, sent, err := c.plain.take(c.out, c.in.buffer)
		if err != nil {
			return err
		}
		c.in.from, c.in.to, rest = 0, got, c.out[sent:]
	}
	c.out = c.out[:0]
	if len(rest) == 0 {
		return nil
	}
	_, err := c.conn.Write(rest)
	return err
}

// reply reads one reply, which must have the code (RFC 5321, 4.2.1).
func (c *client) reply(code string) error {
	for {
		line, err := c.line()
		switch {
		case err != nil:
			return fmt.Errorf("read a reply: %w", err)
		case len(line) > 3 && line[3] == '-':
			continue
		case len(line) < 3 || string(line[:3]) != code:
			return fmt.Errorf("the engine says %q, not %s", line, code)
		}
		return nil
	}
}

// line returns the next line. It is good until the next read.
func (c *client) line() ([]byte, error) {
	for {
		if line, ok := c.in.line(); ok {
			return line, nil
		}
		if err := c.in.fill(c.conn); err != nil {
			return nil, err
		}
	}
}

// quit ends a connection in good order; what the engine says to it matters to nobody.
func (c *client) quit() {
	_ = c.say("QUIT", "221")
	c.close()
}

func (c *client) close() {
	c.release()
	_ = c.conn.Close()
}
