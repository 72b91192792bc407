package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
)

// The API server listens inside the namespace. A socket belongs to the namespace that it was made in, whoever uses it:
// so a listener made outside is given to a process that dials inside.

// startForward starts the process that carries connections to listener on to the API server.
func (c *cluster) startForward(listener *net.TCPListener) error {
	file, err := listener.File()
	if err != nil {
		return err
	}
	defer file.Close()
	return c.start(daemon{name: "forward", argv: []string{c.self, "forward"}, files: []*os.File{file}})
}

// forward is that process: descriptor 3 is the listener.
func (c *cluster) forward() error {
	listener, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return fmt.Errorf("descriptor 3: %w", err)
	}
	for {
		client, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			continue
		}
		go carry(client)
	}
}

// carry joins a client with the API server until either has no more to say.
func carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", net.JoinHostPort(nodeIP, apiPort))
	if err != nil {
		fmt.Fprintln(os.Stderr, "forward:", err)
		return
	}
	defer server.Close()
	var both sync.WaitGroup
	for _, pair := range [2][2]net.Conn{{server, client}, {client, server}} {
		both.Go(func() {
			// A broken connection ends both directions; whoever uses it sees that.
			_, _ = io.Copy(pair[0], pair[1])
			_ = pair[0].(*net.TCPConn).CloseWrite()
		})
	}
	both.Wait()
}
