package traffic

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/smtptest"
)

// within is a generous bound for what a test waits for.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func newSink(t *testing.T, o SinkOptions) *Sink {
	t.Helper()
	s, err := NewSink(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// load is a small one; a test changes what it is about.
func load(address string, change func(*Load)) Load {
	l := Load{Address: address, Sessions: 4, Messages: 41, Octets: 4096, From: "sender@load.example", Domain: "sink.example"}
	change(&l)
	return l
}

func TestAllThatIsSentArrives(t *testing.T) {
	ca := smtptest.NewCA()
	server, client := ca.ServerTLS("127.0.0.1"), &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
	for name, c := range map[string]struct {
		change func(*Load)
		want   Arrived
	}{
		"plain":              {func(*Load) {}, Arrived{Messages: 41, Recipients: 41, Octets: 41 * 4096}},
		"one session":        {func(l *Load) { l.Sessions = 0 }, Arrived{Messages: 41, Recipients: 41, Octets: 41 * 4096, Connections: 1}},
		"fewer than it may":  {func(l *Load) { l.Messages = 2 }, Arrived{Messages: 2, Recipients: 2, Octets: 2 * 4096}},
		"none":               {func(l *Load) { l.Messages = 0 }, Arrived{}},
		"many recipients":    {func(l *Load) { l.Recipients = 50 }, Arrived{Messages: 41, Recipients: 2050, Octets: 41 * 4096}},
		"pipelined":          {func(l *Load) { l.Recipients, l.Pipelining = 50, true }, Arrived{Messages: 41, Recipients: 2050, Octets: 41 * 4096}},
		"small":              {func(l *Load) { l.Octets = 1024 }, Arrived{Messages: 41, Recipients: 41, Octets: 41 * 1024}},
		"large":              {func(l *Load) { l.Octets, l.Messages = 1<<20, 5 }, Arrived{Messages: 5, Recipients: 5, Octets: 5 << 20}},
		"large and odd":      {func(l *Load) { l.Octets, l.Messages = 10<<20+1, 1 }, Arrived{Messages: 1, Recipients: 1, Octets: 10<<20 + 1, Connections: 1}},
		"a connection each":  {func(l *Load) { l.Sessions, l.Per = 1, 1 }, Arrived{Messages: 41, Recipients: 41, Octets: 41 * 4096, Connections: 41}},
		"ten per connection": {func(l *Load) { l.Sessions, l.Per = 1, 10 }, Arrived{Messages: 41, Recipients: 41, Octets: 41 * 4096, Connections: 5}},
		"TLS":                {func(l *Load) { l.TLS = client }, Arrived{Messages: 41, Recipients: 41, Octets: 41 * 4096}},
		"large with TLS":     {func(l *Load) { l.TLS, l.Octets, l.Messages = client, 1<<20, 5 }, Arrived{Messages: 5, Recipients: 5, Octets: 5 << 20}},
		"priority":           {func(l *Load) { l.Priority = -3 }, Arrived{Messages: 41, Recipients: 41, Octets: 41 * 4096}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSink(t, SinkOptions{TLS: server})
			sent, err := Send(within(t), load(s.Address(), c.change))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Wait(within(t), c.want.Messages); err != nil {
				t.Fatal(err)
			}
			got := s.Arrived()
			if c.want.Connections == 0 { // a session that comes too late for any message makes none
				got.Connections = 0
			}
			if got != c.want || sent.Accepted != c.want.Messages || len(sent.Latencies) != 0 {
				t.Errorf("sent %+v, arrived %+v, want %+v", sent, got, c.want)
			}
			s.Reset()
			if got := s.Arrived(); got != (Arrived{}) {
				t.Errorf("after Reset %+v", got)
			}
		})
	}
}

func TestRefusingDomain(t *testing.T) {
	s := newSink(t, SinkOptions{})
	s.Behave("busy.example", Behaviour{Refuse: true})
	busy := load(s.Address(), func(l *Load) { l.Sessions, l.Domain = 1, "busy.example" })
	sent, err := Send(within(t), busy)
	if sent.Accepted != 0 || err == nil || !strings.Contains(err.Error(), "451") {
		t.Errorf("accepted %d: %v", sent.Accepted, err)
	}
	want := Arrived{Refused: 1, Connections: 1}
	if got := s.Arrived(); got != want {
		t.Errorf("arrived %+v, want %+v", got, want)
	}
	s.Behave("busy.example", Behaviour{})
	if _, err := Send(within(t), busy); err != nil {
		t.Error("when it is busy no more:", err)
	}
}

