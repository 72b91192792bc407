package listener

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
)

func strangers(o *Options) { o.Trusted = nil }

func TestLimitsOfASession(t *testing.T) {
	t.Run("line", func(t *testing.T) {
		for _, length := range []int{maxLine - 1, readBuffer, 4 * readBuffer} {
			r := serve(t, config.ModeRelay, config.TLSNone, nil)
			p := r.greeted()
			p.send("NOOP " + strings.Repeat("x", length))
			if length < readBuffer {
				p.send("\r\n")
			}
			p.expect("500 5.5.2")
		}
	})
	t.Run("line end", func(t *testing.T) {
		p := serve(t, config.ModeRelay, config.TLSNone, nil).greeted()
		p.send("NOOP\n")
		p.expect("500 5.5.2")
		p.expectEnd()
	})
	t.Run("recipients", func(t *testing.T) {
		p := serve(t, config.ModeRelay, config.TLSNone, nil).greeted()
		p.do("MAIL FROM:<>", "250 ")
		for i := range MaxRecipients {
			p.do(fmt.Sprintf("RCPT TO:<u%d@example.org>", i), "250 ")
		}
		p.do("RCPT TO:<one.more@example.org>", "452 4.5.3", "DATA", "354 ", ".", "250 ")
	})
	t.Run("silence", func(t *testing.T) {
		p := serve(t, config.ModeRelay, config.TLSNone, func(o *Options) { o.Timeout = 20 * time.Millisecond }).dial()
		p.expect("220 ")
		p.expect("421 4.4.2")
		p.expectEnd()
	})
}

// TestFloods: attacks, row 16, and whatever else leads nowhere. Errors are for strangers; a client that is known may
// have a long list of dead recipients.
func TestFloods(t *testing.T) {
	for name, test := range map[string]struct {
		command, want string
		limit         int
		change        func(o *Options)
	}{
		"unknown, by a stranger": {"WHAT", "500 5.5.1", maxErrors, strangers},
		"unknown, by one known":  {"WHAT", "500 5.5.1", maxErrorsKnown, nil},
		"NOOP":                   {"NOOP", "250 ", maxIdlers - 1, nil}, // EHLO is one already
		"RSET":                   {"RSET", "250 ", maxIdlers - 1, nil},
		"VRFY":                   {"VRFY root", "252 ", maxIdlers - 1, strangers},
		"EHLO":                   {"EHLO a.example", "250 ", maxIdlers - 1, nil},
		"told to try later":      {"MAIL FROM:<later@example.com>", "451 ", maxIdlers - 1, strangers},
		"STARTTLS, without us": {"STARTTLS", "454 ", maxIdlers - 1, func(o *Options) {
			strangers(o)
			withoutCertificate(o)
			o.Listener.TLS = config.TLSOpportunistic
		}},
		"wrong order": {"DATA", "503 ", maxErrors, strangers},
	} {
		t.Run(name, func(t *testing.T) {
			r := serve(t, config.ModeRelay, config.TLSNone, test.change)
			r.handler.mail = func(*Session) error { return reply.Reply{Code: 451, Enhanced: "4.7.1", Text: "later"} }
			p := r.greeted()
			for range test.limit {
				p.do(test.command, test.want)
			}
			p.expect("421 4.7.0")
			p.expectEnd()
		})
	}
}

// TestAcceptedMailClearsTheAccount: a client that reuses its connection may say RSET before each message.
func TestAcceptedMailClearsTheAccount(t *testing.T) {
	p := serve(t, config.ModeRelay, config.TLSNone, strangers).greeted()
	for range 3 * maxIdlers {
		p.do("RSET", "250 ", "MAIL FROM:<>", "250 ", "RCPT TO:<u>", "553 ", "RCPT TO:<b@example.org>", "250 ")
		p.send(chunk("", true))
		p.expect("250 2.0.0")
	}
}

