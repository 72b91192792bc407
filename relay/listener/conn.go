package listener

import (
	"io"
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

// minRate is how many octets a second a peer must send on average, once the time that it may be silent is used up.
const minRate = 100

// Caps bound connections in total and per client: an IPv4 address, or a /64 of IPv6, which is what one host has. They
// are safe for concurrent use.
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

// Paused says whether new connections are refused.
func (c *Caps) Paused() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.paused
}

// Open is how many connections there are now, and how many there may be.
func (c *Caps) Open() (open, most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open, c.total
}

// take counts a connection until release is called, which is never nil.
func (c *Caps) take(client netip.Addr) (release func(), ok bool) {
	client = host(client)
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

// host is what counts as one client.
func host(client netip.Addr) netip.Addr {
	if client.Is4() {
		return client
	}
	prefix, _ := client.WithZone("").Prefix(64) // the zero Addr stays what it is
	return prefix.Addr()
}

// conn is a connection whose peer has a credit of time: for each command it may be silent for the timeout, and each
// octet gives back what it takes at minRate, up to the timeout again. So a message may take as long as it likes, but
// not be a trickle. What we take to answer is not counted.
type conn struct {
	net.Conn
	// in is what is read in place of Conn when its first octets went into a buffer; nil for none. It is set and read by
	// the session alone, while others may close Conn.
	in      io.Reader
	timeout time.Duration

	mu       sync.Mutex
	credit   time.Duration
	idle     bool // waits for a command outside a transaction
	draining bool
}

// Read takes octets from the peer. In an idle session that is to end it fails at once.
func (c *conn) Read(p []byte) (int, error) {
	start := time.Now()
	c.mu.Lock()
	deadline := start.Add(c.credit)
	if c.idle && c.draining {
		deadline = time.Unix(1, 0)
	}
	err := c.SetReadDeadline(deadline)
	c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	in := c.in
	if in == nil {
		in = c.Conn
	}
	n, err := in.Read(p)
	c.earn(time.Duration(n)*time.Second/minRate - time.Since(start))
	return n, err
}

// earn changes the credit.
func (c *conn) earn(credit time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.credit = min(c.credit+credit, c.timeout)
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
func (c *conn) CloseWrite() error { return closeWrite(c.Conn) }

func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// hurry gives the peer less time to be silent from the next read on.
func (c *conn) hurry(timeout time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timeout = min(c.timeout, timeout)
	c.credit = c.timeout
}

// allow gives the peer this long until the next command is waited for.
func (c *conn) allow(credit time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.credit = credit
}

// await begins the wait for a command; idle says that the session may be ended here.
func (c *conn) await(idle bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle, c.credit = idle, c.timeout
}

// arrived ends it.
func (c *conn) arrived() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = false
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