func TestSlowDomainIsWatched(t *testing.T) {
	const pause = 5 * time.Millisecond
	s := newSink(t, SinkOptions{})
	s.Behave("slow.example", Behaviour{PerData: pause})
	slow, other := s.Watch("slow.example"), s.Watch("other.example")
	sent, err := Send(within(t), load(s.Address(), func(l *Load) { l.Messages, l.Recipients, l.Domain, l.Timed = 9, 2, "slow.example", true }))
	if err != nil {
		t.Fatal(err)
	}
	if len(sent.Latencies) != 9 || sent.Latencies[0] < pause || sent.Elapsed < sent.Latencies.Quantile(1) {
		t.Errorf("after a pause of %v: %v in %v", pause, sent.Latencies, sent.Elapsed)
	}
	if err := slow.Wait(within(t), 9); err != nil {
		t.Fatal(err)
	}
	if got := slow.Arrived(); got.Messages != 9 || got.Recipients != 18 {
		t.Errorf("watched %+v", got)
	}
	if l := slow.Latencies(); len(l) != 9 || l[0] <= 0 || l[0] > l[8] {
		t.Errorf("latencies %v", l)
	}
	if len(other.Latencies()) != 0 || other.Arrived().Messages != 0 {
		t.Error("the other domain got mail")
	}
}

func TestPace(t *testing.T) {
	s := newSink(t, SinkOptions{})
	sent, err := Send(within(t), load(s.Address(), func(l *Load) { l.Messages, l.Pace = 6, 500 }))
	if err != nil || sent.Accepted != 6 || sent.Elapsed < 10*time.Millisecond {
		t.Errorf("six messages, 2 ms apart: %+v, %v", sent, err)
	}
}

// TestLateIsNotLeftOut: messages that are due while the only session waits for the engine count from then.
func TestLateIsNotLeftOut(t *testing.T) {
	const pause = 5 * time.Millisecond
	s := newSink(t, SinkOptions{})
	s.Behave("slow.example", Behaviour{PerData: pause})
	w := s.Watch("slow.example")
	sent, err := Send(within(t), load(s.Address(), func(l *Load) {
		l.Sessions, l.Messages, l.Pace, l.Domain, l.Timed = 1, 5, 100_000, "slow.example", true
	}))
	if err != nil || sent.Latencies[4] < 5*pause-time.Millisecond || w.Latencies()[4] < 4*pause-time.Millisecond {
		t.Errorf("the last of five: %v, %v on arrival: %v", sent.Latencies, w.Latencies(), err)
	}
}

func TestSendFails(t *testing.T) {
	s := newSink(t, SinkOptions{})
	for name, l := range map[string]Load{
		"no room for the header": load(s.Address(), func(l *Load) { l.Octets = 100 }),
		"no TLS offered":         load(s.Address(), func(l *Load) { l.TLS = &tls.Config{MinVersion: tls.VersionTLS12} }),
		"nobody there":           load("127.0.0.1:1", func(*Load) {}),
	} {
		if sent, err := Send(within(t), l); err == nil || sent.Accepted != 0 {
			t.Errorf("%s: %+v, %v", name, sent, err)
		}
	}
}

