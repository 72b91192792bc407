package listener

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/reply"
)

// chunk is a BDAT command with its octets.
func chunk(octets string, last bool) string {
	if last {
		return fmt.Sprintf("BDAT %d LAST\r\n%s", len(octets), octets)
	}
	return fmt.Sprintf("BDAT %d\r\n%s", len(octets), octets)
}

// addressed opens a transaction up to its recipients.
func (r *rig) addressed() *peer {
	r.t.Helper()
	p := r.greeted()
	p.do("MAIL FROM:<a@example.com>", "250 2.1.0", "RCPT TO:<b@example.org>", "250 2.1.5")
	return p
}

func TestChunks(t *testing.T) {
	for name, test := range map[string]struct {
		chunks       []string // the last is LAST
		header, body string
	}{
		"one":                       {[]string{"Subject: x\r\n\r\nbody\r\n"}, "Subject: x\r\n\r\n", "body\r\n"},
		"dots mean nothing":         {[]string{"A: b\r\n\r\n.\r\n..\r\n.x\r\n"}, "A: b\r\n\r\n", ".\r\n..\r\n.x\r\n"},
		"an empty last":             {[]string{"A: b\r\n\r\nbody\r\n", ""}, "A: b\r\n\r\n", "body\r\n"},
		"nothing at all":            {[]string{""}, "\r\n", ""},
		"empty ones between":        {[]string{"", "A: b\r\n", "", "\r\nbody\r\n", ""}, "A: b\r\n\r\n", "body\r\n"},
		"cut within a line end":     {[]string{"A: b\r", "\n\r", "\nbody\r", "\n"}, "A: b\r\n\r\n", "body\r\n"},
		"an octet each":             {strings.Split("A: b\r\n\r\n.\r\nQUIT\r\n", ""), "A: b\r\n\r\n", ".\r\nQUIT\r\n"},
		"no line end":               {[]string{"A: b\r\n\r\nbody"}, "A: b\r\n\r\n", "body\r\n"},
		"no line end in the header": {[]string{"A: b"}, "A: b\r\n\r\n", ""},
		"eight bits":                {[]string{"A: b\r\n\r\n\xff"}, "A: b\r\n\r\n", "\xff\r\n"},
		"large":                     {[]string{"A: b\r\n\r\n", strings.Repeat("x", 3*readBuffer), "\r\n"}, "A: b\r\n\r\n", strings.Repeat("x", 3*readBuffer) + "\r\n"},
	} {
		for _, pipelined := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, pipelined %v", name, pipelined), func(t *testing.T) {
				r := serve(t, config.ModeRelay, config.TLSNone, nil)
				p := r.greeted()
				commands := []string{"MAIL FROM:<a@example.com>\r\n", "RCPT TO:<b@example.org>\r\n"}
				for i, octets := range test.chunks {
					commands = append(commands, chunk(octets, i == len(test.chunks)-1))
				}
				commands = append(commands, "NOOP\r\n")
				if pipelined {
					p.send(strings.Join(commands, ""))
				}
				for i, command := range commands {
					if !pipelined {
						p.send(command)
					}
					if i == len(commands)-2 {
						p.expect("250 2.0.0 queued as 1")
					} else {
						p.expect("250 ")
					}
				}
				got := r.handler.all()[0]
				if got.header != test.header || got.body != test.body || got.EightBit != strings.Contains(test.body, "\xff") {
					t.Errorf("header %q, body %q, want %q, %q", got.header, got.body, test.header, test.body)
				}
			})
		}
	}
}

