package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/postrider/postrider/hack/bench/traffic"
	"github.com/postrider/postrider/test/daemon"
)

// TestMain is the program itself where a test starts it.
func TestMain(m *testing.M) {
	if os.Getenv("POSTRIDER_FLOOR") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// start runs the program and returns its address, once it listens.
func start(t *testing.T, arguments ...string) string {
	t.Helper()
	port, err := daemon.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	address := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}).String()
	c := exec.CommandContext(t.Context(), os.Args[0], append(arguments, "-listen", address, "-dir", filepath.Join(t.TempDir(), "store"))...)
	c.Env, c.Stderr = append(os.Environ(), "POSTRIDER_FLOOR=1"), os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	until(t, "it listens", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return address
}

// until asks again and again.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for ctx := within(t); !is(); time.Sleep(time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatal("not so in time:", what)
		}
	}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestForwards(t *testing.T) {
	s, err := traffic.NewSink(traffic.SinkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Behave("busy.example", traffic.Behaviour{Refuse: true})
	address := start(t, "-to", s.Address(), "-pause", "1ms", "-connections", "3")
	load := traffic.Load{Address: address, Sessions: 4, Messages: 50, Octets: 2000, Recipients: 3, From: "a@load.example", Domain: "sink.example"}
	if _, err := traffic.Send(within(t), load); err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(within(t), 50); err != nil {
		t.Fatal(err)
	}
	if got := s.Arrived(); got.Messages != 50 || got.Recipients != 150 || got.Octets != 50*2000 || got.Connections > 3 {
		t.Errorf("arrived %+v", got)
	}
	load.Domain, load.Messages = "busy.example", 5
	if _, err := traffic.Send(within(t), load); err != nil {
		t.Fatal(err)
	}
	until(t, "recipients are refused", func() bool { return s.Arrived().Refused >= 5 })
	s.Behave("busy.example", traffic.Behaviour{})
	if err := s.Wait(within(t), 55); err != nil {
		t.Fatal("what was refused at first:", err)
	}
}

func TestAcceptsOnly(t *testing.T) {
	address := start(t)
	sent, err := traffic.Send(within(t), traffic.Load{Address: address, Sessions: 2, Messages: 20, Octets: 2000, From: "a@load.example", Domain: "sink.example"})
	if err != nil || sent.Accepted != 20 {
		t.Errorf("accepted %d: %v", sent.Accepted, err)
	}
}

func TestLetterComesBackFromItsRecord(t *testing.T) {
	for _, l := range []letter{
		{from: "a@x.example", to: []string{"b@y.example", "c@y.example"}, body: []byte("Subject: a\r\n\r\n\n\nb\r\n")},
		{from: "", to: []string{"b@y.example"}, body: []byte("\r\n")},
	} {
		var b bytes.Buffer
		l.begin(&b)
		b.Write(l.body)
		if got := parse(b.Bytes()); !reflect.DeepEqual(got, l) {
			t.Errorf("got %+v, want %+v", got, l)
		}
	}
}