func TestSendEndsWithItsContext(t *testing.T) {
	s := newSink(t, SinkOptions{})
	s.Behave("slow.example", Behaviour{PerData: time.Hour})
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, in the kernel, and does not greet
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, address := range []string{s.Address(), silent.Addr().String()} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		sent, err := Send(ctx, load(address, func(l *Load) { l.Domain = "slow.example" }))
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || sent.Accepted != 0 {
			t.Errorf("%+v, %v", sent, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Wait(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Error("wait:", err)
	}
}

// patient has a test fail where it would wait for ever.
func patient(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
}

// talker is a client that says what a test wants.
func talker(t *testing.T, s *Sink) *textproto.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	patient(t, conn)
	c := textproto.NewConn(conn)
	if _, _, err := c.ReadResponse(220); err != nil {
		t.Fatal(err)
	}
	return c
}

// dialogue sends all at once and checks the replies.
func dialogue(t *testing.T, c *textproto.Conn, say string, codes ...int) {
	t.Helper()
	if err := c.PrintfLine("%s", say); err != nil {
		t.Fatal(err)
	}
	for i, code := range codes {
		if _, message, err := c.ReadResponse(code); err != nil {
			t.Fatalf("reply %d: %v, want %d (%q)", i, err, code, message)
		}
	}
}

func TestOneFlight(t *testing.T) {
	s := newSink(t, SinkOptions{})
	s.Behave("busy.example", Behaviour{Refuse: true})
	w := s.Watch("b.example")
	c := talker(t, s)
	dialogue(t, c, "EHLO x\r\nmail FROM:<>\r\nRCPT TO:<a@b.example> NOTIFY=NEVER\r\nRCPT TO:<a@busy.example>\r\nBDAT 30\r\n"+
		"X-Sent: not a time\r\n.\r\n12345\r\nBDAT 4 LAST\r\nQUITNOOP", 250, 250, 250, 451, 250, 250, 250)
	dialogue(t, c, "MAIL FROM:<>\r\nRCPT TO:<a@busy.example>\r\nBDAT 6 LAST\r\nNOOP\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nRSET\r\nDATA", 250, 451, 554, 250, 250, 250, 554)
	dialogue(t, c, "MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n.\r\nHELO x\r\nSTARTTLS\r\nFOO\r\nQUIT", 250, 250, 354, 250, 250, 502, 500, 221)
	if _, err := c.ReadLine(); !errors.Is(err, io.EOF) {
		t.Error("after QUIT:", err)
	}
	want := Arrived{Messages: 2, Recipients: 2, Octets: 34, Refused: 2, Connections: 1}
	if got := s.Arrived(); got != want {
		t.Errorf("arrived %+v, want %+v", got, want)
	}
	if w.Arrived().Messages != 2 || len(w.Latencies()) != 0 {
		t.Errorf("watched %+v, %v", w.Arrived(), w.Latencies())
	}
}

func TestChunkingIsOfferedOrNot(t *testing.T) {
	for _, not := range []bool{false, true} {
		c := talker(t, newSink(t, SinkOptions{NoChunking: not}))
		if err := c.PrintfLine("EHLO x"); err != nil {
			t.Fatal(err)
		}
		_, offers, err := c.ReadResponse(250)
		if err != nil || strings.Contains(offers, "CHUNKING") == not || !strings.Contains(offers, "PIPELINING") || strings.Contains(offers, "STARTTLS") {
			t.Errorf("NoChunking %v: it offers %q: %v", not, offers, err)
		}
		if not {
			dialogue(t, c, "BDAT 1 LAST", 501)
		}
	}
}

func TestLengthOfAChunkIsNeverGuessed(t *testing.T) {
	c := talker(t, newSink(t, SinkOptions{}))
	dialogue(t, c, "BDAT -1 LAST\r\nNOOP", 501)
	if _, err := c.ReadLine(); err == nil {
		t.Error("what comes behind it is taken for commands")
	}
}

// TestWhatIsInClearIsDropped: commands behind STARTTLS in the same flight are not obeyed under TLS.
func TestWhatIsInClearIsDropped(t *testing.T) {
	ca := smtptest.NewCA()
	s := newSink(t, SinkOptions{TLS: ca.ServerTLS("127.0.0.1")})
	conn, err := net.Dial("tcp", s.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	patient(t, conn)
	plain := textproto.NewConn(conn)
	dialogue(t, plain, "STARTTLS\r\nNOOP", 220, 220)
	secure := tls.Client(conn, &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12})
	dialogue(t, textproto.NewConn(secure), "EHLO x\r\nQUIT", 250, 221)
}

// TestPeerThatReadsSlowly: what the kernel does not take at once is written all the same.
func TestPeerThatReadsSlowly(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	sent := bytes.Repeat([]byte("0123456789abcde\n"), 1<<20)
	heard := make(chan error, 1)
	go func() { // ends with its connection
		conn, err := l.Accept()
		if err != nil {
			heard <- err
			return
		}
		defer conn.Close()
		r := bufio.NewReader(conn)
		_, _ = io.WriteString(conn, "220 x\r\n")
		_, err = r.ReadString('\n')
		_, _ = io.WriteString(conn, "250-x\r\n250 x\r\n")
		got := make([]byte, len(sent))
		if err == nil {
			_, err = io.ReadFull(r, got)
		}
		if err == nil && !bytes.Equal(got, sent) {
			err = errors.New("it is not what was sent")
		}
		heard <- err
		_, _ = io.WriteString(conn, "2")
		_, _ = io.WriteString(conn, "50 x\r\n")
	}()
	c, err := dial(within(t), Load{Address: l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	c.out = bytes.Clone(sent)
	if err := errors.Join(c.flight("250"), <-heard); err != nil {
		t.Error(err)
	}
	if err := c.say("NOOP", "250"); err == nil {
		t.Error("the peer is gone, and nothing is wrong")
	}
}

func TestCloseEndsAPause(t *testing.T) {
	s, err := NewSink(SinkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.Behave("slow.example", Behaviour{PerData: time.Hour})
	c := talker(t, s)
	dialogue(t, c, "MAIL FROM:<>\r\nRCPT TO:<a@slow.example>\r\nDATA\r\na\r\n.", 250, 250, 354)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if got := s.Arrived(); got.Messages != 0 {
		t.Errorf("arrived %+v, though it was not answered", got)
	}
}
