package filter

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	milter "github.com/emersion/go-milter"

	"github.com/postrider/postrider/relay/config"
)

// backend is a milter of the library, which notes what it is told and answers as it is told to.
type backend struct {
	milter.NoOpMilter
	*script
}

type script struct {
	mu    sync.Mutex
	told  []string
	at    map[string]milter.Response
	final func(*milter.Modifier) milter.Response
}

func (b backend) note(step, text string, m *milter.Modifier) (milter.Response, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told = append(b.told, strings.TrimSpace(step+" "+text))
	if m != nil && m.Macros["i"] != "" && step == "mail" {
		b.told = append(b.told, "macro i="+m.Macros["i"])
	}
	if r := b.at[step]; r != nil {
		return r, nil
	}
	return milter.RespContinue, nil
}

func (b backend) Connect(host, family string, port uint16, addr net.IP, m *milter.Modifier) (milter.Response, error) {
	return b.note("connect", fmt.Sprint(host, " ", family, " ", port, " ", addr), m)
}
func (b backend) Helo(name string, m *milter.Modifier) (milter.Response, error) {
	return b.note("helo", name, m)
}
func (b backend) MailFrom(from string, m *milter.Modifier) (milter.Response, error) {
	return b.note("mail", from, m)
}
func (b backend) RcptTo(to string, m *milter.Modifier) (milter.Response, error) {
	return b.note("rcpt", to, m)
}
func (b backend) Header(name, value string, m *milter.Modifier) (milter.Response, error) {
	return b.note("header", name+"="+value, m)
}
func (b backend) Headers(_ textproto.MIMEHeader, m *milter.Modifier) (milter.Response, error) {
	return b.note("eoh", "", m)
}
func (b backend) BodyChunk(chunk []byte, m *milter.Modifier) (milter.Response, error) {
	return b.note("body", fmt.Sprintf("%d %.20q", len(chunk), chunk), m)
}
func (b backend) Body(m *milter.Modifier) (milter.Response, error) {
	if b.final != nil {
		return b.final(m), nil
	}
	return b.note("end", "", m)
}

func milterAt(t *testing.T, l net.Listener) config.Filter {
	t.Helper()
	at := netip.MustParseAddrPort(l.Addr().String())
	return config.Filter{Name: "virus", Milter: &config.Milter{Host: at.Addr().String(), Port: int(at.Port())}}
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func newMilterServer(t *testing.T, s *script) config.Filter {
	t.Helper()
	l := listen(t, "127.0.0.1:0")
	server := &milter.Server{NewMilter: func() milter.Milter { return backend{script: s} }}
	go func() { _ = server.Serve(l) }()
	return milterAt(t, l)
}

func TestMilterIsTold(t *testing.T) {
	s := &script{}
	r := newRig(t, nil, newMilterServer(t, s))
	m := sample()
	m.Header = []byte(header[:len(header)-2] + "no field\r\n\r\n")
	big := strings.Repeat("0123456789abcde\r\n", 5000)
	m.Body, m.BodySize = func() io.Reader { return strings.NewReader(big) }, int64(len(big))
	if v, err := r.chain.Message(t.Context(), m); err != nil || len(v.Fields) > 0 {
		t.Fatal(v, err)
	}
	want := []string{
		"connect [192.0.2.7] tcp4 4711 192.0.2.7", "helo client.example", "mail a@example.org", "macro i=01ABC",
		"rcpt b@example.net", "rcpt c@example.net",
		"header From=<a@example.org>", "header Subject=folded\n here", "header X-Empty=", "eoh",
		`body 65535 "no field\r\n\r\n01234567"`, "body 19477", "end",
	}
	for i, line := range s.told {
		if i >= len(want) || !strings.HasPrefix(line, want[i]) {
			t.Errorf("step %d: %q, want %q", i, line, want[min(i, len(want)-1)])
		}
	}
	if len(s.told) != len(want) {
		t.Errorf("%d steps, want %d", len(s.told), len(want))
	}
	m.Client.Addr = netip.MustParseAddr("2001:db8::7")
	s.told = nil
	if _, err := r.chain.Message(t.Context(), m); err != nil || s.told[0] != "connect [2001:db8::7] tcp6 4711 2001:db8::7" {
		t.Errorf("IPv6: %v, %v", s.told, err)
	}
}

func TestMilterVerdicts(t *testing.T) {
	own := func(text string) milter.Response { return milter.NewResponseStr('y', text) }
	for _, c := range []struct {
		step   string
		answer milter.Response
		want   string
	}{
		{"connect", milter.RespAccept, ""},
		{"connect", milter.RespReject, "550 5.7.1 Refused by filter virus"},
		{"helo", milter.RespTempFail, "451 4.7.1 Put off by filter virus"},
		{"mail", own("550 5.1.8 bad %% sender\r\n250 ok"), "550 5.1.8 bad % sender 250 ok"},
		{"rcpt", milter.RespAccept, ""},
		{"rcpt", milter.RespReject, "550 5.7.1 Refused by filter virus"},
		{"header", milter.RespDiscard, "550 5.7.1 Refused by filter virus"},
		{"eoh", own("451 try later"), "451 4.7.1 try later"},
		{"body", own("554 5.7.1 Eicar found"), "554 5.7.1 Eicar found"},
		{"body", own("421 4.3.2 leave"), "451 4.3.2 leave"},
		{"end", own("550 4.1.1 odd"), "550 5.7.1 odd"},
		{"end", own("250 2.0.0 fine"), "451 4.7.1 Filter virus gives no verdict; try again later"},
		{"end", milter.RespAccept, ""},
		{"end", milter.RespContinue, ""},
		{"end", milter.RespDiscard, "550 5.7.1 Refused by filter virus"},
		{"end", milter.SimpleResponse('f'), "451 4.7.1 Filter virus gives no verdict; try again later"},
	} {
		r := newRig(t, nil, newMilterServer(t, &script{at: map[string]milter.Response{c.step: c.answer}}))
		got := ""
		if _, err := r.chain.Message(t.Context(), sample()); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s at %s: %q, want %q", c.answer.Response().Data, c.step, got, c.want)
		}
	}
}

