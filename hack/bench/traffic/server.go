package traffic

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// server owns a listener, what comes in through it, and the goroutines that see to that.
type server struct {
	listener net.Listener
	// done is closed by Close.
	done    chan struct{}
	running sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// serve listens on an address, a free port of 127.0.0.1 when that is empty, and has each connection handled.
func (s *server) serve(address string, handle func(net.Conn)) error {
	if address == "" {
		address = "127.0.0.1:0"
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		return fmt.Errorf("listen on %q: %w", address, err)
	}
	s.listener, s.done, s.conns = l, make(chan struct{}), make(map[net.Conn]struct{})
	s.running.Go(func() { s.accept(handle) })
	return nil
}

// Address is host:port.
func (s *server) Address() string { return s.listener.Addr().String() }

// Port is that of the address.
func (s *server) Port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// Close ends all connections and returns when nothing is left running. It is called once.
func (s *server) Close() error {
	close(s.done)
	err := s.listener.Close()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
	return err
}

// accept ends with Close. What fails before, such as too many open files, passes.
func (s *server) accept(handle func(net.Conn)) {
	for {
		c, err := s.listener.Accept()
		switch {
		case err == nil:
			s.running.Go(func() {
				if s.keep(c) {
					defer s.forget(c)
					handle(c)
				}
			})
		case !s.sleep(10 * time.Millisecond):
			return
		}
	}
}

// keep has a connection closed by Close, and closes it if that is over.
func (s *server) keep(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.done:
		_ = c.Close()
		return false
	default:
		s.conns[c] = struct{}{}
		return true
	}
}

func (s *server) forget(c net.Conn) {
	_ = c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// sleep returns false when it is cut short by Close.
func (s *server) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.done:
		return false
	}
}
