package traffic

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

func newProxy(t *testing.T, target string, oneWay time.Duration) *Proxy {
	t.Helper()
	p, err := NewProxy(target, oneWay)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// TestProxyDelays: a greeting takes two round trips, then each command one.
func TestProxyDelays(t *testing.T) {
	const oneWay = 2 * time.Millisecond
	p := newProxy(t, newSink(t, SinkOptions{}).Address(), oneWay)
	sent, err := Send(within(t), load(p.Address(), func(l *Load) { l.Sessions, l.Messages = 1, 2 }))
	if err != nil {
		t.Fatal(err)
	}
	if trips := time.Duration(2 + 1 + 2*4); sent.Elapsed < trips*2*oneWay {
		t.Errorf("%d round trips of %v took %v", trips, 2*oneWay, sent.Elapsed)
	}
}

// TestProxyIsNoLimit: much is under way at once. If one chunk waited for the one before, it would take 40 s.
func TestProxyIsNoLimit(t *testing.T) {
	s := newSink(t, SinkOptions{})
	p := newProxy(t, s.Address(), 10*time.Millisecond)
	if _, err := Send(within(t), load(p.Address(), func(l *Load) { l.Messages, l.Octets = 8, 8<<20 })); err != nil {
		t.Fatal(err)
	}
	if got := s.Arrived(); got.Octets != 8*8<<20 {
		t.Errorf("arrived %+v", got)
	}
}

// TestProxyPassesTheEndOn: one direction ends, and what was on its way in the other still arrives.
func TestProxyPassesTheEndOn(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // ends with its connection
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		question, _ := io.ReadAll(conn)
		_, _ = conn.Write(bytes.Repeat(question, 3))
	}()
	p := newProxy(t, l.Addr().String(), time.Millisecond)
	conn, err := net.Dial("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	patient(t, conn)
	if _, err := conn.Write([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); err != nil || string(answer) != "abcabcabc" {
		t.Errorf("got %q: %v", answer, err)
	}
}

func TestProxyCloses(t *testing.T) {
	p, err := NewProxy(newSink(t, SinkOptions{}).Address(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	patient(t, conn)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still there")
	}
}
