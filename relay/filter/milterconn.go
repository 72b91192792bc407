package filter

import (
	"context"
	"errors"
	"net"
)

// maxMilterBytes is how much a milter may say about one message.
const maxMilterBytes = 1 << 20

// milterConn is the connection to a milter, kept within bounds that the library does not set: it ends with its
// context, whatever the milter does to be granted more time, and reads no more than a milter may say. It is the
// library's Dialer, too, for the one connection that it is: the library would leave one open whose greeting fails.
type milterConn struct {
	net.Conn
	left int
	stop func() bool
}

func dialMilter(ctx context.Context, address string) (*milterConn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	end, _ := ctx.Deadline()
	if err := c.SetDeadline(end); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &milterConn{Conn: c, left: maxMilterBytes, stop: context.AfterFunc(ctx, func() { _ = c.Close() })}, nil
}

// Dial implements milter.Dialer.
func (c *milterConn) Dial(string, string) (net.Conn, error) { return c, nil }

// Read implements net.Conn.
func (c *milterConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errors.New("the milter says more than it may")
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// Close implements net.Conn.
func (c *milterConn) Close() error {
	c.stop()
	return c.Conn.Close()
}
