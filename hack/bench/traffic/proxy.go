package traffic

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	// chunkOctets is the most that a Proxy reads at once, and chunks how many are under way in one direction of a
	// connection: 4 MiB at most. At 25 ms that lets 160 MiB through in a second, so it is no limit.
	chunkOctets, chunks = 16 << 10, 256
)

// Proxy passes connections on to a target with a delay in each direction, as a long way does, and no limit to how much
// is under way at once.
type Proxy struct {
	server
	target string
	oneWay time.Duration
}

// NewProxy starts a proxy on a free port of 127.0.0.1, which Close ends. A round trip over it takes twice oneWay.
func NewProxy(target string, oneWay time.Duration) (*Proxy, error) {
	p := &Proxy{target: target, oneWay: oneWay}
	if err := p.serve("", p.pass); err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	return p, nil
}

// pass connects to the target when it would know of the connection: three ways after the client has asked for it.
func (p *Proxy) pass(client net.Conn) {
	if !p.sleep(3 * p.oneWay) {
		return
	}
	target, err := new(net.Dialer).DialContext(context.Background(), "tcp", p.target)
	if err != nil || !p.keep(target) {
		return
	}
	defer p.forget(target)
	var ways sync.WaitGroup
	ways.Go(func() { p.pump(client, target) })
	ways.Go(func() { p.pump(target, client) })
	ways.Wait()
}

// chunk is what was read at once, and when it arrives at the other end. An empty one is the end.
type chunk struct {
	octets []byte
	due    time.Time
}

// pump passes on what comes from one end, until that is over.
func (p *Proxy) pump(from, to net.Conn) {
	way := make(chan chunk, chunks)
	var delivery sync.WaitGroup
	delivery.Go(func() { p.deliver(way, to) })
	buffer := make([]byte, chunkOctets)
	for over := false; !over; {
		n, err := from.Read(buffer)
		due := time.Now().Add(p.oneWay)
		if n > 0 {
			way <- chunk{bytes.Clone(buffer[:n]), due}
		}
		if over = err != nil; over {
			way <- chunk{due: due}
		}
	}
	close(way)
	delivery.Wait()
}

// deliver writes what is due. After a failure it closes the other end and takes in what still comes, so that nobody
// waits for it.
func (p *Proxy) deliver(way <-chan chunk, to net.Conn) {
	failed := false
	for c := range way {
		if !failed && (!p.wait(c.due) || write(to, c.octets) != nil) {
			failed = true
			_ = to.Close()
		}
	}
}

// write passes on the end too, and leaves the other direction open.
func write(to net.Conn, octets []byte) error {
	if len(octets) == 0 {
		return to.(*net.TCPConn).CloseWrite()
	}
	_, err := to.Write(octets)
	return err
}

// wait returns false when it is cut short by Close.
func (p *Proxy) wait(due time.Time) bool {
	left := time.Until(due)
	return left <= 0 || p.sleep(left)
}
