package smtptest

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Step is what a scripted peer does in answer to one command. It happens in the order of the fields.
type Step struct {
	// Delay before anything is sent.
	Delay time.Duration
	// Send is sent as it is; a reply needs its CRLF.
	Send string
	// Endless is sent over and over until the client goes away.
	Endless string
	// Every spaces out the octets of Send and Endless: 1 octet, then a pause.
	Every time.Duration
	// StartTLS turns the connection to TLS.
	StartTLS bool
	// Close ends the connection.
	Close bool
}

// Reply is a Step that sends lines, each with its CRLF.
func Reply(lines ...string) Step { return Step{Send: strings.Join(lines, "\r\n") + "\r\n"} }

// Script says what a peer answers. Keys are beginnings of commands, matched without case: "MAIL", "RCPT
// TO:<a@b>"; the longest that fits wins. Two more are "GREETING", and "." for the end of the content. The nth
// command of a key on a connection gets the nth step, further ones the last. Whatever has no key is accepted:
// EHLO and LHLO with 8BITMIME and PIPELINING, DATA with 354, QUIT with 221 and the end, the rest with 250. What
// answers BDAT does so when the octets of the chunk are there.
type Script struct {
	Steps map[string][]Step
	// TLS is for Steps with StartTLS.
	TLS *tls.Config
	// Implicit is TLS from the first octet on.
	Implicit bool
}

// Peer is an SMTP server that follows a script. It remembers all that it was told.
type Peer struct {
	script   Script
	listener net.Listener
	wait     sync.WaitGroup

	mu          sync.Mutex
	closed      bool
	open        map[net.Conn]struct{}
	lines       []string
	contents    []string
	connections int
}

// NewPeer starts a peer on a free port of 127.0.0.1.
func NewPeer(s Script) (*Peer, error) { return ListenPeer("127.0.0.1:0", s) }

// ListenPeer starts a peer on addr, host:port.
func ListenPeer(addr string, s Script) (*Peer, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("scripted peer: %w", err)
	}
	s.Steps = maps.Clone(s.Steps) // the caller's map stays the caller's
	p := &Peer{script: s, listener: l, open: make(map[net.Conn]struct{})}
	p.wait.Go(p.accept)
	return p, nil
}

// Addr is host:port of the peer.
func (p *Peer) Addr() string { return p.listener.Addr().String() }

// Port is the port of the peer.
func (p *Peer) Port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// Lines returns the commands received so far, over all connections, in order, without CRLF. A connection begins
// with "CONNECT", the start of TLS is "TLS".
func (p *Peer) Lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.lines...)
}

// Contents returns what came after each 354, as on the wire: dot-stuffed, with the final dot; and the chunks of BDAT.
func (p *Peer) Contents() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.contents...)
}

// Connections is how many connections were made.
func (p *Peer) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.connections
}

// Close ends all connections and the listener.
func (p *Peer) Close() {
	p.mu.Lock()
	p.closed = true
	_ = p.listener.Close()
	for c := range p.open {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.wait.Wait()
}

func (p *Peer) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		if !p.add(c) {
			_ = c.Close()
			return
		}
		p.wait.Go(func() {
			p.serve(c)
			_ = c.Close()
			p.mu.Lock()
			delete(p.open, c)
			p.mu.Unlock()
		})
	}
}

func (p *Peer) add(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.open[c] = struct{}{}
	p.connections++
	p.lines = append(p.lines, "CONNECT")
	return true
}

func (p *Peer) heard(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = append(p.lines, line)
}

func (p *Peer) serve(c net.Conn) {
	if p.script.Implicit {
		c = tls.Server(c, p.script.TLS)
	}
	s := &peerConn{peer: p, conn: c, r: bufio.NewReader(c), count: make(map[string]int)}
	if s.act(s.next("GREETING")) != nil {
		return
	}
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		p.heard(line)
		if s.obey(line) != nil {
			return
		}
	}
}

// peerConn is one session with a peer.
type peerConn struct {
	peer  *Peer
	conn  net.Conn
	r     *bufio.Reader
	count map[string]int
}

var errOver = errors.New("the script ends the connection")

func (s *peerConn) obey(line string) error {
	if size, ok := strings.CutPrefix(line, "BDAT "); ok {
		if err := s.chunk(size); err != nil {
			return err
		}
	}
	step := s.next(line)
	if err := s.act(step); err != nil {
		return err
	}
	if strings.EqualFold(line, "DATA") && strings.Contains("\n"+step.Send, "\n354") {
		return s.content()
	}
	return nil
}

// content reads up to the final dot and answers it.
func (s *peerConn) content() error {
	var content strings.Builder
	for !strings.HasSuffix("\r\n"+content.String(), "\r\n.\r\n") {
		line, err := s.r.ReadString('\n')
		content.WriteString(line)
		if err != nil {
			return err
		}
	}
	s.keep(content.String())
	return s.act(s.next("."))
}

// chunk reads the octets of a BDAT.
func (s *peerConn) chunk(size string) error {
	size, _, _ = strings.Cut(size, " ")
	n, err := strconv.ParseUint(size, 10, 31)
	if err != nil {
		return err
	}
	octets := make([]byte, n)
	if _, err := io.ReadFull(s.r, octets); err != nil {
		return err
	}
	s.keep(string(octets))
	return nil
}

func (s *peerConn) keep(content string) {
	s.peer.mu.Lock()
	defer s.peer.mu.Unlock()
	s.peer.contents = append(s.peer.contents, content)
}

// next is the step for a command.
func (s *peerConn) next(line string) Step {
	best := ""
	for key := range s.peer.script.Steps {
		if len(key) > len(best) && len(line) >= len(key) && strings.EqualFold(line[:len(key)], key) {
			best = key
		}
	}
	steps := s.peer.script.Steps[best]
	if len(steps) == 0 {
		return usual(line)
	}
	n := s.count[best]
	s.count[best]++
	return steps[min(n, len(steps)-1)]
}

// usual is what a friendly server answers.
func usual(line string) Step {
	verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
	switch verb {
	case "GREETING":
		return Reply("220 peer.test ESMTP")
	case "EHLO", "LHLO":
		return Reply("250-peer.test", "250-PIPELINING", "250 8BITMIME")
	case "DATA":
		return Reply("354 go ahead")
	case "QUIT":
		return Step{Send: "221 2.0.0 bye\r\n", Close: true}
	default:
		return Reply("250 2.0.0 ok")
	}
}

func (s *peerConn) act(step Step) error {
	time.Sleep(step.Delay)
	if err := s.send(step.Send, step.Every); err != nil {
		return err
	}
	for step.Endless != "" {
		if err := s.send(step.Endless, step.Every); err != nil {
			return err
		}
	}
	if step.StartTLS {
		secure := tls.Server(s.conn, s.peer.script.TLS)
		if err := secure.HandshakeContext(context.Background()); err != nil {
			return err
		}
		s.peer.heard("TLS")
		s.conn = secure
		s.r.Reset(secure)
	}
	if step.Close {
		return errOver
	}
	return nil
}

func (s *peerConn) send(octets string, every time.Duration) error {
	if every == 0 {
		_, err := io.WriteString(s.conn, octets)
		return err
	}
	for i := range len(octets) {
		if _, err := io.WriteString(s.conn, octets[i:i+1]); err != nil {
			return err
		}
		time.Sleep(every)
	}
	return nil
}
