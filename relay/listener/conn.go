package listener

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// Default caps.
const (
	DefaultConnections = 1000
	DefaultPerClient   = 100
)

// Caps bound connections in total and per client address. They are safe for concurrent use.
type Caps struct {
	total, perClient int

	mu      sync.Mutex
	open    int
	clients map[netip.Addr]int
	paused  bool
}

// Pause refuses every new connection until it is called with false; those that are open go on.
func (c *Caps) Pause(paused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = paused
}

// NewCaps allows so many connections in total and per client address.
func NewCaps(total, perClient int) *Caps {
	return &Caps{total: total, perClient: perClient, clients: make(map[netip.Addr]int)}
}

// take counts a connection until release is called, which is never nil.
func (c *Caps) take(client netip.Addr) (release func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.paused || c.open >= c.total || c.clients[client] >= c.perClient {
		return func() {}, false
	}
	c.open++
	c.clients[client]++
	return func() { c.release(client) }, true
}

func (c *Caps) release(client netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
	if c.clients[client]--; c.clients[client] == 0 {
		delete(c.clients, client)
	}
}

// conn is a connection whose deadlines roll: a peer may take as long as it likes for a message, but not be silent.
type conn struct {
	net.Conn
	timeout time.Duration

	mu       sync.Mutex
	idle     bool // waits for a command outside a transaction
	draining bool
}

// Read takes octets from the peer. In an idle session that is to end it fails at once.
func (c *conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	deadline := time.Now().Add(c.timeout)
	if c.idle && c.draining {
		deadline = time.Unix(1, 0)
	}
	err := c.SetReadDeadline(deadline)
	c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write sends octets to the peer.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	deadline := time.Now().Add(c.timeout)
	c.mu.Unlock()
	if err := c.SetWriteDeadline(deadline); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// CloseWrite tells the peer that nothing more will come.
func (c *conn) CloseWrite() error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		return tcp.CloseWrite()
	}
	return nil
}

// hurry gives the peer less time to be silent from the next read on.
func (c *conn) hurry(timeout time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timeout = min(c.timeout, timeout)
}

// setIdle says whether the session may be ended here.
func (c *conn) setIdle(idle bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = idle
}

// drain ends the wait of an idle session, now and whenever it gets idle.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	if c.idle {
		_ = c.SetReadDeadline(time.Unix(1, 0))
	}
}

// remoteOf is the peer's address, IPv4 as such.
func remoteOf(c net.Conn) netip.AddrPort {
	if tcp, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		ap := tcp.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}