func TestMilterChanges(t *testing.T) {
	const none = "451 4.7.1 Filter virus gives no verdict; try again later"
	for name, c := range map[string]struct {
		change              func(m *milter.Modifier) error
		fields, hold, error string
	}{
		"add":      {change: func(m *milter.Modifier) error { return m.AddHeader("X-Virus", "none\r\n found") }, fields: "X-Virus: none found\r\n"},
		"insert":   {change: func(m *milter.Modifier) error { return m.InsertHeader(1, "X-Virus", "none") }, fields: "X-Virus: none\r\n"},
		"smuggle":  {change: func(m *milter.Modifier) error { return m.AddHeader("X-A: b\r\nBcc", "x") }},
		"subject":  {change: func(m *milter.Modifier) error { return m.AddHeader("Subject", "x") }},
		"hold":     {change: func(m *milter.Modifier) error { return m.Quarantine("Eicar") }, hold: "filter virus: Eicar"},
		"body":     {change: func(m *milter.Modifier) error { return m.ReplaceBody([]byte("x")) }, error: none},
		"change":   {change: func(m *milter.Modifier) error { return m.ChangeHeader(1, "Subject", "x") }, error: none},
		"add rcpt": {change: func(m *milter.Modifier) error { return m.AddRecipient("x@example.com") }, error: none},
		"del rcpt": {change: func(m *milter.Modifier) error { return m.DeleteRecipient("b@example.net") }, error: none},
		"from":     {change: func(m *milter.Modifier) error { return m.ChangeFrom("x@example.com") }, error: none},
	} {
		r := newRig(t, nil, newMilterServer(t, &script{final: func(m *milter.Modifier) milter.Response {
			if err := c.change(m); err != nil {
				t.Error(err)
			}
			return milter.RespAccept
		}}))
		v, err := r.chain.Message(t.Context(), sample())
		got := ""
		if err != nil {
			got = err.Error()
		}
		if string(v.Fields) != c.fields || v.Hold != c.hold || got != c.error {
			t.Errorf("%s: %+v, %q", name, v, got)
		}
	}
}

// packet is one of the protocol.
func packet(code byte, data string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(data)+1)), append([]byte{code}, data...)...)
}

// greeting answers the negotiation as version 6.
func greeting() []byte {
	return packet('O', "\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00\x00")
}