// TestChunkCommands: attacks, rows 11 and 12. Where the number of octets that follow is in doubt, the session ends, and
// nothing is allocated for them.
func TestChunkCommands(t *testing.T) {
	for command, want := range map[string]string{
		"BDAT -1": "501 5.5.4", "BDAT": "501 5.5.4", "BDAT x": "501 5.5.4", "BDAT +5 LAST": "501 5.5.4", "BDAT 5 FIRST": "501 5.5.4",
		"BDAT 5 LAST LAST": "501 5.5.4", "BDAT  5": "501 5.5.4", "BDAT 0x10": "501 5.5.4",
		"BDAT 1048577": "552 5.3.4", "BDAT 8589934592": "552 5.3.4", "BDAT 4611686018427387904 LAST": "552 5.3.4",
		"BDAT 9223372036854775808": "552 5.3.4", "BDAT 18446744073709551616": "552 5.3.4",
	} {
		for _, ready := range []bool{true, false} {
			r := serve(t, config.ModeRelay, config.TLSNone, nil)
			p := r.greeted()
			if ready {
				p.do("MAIL FROM:<a@example.com>", "250 ", "RCPT TO:<b@example.org>", "250 ")
			}
			before := allocated()
			p.send(command + "\r\n" + smuggled)
			p.expect(want)
			p.expectEnd()
			if n := len(r.handler.all()); n > 0 {
				t.Errorf("%s: %d messages were taken", command, n)
			}
			if grown := allocated() - before; grown > 4<<20 {
				t.Errorf("%s: %d octets were allocated", command, grown)
			}
		}
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// TestOctetsOfChunksAreNoCommands: attacks, rows 11 and 12. Those of a chunk that is refused are passed over.
func TestOctetsOfChunksAreNoCommands(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSNone, nil)
	p := r.greeted()
	for _, last := range []bool{true, false} {
		p.send(chunk(smuggled, last))
		p.expect("503 5.5.1")
	}
	p.do("DATA", "503 5.5.1", "MAIL FROM:<>", "250 ")
	p.send(chunk(smuggled, true))
	p.expect("554 5.5.1")
	p.do("RCPT TO:<b@example.org>", "250 ")
	long := strings.Repeat("x", 3*readBuffer) + "\r\n" // what is refused was not read to its end
	p.send(chunk("A: b\r\n\r\nbare\nline feed\r\n"+long+smuggled, false) + chunk(smuggled, true))
	p.expect("550 5.6.0")
	p.expect("503 5.5.1")
	p.do("DATA", "503 5.5.1", "RCPT TO:<b@example.org>", "503 5.5.1", "MAIL FROM:<>", "250 ")
	if n := len(r.handler.all()); n > 0 {
		t.Errorf("%d messages were taken", n)
	}
}

// TestChunksTooLong: the limit holds for the sum.
func TestChunksTooLong(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSNone, func(o *Options) { o.MaxBytes = 1000 })
	exact := "A: b\r\n\r\n" + strings.Repeat("x", 990) + "\r\n"
	p := r.addressed()
	p.send(chunk(exact[:500], false) + chunk(exact[500:], true))
	p.expect("250 2.0.0 500")
	p.expect("250 2.0.0 queued")
	p = r.addressed()
	p.send(chunk(strings.TrimSuffix(exact, "\r\n")+"yy", true)) // the line end that is added does not count
	p.expect("250 2.0.0 queued")
	p = r.addressed()
	p.send(chunk(exact[:500], false) + chunk(exact[499:], true))
	p.expect("250 2.0.0 500")
	p.expect("552 5.3.4")
	p.expectEnd()
	if n := len(r.handler.all()); n != 2 {
		t.Errorf("%d messages were taken", n)
	}
}

// TestBetweenChunks: what may stand between two of them, and what ends the message.
func TestBetweenChunks(t *testing.T) {
	for _, test := range []struct {
		command, want, next string
		taken               bool
	}{
		{"NOOP", "250 2.0.0 OK", "250 2.0.0 queued", true},
		{"VRFY x", "252 2.5.2", "250 2.0.0 queued", true},
		{"DATA", "503 5.5.1", "250 2.0.0 queued", true},
		{"RCPT TO:<c@example.org>", "503 5.5.1", "250 2.0.0 queued", true},
		{"MAIL FROM:<c@example.org>", "503 5.5.1", "250 2.0.0 queued", true},
		{"RSET", "250 2.0.0 OK", "503 5.5.1", false},
		{"EHLO again.example", "250 ", "503 5.5.1", false},
		{"WHAT", "500 5.5.1", "503 5.5.1", false},
	} {
		r := serve(t, config.ModeRelay, config.TLSNone, nil)
		p := r.addressed()
		p.send(chunk("A: b\r\n\r\nfirst ", false))
		p.expect("250 2.0.0 14 octets")
		p.do(test.command, test.want)
		p.send(chunk("second\r\n", true))
		p.expect(test.next)
		all := r.handler.all()
		if test.taken != (len(all) == 1) || test.taken && (all[0].body != "first second\r\n" || len(all[0].Recipients) != 1) {
			t.Errorf("%s: taken %+v", test.command, all)
		}
		p.do("MAIL FROM:<>", "250 ", "QUIT", "221 ")
	}
	t.Run("QUIT", func(t *testing.T) {
		r := serve(t, config.ModeRelay, config.TLSNone, nil)
		p := r.addressed()
		p.send(chunk("A: b\r\n\r\n", false) + "QUIT\r\n")
		p.expect("250 ")
		p.expect("221 ")
		p.expectEnd()
		if n := len(r.handler.all()); n > 0 {
			t.Errorf("%d messages were taken", n)
		}
	})
}

