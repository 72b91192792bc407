package traffic

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
)

// directOctets is how much of a message is copied, to go out in one write with its header. The rest goes straight from the
// text.
const directOctets = 32 << 10

// client is a connection to an engine.
type client struct {
	conn net.Conn
	in   *bufio.Reader
	out  []byte
}

// dial connects and says EHLO, over TLS if the load is to be.
func dial(ctx context.Context, l Load) (*client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", l.Address)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, in: bufio.NewReader(conn)}
	if err := c.greet(ctx, l.TLS); err != nil {
		_ = c.conn.Close()
		return nil, fmt.Errorf("greet %s: %w", l.Address, err)
	}
	return c, nil
}

func (c *client) greet(ctx context.Context, config *tls.Config) error {
	if err := c.reply(220); err != nil {
		return err
	}
	if config != nil {
		if err := c.startTLS(ctx, config); err != nil {
			return err
		}
	}
	return c.say("EHLO load.example\r\n", 250)
}

func (c *client) startTLS(ctx context.Context, config *tls.Config) error {
	if err := c.say("EHLO load.example\r\n", 250); err != nil {
		return err
	}
	if err := c.say("STARTTLS\r\n", 220); err != nil {
		return err
	}
	secure := tls.Client(c.conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return err
	}
	c.conn, c.in = secure, bufio.NewReader(secure)
	return nil
}

func (c *client) say(command string, code int) error {
	c.out = append(c.out[:0], command...)
	return c.command(code)
}

// command sends what is in out and reads its reply.
func (c *client) command(code int) error { return c.flight(0, code) }

// flight sends what is in out and reads so many replies with 250, and one with the code.
func (c *client) flight(accepted, code int) error {
	if _, err := c.conn.Write(c.out); err != nil {
		return err
	}
	for range accepted {
		if err := c.reply(250); err != nil {
			return err
		}
	}
	return c.reply(code)
}

func (c *client) write(pieces ...[]byte) error {
	for _, p := range pieces {
		if _, err := c.conn.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// reply reads one reply, which must have the code.
func (c *client) reply(code int) error {
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		if len(line) < 3 || string(line[:3]) != fmt.Sprint(code) {
			return fmt.Errorf("got %q, want %d", line, code)
		}
		return nil
	}
}

// quit ends the connection, in good order where nothing failed.
func (c *client) quit(failed error) error {
	defer c.conn.Close()
	if failed != nil {
		return nil
	}
	return c.say("QUIT\r\n", 221)
}