// TestTooManyRecipients: attacks, row 19. Those above the limit are refused one by one, and not for ever.
func TestTooManyRecipients(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSNone, nil)
	p := r.greeted()
	go func() {
		var b strings.Builder
		b.WriteString("MAIL FROM:<>\r\n")
		for i := range 50_000 {
			fmt.Fprintf(&b, "RCPT TO:<u%d@example.org>\r\n", i)
		}
		_, _ = io.WriteString(p.Conn, b.String())
	}()
	counts := map[string]int{}
	for {
		got, err := p.reply()
		if err != nil {
			break
		}
		counts[got[:3]]++
	}
	if counts["250"] != MaxRecipients+1 || counts["452"] != maxExcess || counts["421"] != 1 {
		t.Errorf("replies by code: %v", counts)
	}
}

// TestSizeLies: attacks, row 19. What MAIL said binds nobody; the limit does.
func TestSizeLies(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSNone, func(o *Options) { o.MaxBytes = 1000 })
	for length, want := range map[int]string{900: "250 2.0.0", 1001: "552 5.3.4"} {
		p := r.greeted()
		p.do("MAIL FROM:<> SIZE=1", "250 ", "RCPT TO:<b@example.org>", "250 ", "DATA", "354 ")
		p.do("A: b\r\n\r\n"+strings.Repeat("x", length-len("A: b\r\n\r\n\r\n"))+"\r\n.", want)
	}
}

// TestNotSMTP: attacks, row 17. What follows is not read as commands.
func TestNotSMTP(t *testing.T) {
	for first, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\nMAIL FROM:<a@b.example>\r\n": "554 5.5.0",
		"POST / HTTP/1.1\r\n\r\nMAIL FROM:<a@b.example>\r\n":           "554 5.5.0",
	} {
		p := serve(t, config.ModeRelay, config.TLSNone, nil).greeted()
		p.send(first)
		p.expect(want)
		if rest, _ := io.ReadAll(p.in); len(rest) > 0 {
			t.Errorf("after %q: %q", first, rest)
		}
	}
}

// TestEarlyTalkers: attacks, row 17. A stranger that speaks before the greeting is none that waits for replies.
func TestEarlyTalkers(t *testing.T) {
	patient := func(o *Options) { o.Greeting = time.Minute } // it need not elapse: octets end the wait
	for _, first := range []string{"EHLO a.example\r\nMAIL FROM:<>\r\n", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01"} {
		r := serve(t, config.ModeRelay, config.TLSNone, func(o *Options) { strangers(o); patient(o) })
		p := r.dial()
		p.send(first)
		p.expect("554 5.5.1")
		p.expectEnd()
	}
	serve(t, config.ModeRelay, config.TLSNone, patient).greeted()
	serve(t, config.ModeSubmission, config.TLSRequired, func(o *Options) { strangers(o); patient(o) }).encrypted()
	for _, mode := range []config.TLSMode{config.TLSOpportunistic, config.TLSImplicit} {
		serve(t, config.ModeRelay, mode, strangers).encrypted().do("MAIL FROM:<>", "250 ")
	}
}

// piped runs a session over a pipe, in whose bubble of time the clock stands still until all wait.
func piped(t *testing.T, change func(o *Options)) (client net.Conn, handler *spool) {
	t.Helper()
	handler = &spool{}
	o := Options{
		Settings: Settings{Listener: config.Listener{Name: "test", Mode: config.ModeRelay, TLS: config.TLSNone}, Hostname: "mx.example.com", MaxBytes: 100 << 20},
		Handler:  handler, Log: slog.New(slog.DiscardHandler), Greeting: -1,
	}
	if change != nil {
		change(&o)
	}
	client, server := net.Pipe()
	l := New(o)
	go newSession(l, from{server, netip.MustParseAddrPort("192.0.2.1:4321")}, netip.MustParseAddrPort("192.0.2.1:4321")).serve(t.Context(), NewCaps(1, 1))
	return client, handler
}

// from is a connection with a peer's address.
type from struct {
	net.Conn
	remote netip.AddrPort
}

func (f from) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(f.remote) }

// listen collects all that a session says, until it ends.
func listen(c net.Conn) <-chan string {
	said := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(c)
		said <- string(all)
	}()
	return said
}