// TestSmallChunks: attacks, row 13.
func TestSmallChunks(t *testing.T) {
	p := serve(t, config.ModeRelay, config.TLSNone, nil).addressed()
	go func() { _, _ = io.WriteString(p.Conn, strings.Repeat(chunk("x", false), 10*maxSmallChunks)) }()
	for range maxSmallChunks {
		p.expect("250 2.0.0 1 octets")
	}
	p.expect("421 4.7.0")
	p.expectEnd()
}

// TestManyChunks: a large message may have more chunks than that.
func TestManyChunks(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSNone, func(o *Options) { o.MaxBytes = 10 << 20 })
	p := r.addressed()
	octets := strings.Repeat("x", smallChunk-2) + "\r\n"
	go func() {
		_, _ = io.WriteString(p.Conn, chunk("A: b\r\n\r\n", false)+strings.Repeat(chunk(octets, false), 2*maxSmallChunks)+chunk("", true))
	}()
	for range 2*maxSmallChunks + 1 {
		p.expect("250 2.0.0 ")
	}
	p.expect("250 2.0.0 queued")
	if n := len(r.handler.all()[0].body); n != 2*maxSmallChunks*smallChunk {
		t.Errorf("%d octets came", n)
	}
}

// TestCutChunks: attacks, row 14. However politely the connection ends, half a message is none, and no 250.
func TestCutChunks(t *testing.T) {
	for _, sent := range []string{
		"BDAT 1000 LAST\r\n0123456789", "BDAT 100\r\nA: b\r\n\r\nbody", chunk("A: b\r\n\r\nbody\r\n", false), "BDAT 1000 LAST\r\n",
		chunk("A: b\r\n\r\nbody\r\n", false) + "BDAT", chunk("A: b\r\n\r\nbody\r\n", false) + "BDAT 5 LAST\r\n\r\n",
	} {
		for _, end := range []string{"FIN", "close_notify"} {
			r := serve(t, config.ModeRelay, config.TLSOpportunistic, nil)
			failed := make(chan error, 1)
			r.handler.data = func(_ *Session, _ []byte, body io.Reader) (reply.Reply, error) {
				_, err := io.ReadAll(body)
				failed <- err
				return reply.Reply{Code: 250, Text: "taken"}, err
			}
			p := r.greeted()
			if end == "close_notify" {
				p = r.encrypted()
			}
			p.do("MAIL FROM:<a@example.com>", "250 ", "RCPT TO:<b@example.org>", "250 ")
			p.send(sent)
			if c, ok := p.Conn.(*tls.Conn); ok {
				_ = c.CloseWrite()
			} else {
				_ = p.raw.(*net.TCPConn).CloseWrite()
			}
			rest, err := io.ReadAll(p.in)
			if err != nil || strings.Contains(string(rest), "taken") {
				t.Errorf("%q and %s: answered %q, %v", sent, end, rest, err)
			}
			select {
			case err := <-failed:
				if err == nil || errors.Is(err, io.EOF) {
					t.Errorf("%q and %s: the handler's body ended with %v", sent, end, err)
				}
			default: // the header was not whole
			}
		}
	}
}

// TestChunksRefusedByTheHandler: its reply is that to the chunk it came with; what follows is passed over.
func TestChunksRefusedByTheHandler(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSNone, nil)
	r.handler.data = func(*Session, []byte, io.Reader) (reply.Reply, error) {
		return reply.Reply{}, reply.Reply{Code: 550, Enhanced: "5.7.1", Text: "no"}
	}
	p := r.addressed()
	p.send(chunk("A: b\r\n", false) + chunk("\r\nbody\r\nQUIT\r\n", false) + chunk("QUIT\r\n", true) + "NOOP\r\n")
	for _, want := range []string{"250 2.0.0 6", "550 5.7.1", "503 5.5.1", "250 2.0.0 OK"} {
		p.expect(want)
	}
}