// TestHostileMilter has milters that break the protocol. Whatever they do, the filter has no verdict, in time, and the
// connection is closed.
func TestHostileMilter(t *testing.T) {
	forever := func(c net.Conn, p []byte) {
		for {
			if _, err := c.Write(p); err != nil {
				return
			}
		}
	}
	for name, serve := range map[string]func(c net.Conn){
		"closes at once": func(net.Conn) {},
		"silent":         func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
		"another protocol": func(c net.Conn) {
			_, _ = io.WriteString(c, "220 mail.example ESMTP\r\n")
			_, _ = io.Copy(io.Discard, c)
		},
		"empty packet":     func(c net.Conn) { _, _ = c.Write(make([]byte, 4)); _, _ = io.Copy(io.Discard, c) },
		"huge packet":      func(c net.Conn) { _, _ = c.Write([]byte{255, 255, 255, 255, 'O'}); forever(c, make([]byte, 4096)) },
		"a short greeting": func(c net.Conn) { _, _ = c.Write(packet('O', "\x00")); _, _ = io.Copy(io.Discard, c) },
		"version 1": func(c net.Conn) {
			_, _ = c.Write(packet('O', "\x00\x00\x00\x01"+strings.Repeat("\x00", 8)))
			_, _ = io.Copy(io.Discard, c)
		},
		"progress forever": func(c net.Conn) {
			_, _ = c.Write(greeting())
			go func() { _, _ = io.Copy(io.Discard, c) }()
			forever(c, packet('p', ""))
		},
		"slow progress": func(c net.Conn) {
			_, _ = c.Write(greeting())
			go func() { _, _ = io.Copy(io.Discard, c) }()
			trickle(c, packet('p', ""))
		},
		"continue, then die": func(c net.Conn) {
			_, _ = c.Write(greeting())
			_, _ = c.Write(packet('c', ""))
			time.Sleep(10 * time.Millisecond)
		},
		"an unknown answer": func(c net.Conn) {
			_, _ = c.Write(greeting())
			_, _ = c.Write(packet('Z', ""))
			_, _ = io.Copy(io.Discard, c)
		},
		"reply without code": func(c net.Conn) {
			_, _ = c.Write(greeting())
			_, _ = c.Write(packet('y', "xyz"))
			_, _ = io.Copy(io.Discard, c)
		},
		"endless fields": func(c net.Conn) {
			_, _ = c.Write(packet('O', "\x00\x00\x00\x06\x00\x00\x00\x01\x00\x00\x00\x7f")) // spare me all steps
			go func() { _, _ = io.Copy(io.Discard, c) }()
			forever(c, packet('h', "X-A\x00"+strings.Repeat("x", 1000)+"\x00"))
		},
		"a field without value": func(c net.Conn) {
			_, _ = c.Write(packet('O', "\x00\x00\x00\x06\x00\x00\x00\x01\x00\x00\x00\x7f"))
			_, _ = c.Write(packet('h', "X-A"))
			_, _ = io.Copy(io.Discard, c)
		},
		"change without index": func(c net.Conn) {
			_, _ = c.Write(packet('O', "\x00\x00\x00\x06\x00\x00\x00\x01\x00\x00\x00\x7f"))
			_, _ = c.Write(packet('i', "\x00"))
			_, _ = io.Copy(io.Discard, c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := listen(t, "127.0.0.1:0")
			closed := make(chan struct{}, 2)
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() { serve(c); _ = c.Close(); closed <- struct{}{} }()
				}
			}()
			for onFailure, refused := range map[config.OnFailure]bool{config.FailDefer: true, config.FailAccept: false} {
				f := milterAt(t, l)
				f.OnFailure, f.TimeoutSeconds = onFailure, 15
				if strings.HasPrefix(name, "s") { // silent, slow: only time helps
					f.TimeoutSeconds = 1
				}
				r := newRig(t, nil, f)
				began := time.Now()
				_, err := r.chain.Message(t.Context(), sample())
				if (err != nil) != refused || err != nil && err.Error() != unavailable("virus").Error() {
					t.Errorf("%s: %v", onFailure, err)
				}
				if !r.counted(`{filter="virus",verdict="none"} 1`) {
					t.Error("the failure is not counted")
				}
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("took %v", took)
				}
				select {
				case <-closed:
				case <-time.After(15 * time.Second):
					t.Error("the connection is left open")
				}
			}
		})
	}
}

func trickle(c net.Conn, p []byte) {
	for {
		if _, err := c.Write(p); err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestMilterThatIsNotThere(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	f := milterAt(t, l)
	_ = l.Close()
	r := newRig(t, nil, f)
	if _, err := r.chain.Message(t.Context(), sample()); err == nil || !strings.HasPrefix(err.Error(), "451 4.7.1 Filter virus") {
		t.Error(err)
	}
}

// TestMilterOverIPv6 reaches one by that family.
func TestMilterOverIPv6(t *testing.T) {
	l := listen(t, "[::1]:0")
	server := &milter.Server{NewMilter: func() milter.Milter { return backend{script: &script{}} }}
	go func() { _ = server.Serve(l) }()
	r := newRig(t, nil, milterAt(t, l))
	if _, err := r.chain.Message(t.Context(), sample()); err != nil {
		t.Error(err)
	}
}