// write sends line by line: a command that ends its group must stand alone.
func write(c net.Conn, lines string) error {
	for line := range strings.Lines(lines) {
		if _, err := io.WriteString(c, line); err != nil {
			return err
		}
	}
	return nil
}

const upToData = "EHLO a.example\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n"

// TestTrickle: attacks, row 18. An octet every ten seconds is no message, no chunk and no command.
func TestTrickle(t *testing.T) {
	for name, test := range map[string]struct{ before, each string }{
		"message": {upToData, ""},
		"chunk":   {strings.TrimSuffix(upToData, "DATA\r\n") + "BDAT 1000000 LAST\r\n", ""},
		"chunks":  {strings.TrimSuffix(upToData, "DATA\r\n"), "BDAT 1\r\n"},
		"command": {"EHLO a.example\r\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, handler := piped(t, nil)
				said := listen(c)
				start := time.Now()
				err := write(c, test.before)
				for i := 0; err == nil; i++ {
					time.Sleep(10 * time.Second)
					_, err = io.WriteString(c, test.each+"A: b\r\n\r\nx"[min(i, 8):][:1])
				}
				if got := <-said; !strings.Contains(got, "421 4.4.2") {
					t.Errorf("said %q", got)
				}
				if lasted := time.Since(start); lasted > 10*time.Minute {
					t.Errorf("it lasted %s", lasted)
				}
				if n := len(handler.all()); n > 0 {
					t.Errorf("%d messages were taken", n)
				}
			})
		})
	}
}

// TestSlowLine: a kilobyte a second for an hour is honest, and so are pauses.
func TestSlowLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, handler := piped(t, nil)
		said := listen(c)
		send := func(s string) {
			if err := write(c, s); err != nil {
				t.Fatalf("after %d messages: %v; said %q", len(handler.all()), err, <-said)
			}
		}
		send(upToData + "A: b\r\n\r\n")
		line := strings.Repeat("x", 1022) + "\r\n"
		for i := range 3600 {
			send(line)
			time.Sleep(time.Second)
			if i%600 == 0 {
				time.Sleep(4 * time.Minute)
			}
		}
		send(".\r\nQUIT\r\n")
		<-said
		if all := handler.all(); len(all) != 1 || len(all[0].body) != 3600*1024 {
			t.Errorf("%d messages", len(all))
		}
	})
}

// TestSpeedIsNotSavedUp: a peer that was fast may not be silent for longer than any other.
func TestSpeedIsNotSavedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := piped(t, nil)
		said := listen(c)
		start := time.Now()
		if err := write(c, upToData+strings.Repeat(strings.Repeat("x", 1022)+"\r\n", 1000)); err != nil {
			t.Fatal(err)
		}
		if got := <-said; !strings.Contains(got, "421 4.4.2") || time.Since(start) > 6*time.Minute {
			t.Errorf("after %s: %q", time.Since(start), got)
		}
	})
}

// TestOurOwnTimeIsNotThePeers: what a Handler takes to answer is not held against the peer.
func TestOurOwnTimeIsNotThePeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, handler := piped(t, nil)
		handler.rcpt = func(*Session, envelope.Recipient) error { time.Sleep(time.Hour); return nil }
		handler.data = func(_ *Session, _ []byte, body io.Reader) (reply.Reply, error) {
			time.Sleep(time.Hour)
			_, err := io.Copy(io.Discard, body)
			return reply.Reply{Code: 250, Enhanced: "2.0.0", Text: "taken"}, err
		}
		said := listen(c)
		_ = write(c, upToData)
		_ = write(c, "A: b\r\n\r\n"+strings.Repeat("x", readBuffer)+"\r\n.\r\nQUIT\r\n")
		if got := <-said; !strings.Contains(got, "250 2.0.0 taken") {
			t.Errorf("said %q", got)
		}
	})
}