// TestBrokenMessagesInChunks: the rules of a body hold over borders too; here the end is known, so the session goes on.
func TestBrokenMessagesInChunks(t *testing.T) {
	for _, octets := range [][]string{
		{"A: b\r\n\r\na\nb"}, {"A: b\r\n\r\na\rb"}, {"A: b\r\n\r\na\r", "b"}, {"A: b\r\n\r\na\r"}, {"A: b\r\n\r\n\r", ""}, {"A: b\r\n\r\na", "\nb"},
		{"A: b\r\n\r\n\x00"}, {"A: \x00b\r\n\r\n"}, {"A: b\n\nx"}, {" folded: x\r\n\r\n"}, {"\t\r\n"},
	} {
		r := serve(t, config.ModeRelay, config.TLSNone, nil)
		p := r.addressed()
		for i, part := range octets {
			p.send(chunk(part, i == len(octets)-1))
		}
		last := ""
		for range octets {
			got, err := p.reply()
			if err != nil {
				t.Fatal(err)
			}
			if last = got; last[0] == '5' {
				break
			}
		}
		if !strings.HasPrefix(last, "550 5.6.0") || len(r.handler.all()) > 0 {
			t.Errorf("%q: %q, %d taken", octets, last, len(r.handler.all()))
		}
		p.send("NOOP\r\n")
		for got := ""; !strings.HasPrefix(got, "250 2.0.0 OK"); {
			var err error
			if got, err = p.reply(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// FuzzChunks compares what the Handler gets with the octets that were sent, however they are cut.
func FuzzChunks(f *testing.F) {
	for _, seed := range []string{"A: b\r\n\r\nbody\r\n", "A: b\r", "\r\n", "", "a\nb", ".\r\n", "A: b\r\n\r\nno end", "\x00", "QUIT\r\nBDAT 5\r\n"} {
		f.Add(seed, uint8(3), uint8(2))
		f.Add(seed, uint8(1), uint8(200))
	}
	f.Fuzz(func(t *testing.T, content string, size, segment uint8) {
		wire, rest := "", content
		for n := 0; len(rest) > int(size) && size > 0 && n < maxSmallChunks; n++ {
			wire += chunk(rest[:size], false)
			rest = rest[size:]
		}
		wire += chunk(rest, true)
		s := &session{
			listener: &Listener{}, settings: &Settings{MaxBytes: 1 << 20}, conn: &conn{}, out: bufio.NewWriter(io.Discard),
			in: bufio.NewReaderSize(io.MultiReader(segments(wire, int(segment))...), readBuffer),
		}
		s.mail = true
		verb, args, err := s.readVerb()
		c := &chunks{session: s}
		if verb != "BDAT" || err != nil || c.begin(args) != nil {
			t.Fatalf("%q: %s %s, %v", wire, verb, args, err)
		}
		m := &message{in: bufio.NewReaderSize(c, readBuffer), left: 1 << 20, raw: true}
		got, err := io.ReadAll(m)
		want, ok := wholeLines(content)
		if (err == nil) != ok || ok && string(got) != want {
			t.Errorf("%q was read as %q, %v; want %q, %v", wire, got, err, want, ok)
		}
		if c.then == nil && c.last {
			if err := c.skip(); err != nil || s.in.Buffered() > 0 {
				t.Errorf("%q: %v; %d octets left", wire, err, s.in.Buffered())
			}
		}
	})
}

// segments cuts what is sent into pieces of a size.
func segments(wire string, size int) []io.Reader {
	var pieces []io.Reader
	for size = max(size, 1); len(wire) > size && len(pieces) < 1000; wire = wire[size:] {
		pieces = append(pieces, strings.NewReader(wire[:size]))
	}
	return append(pieces, strings.NewReader(wire))
}

// wholeLines is the content of a message in chunks, if it is well-formed.
func wholeLines(content string) (string, bool) {
	if content != "" && !strings.HasSuffix(content, "\r\n") {
		content += "\r\n"
	}
	bare := strings.ReplaceAll(content, "\r\n", "")
	return content, !strings.ContainsAny(bare, "\r\n\x00")
}
