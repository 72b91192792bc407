package traffic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Proxy passes connections on to a target with a delay in each direction, as a long way does, without limiting how
// much goes through at once.
type Proxy struct {
	listener net.Listener
	target   string
	oneWay   time.Duration
	// ctx is over with Close.
	ctx    context.Context //nolint:containedctx // it is the life of the proxy, which Close ends
	cancel context.CancelFunc
	pumps  sync.WaitGroup
}

// NewProxy starts a proxy on a free port of 127.0.0.1. A round trip over it takes two times oneWay.
func NewProxy(target string, oneWay time.Duration) (*Proxy, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p := &Proxy{listener: l, target: target, oneWay: oneWay}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.pumps.Go(p.accept)
	return p, nil
}

// Address is host:port of the proxy.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Port is that of the address.
func (p *Proxy) Port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// Close ends all connections and returns when nothing of the proxy is left.
func (p *Proxy) Close() error {
	p.cancel()
	err := p.listener.Close()
	p.pumps.Wait()
	return err
}

// accept ends with the listener.
func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			p.sleepUntil(time.Now().Add(10 * time.Millisecond))
		default:
			p.pumps.Go(func() { p.pass(c) })
		}
	}
}

// pass connects to the target when the client's ACK would be there, three ways after its SYN, and pumps both ways.
func (p *Proxy) pass(client net.Conn) {
	defer client.Close()
	if !p.sleepUntil(time.Now().Add(3 * p.oneWay)) {
		return
	}
	target, err := new(net.Dialer).DialContext(p.ctx, "tcp", p.target)
	if err != nil {
		return
	}
	defer target.Close()
	stop := context.AfterFunc(p.ctx, func() {
		_ = client.Close()
		_ = target.Close()
	})
	defer stop()
	var ways sync.WaitGroup
	ways.Go(func() { p.pump(client, target) })
	ways.Go(func() { p.pump(target, client) })
	ways.Wait()
}

const (
	// chunkOctets is the most that is read at once, chunks how many are under way in one direction: 16 MiB at most.
	chunkOctets, chunks = 64 << 10, 256
)

// chunk is what was read at once, and when it arrives at the other side.
type chunk struct {
	octets []byte
	due    time.Time
}

// pump passes on what comes from one side, and its end.
func (p *Proxy) pump(from, to net.Conn) {
	way := make(chan chunk, chunks)
	var writer sync.WaitGroup
	writer.Go(func() { p.deliver(way, to) })
	buffer := make([]byte, chunkOctets)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			way <- chunk{append([]byte(nil), buffer[:n]...), time.Now().Add(p.oneWay)}
		}
		if err != nil {
			break
		}
	}
	way <- chunk{due: time.Now().Add(p.oneWay)}
	close(way)
	writer.Wait()
}

// deliver writes chunks when they are due. An empty one is the end. It takes in what comes after a failure, so that the
// reader never waits for it.
func (p *Proxy) deliver(way <-chan chunk, to net.Conn) {
	var failed error
	for c := range way {
		if failed != nil {
			continue
		}
		switch {
		case !p.sleepUntil(c.due):
			failed = context.Canceled
		case len(c.octets) == 0:
			failed = to.(*net.TCPConn).CloseWrite()
		default:
			_, failed = io.Writer(to).Write(c.octets)
		}
		if failed != nil {
			_ = to.Close()
		}
	}
}

// sleepUntil returns false when the proxy is closed before.
func (p *Proxy) sleepUntil(t time.Time) bool {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.ctx.Done():
		return false
	}
}