// TestGuessingGetsSlower: attacks, row 20. Trouble of our own does not wait.
func TestGuessingGetsSlower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Options{Settings: Settings{Hostname: "mx.example.com", Listener: config.Listener{TLS: config.TLSNone}}, Log: slog.New(slog.DiscardHandler)})
		s := newSession(l, nil, netip.AddrPort{})
		s.out = bufio.NewWriter(io.Discard)
		for _, want := range []time.Duration{DefaultAuthDelay, 2 * DefaultAuthDelay, 3 * DefaultAuthDelay} {
			start := time.Now()
			_ = s.authFailed(t.Context(), reply.Reply{Code: 535})
			if took := time.Since(start); took != want {
				t.Errorf("failure %d took %s, want %s", s.authFailures, took, want)
			}
		}
		start := time.Now()
		if err := s.authFailed(t.Context(), reply.Reply{Code: 454}); err == nil || time.Since(start) > 0 {
			t.Errorf("trouble of our own took %s, %v", time.Since(start), err)
		}
	})
}

func TestCaps(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSNone, func(o *Options) { o.Caps = NewCaps(10, 2) })
	first := r.greeted()
	r.greeted()
	third := r.dial()
	third.expect("421 4.7.0")
	third.expectEnd()
	first.do("QUIT", "221 ")
	first.expectEnd()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		p := r.dial() // the slot is free a moment after the goodbye
		if got, _ := p.reply(); strings.HasPrefix(got, "220") {
			return
		}
	}
	t.Error("the slot of a session that ended was not free again")
}

func TestCapInTotal(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSNone, func(o *Options) { o.Caps = NewCaps(1, 2) })
	inside := r.greeted()
	outside := r.dial()
	outside.expect("421 4.7.0")
	outside.expectEnd()
	inside.do("NOOP", "250 ")
}

// TestCapsCountHosts: one host of IPv6 has a /64, and the addresses in it count as one.
func TestCapsCountHosts(t *testing.T) {
	for _, test := range []struct {
		first, second string
		both          bool
	}{
		{"192.0.2.1", "192.0.2.1", false}, {"192.0.2.1", "192.0.2.2", true}, {"2001:db8::1", "2001:db8::ffff:1", false},
		{"2001:db8::1", "2001:db8:0:1::1", true}, {"fe80::1%eth0", "fe80::2%eth1", false},
	} {
		caps := NewCaps(10, 1)
		release, _ := caps.take(netip.MustParseAddr(test.first))
		again, ok := caps.take(netip.MustParseAddr(test.second))
		if ok != test.both {
			t.Errorf("%s and %s: %v, want %v", test.first, test.second, ok, test.both)
		}
		again()
		release()
		if caps.open != 0 || len(caps.clients) != 0 {
			t.Errorf("%d connections of %d clients are left", caps.open, len(caps.clients))
		}
	}
}

// TestAPanicEndsOneSession: its peer is told to try again, the log says where, and the others go on.
func TestAPanicEndsOneSession(t *testing.T) {
	var log bytes.Buffer
	r := serve(t, config.ModeRelay, config.TLSNone, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	other := r.greeted()
	r.handler.data = func(*Session, []byte, io.Reader) (reply.Reply, error) { panic("at the disco") }
	p := r.greeted()
	p.begin()
	p.do("A: b\r\n\r\nbody\r\n.", "421 4.3.0")
	p.expectEnd()
	other.do("NOOP", "250 ")
	if err := r.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if got := log.String(); !strings.Contains(got, "at the disco") || !strings.Contains(got, "limits_test.go") {
		t.Errorf("logged: %s", got)
	}
}

// TestTrustIsAskedForEachTransaction: a client that lost it does not keep it as long as it stays connected.
func TestTrustIsAskedForEachTransaction(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSNone, nil)
	var trusted []bool
	r.handler.mail = func(s *Session) error { trusted = append(trusted, s.Trusted); return nil }
	p := r.greeted()
	p.do("MAIL FROM:<>", "250 ", "RSET", "250 ")
	s := *r.settings.Load()
	s.Trusted = nil
	r.Reconfigure(s)
	p.do("MAIL FROM:<>", "250 ")
	if len(trusted) != 2 || !trusted[0] || trusted[1] {
		t.Errorf("trusted: %v", trusted)
	}
}
