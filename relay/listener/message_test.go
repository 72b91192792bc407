package listener

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/reply"
)

const smuggled = "MAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n"

// TestSmuggling: attacks, rows 1 to 3. Nothing that follows a doubtful end is obeyed, and the message is nowhere.
func TestSmuggling(t *testing.T) {
	for name, end := range map[string]string{
		"LF.LF": "\n.\n", "LF.CRLF": "\n.\r\n", "CRLF.LF": "\r\n.\n", "CR.CR": "\r.\r", "CR.CRLF": "\r.\r\n",
		"CRLF.CR": "\r\n.\r", "CRLF.CRCRLF": "\r\n.\r\r\n", "CRCRLF.CRLF": "\r\r\n.\r\n",
		"CRCRLF.CRCRLF": "\r\r\n.\r\r\n", "CRLF.NULCRLF": "\r\n.\x00\r\n", "CRLFNUL.CRLF": "\r\n\x00.\r\n",
		"NUL": "\x00\r\n.\r\n", "bare CR": "a\rb\r\n.\r\n", "bare LF": "a\nb\r\n.\r\n", "LF at once": "\n\r\n.\r\n",
	} {
		for _, where := range []string{"Subject: x\r\n\r\nbody", "Subject: x"} {
			r := serve(t, config.ModeRelay, config.TLSNone, nil)
			p := r.greeted()
			p.begin()
			p.send(where + end + smuggled)
			if got, err := p.reply(); err != nil || !strings.HasPrefix(got, "550 5.6.0") && !strings.HasPrefix(got, "550 5.5.2") {
				t.Errorf("%s: %q, %v, want 550", name, got, err)
			}
			p.expectEnd()
			if n := len(r.handler.all()); n != 0 {
				t.Errorf("%s: %d messages were taken", name, n)
			}
		}
	}
}

// TestNormalize: an LF alone becomes CRLF before anyone sees it, but ends no message, and a line behind it that begins
// with a dot is refused. CR and NUL stay what they are.
func TestNormalize(t *testing.T) {
	for wire, want := range map[string]string{
		"a\nb\r\n.\r\n": "a\r\nb\r\n", "\n\n\r\n.\r\n": "\r\n\r\n\r\n", "a\n\r\n..b\r\n.\r\n": "a\r\n\r\n.b\r\n",
		strings.Repeat("x", 2*readBuffer) + "\ny\r\n.\r\n": strings.Repeat("x", 2*readBuffer) + "\r\ny\r\n",
		strings.Repeat("x\n", readBuffer) + "\r\n.\r\n":    strings.Repeat("x\r\n", readBuffer) + "\r\n",
		"\xff\n\r\n.\r\n": "\xff\r\n\r\n", "a\n b\r\n.\r\n": "a\r\n b\r\n",
	} {
		for _, source := range []io.Reader{strings.NewReader(wire), iotest.OneByteReader(strings.NewReader(wire))} {
			m := &message{in: bufio.NewReaderSize(source, readBuffer), left: 1 << 20, normalize: true}
			var got strings.Builder
			if _, err := io.CopyBuffer(&got, iotest.OneByteReader(m), make([]byte, 1)); err != nil || got.String() != want || m.eightBit != strings.Contains(want, "\xff") {
				t.Errorf("%q was read as %q, %v", wire, got.String(), err)
			}
		}
	}
	for _, wire := range []string{
		"a\n.\n", "a\n.\r\n", "a\n.b\r\n.\r\n", "a\n..b\r\n.\r\n", "\n.\n", "\n.\r\n", "a\r\n.\n", "a\n.\r", "a\n.\x00\r\n", "\r\r\n.\r\n",
		"a\r\r\n.\r\n", "a\rb\r\n.\r\n", "a\x00\n.\r\n", "a\r\n\x00.\r\n",
	} {
		m := &message{in: bufio.NewReader(strings.NewReader(wire + smuggled)), left: 1 << 20, normalize: true}
		got, err := io.ReadAll(m)
		if code(err) != "550 5.6.0" && code(err) != "550 5.5.2" {
			t.Errorf("%q was read as %q, %v", wire, got, err)
		}
	}
}

// TestNormalizeCounts: the octets that are added count, so that no message is stored that is too long.
func TestNormalizeCounts(t *testing.T) {
	for left, want := range map[int64]error{6: nil, 5: errLongMessage} {
		m := &message{in: bufio.NewReader(strings.NewReader("a\nb\r\n.\r\n")), left: left, normalize: true}
		if _, err := io.ReadAll(m); !errors.Is(err, want) {
			t.Errorf("%d octets: %v, want %v", left, err, want)
		}
	}
	m := &message{in: bufio.NewReader(strings.NewReader("a\n")), left: 2, normalize: true, raw: true}
	if _, err := io.ReadAll(m); !errors.Is(err, errLongMessage) {
		t.Errorf("in chunks: %v, want %v", err, errLongMessage)
	}
}

// TestNormalizeIsASetting: in a session, for DATA and BDAT, and for the header too.
func TestNormalizeIsASetting(t *testing.T) {
	for setting, want := range map[config.BareNewline]string{"": "550 5.6.0", config.BareNewlineReject: "550 5.6.0", config.BareNewlineNormalize: "250 2.0.0"} {
		r := serve(t, config.ModeRelay, config.TLSNone, func(o *Options) { o.BareNewline = setting })
		p := r.addressed()
		p.do("DATA", "354 ")
		p.do("A: b\n\nbody\n\r\n.", want)
		p = r.addressed()
		p.send(chunk("A: b\n\n.\nbody\n", true))
		p.expect(want)
		if all := r.handler.all(); want[0] == '2' && (all[0].header != "A: b\r\n\r\n" || all[0].body != "body\r\n\r\n" || all[1].body != ".\r\nbody\r\n") {
			t.Errorf("%q: %+v", setting, all)
		}
	}
}

// TestFoldedFirstLine: it would go on with our Received.
func TestFoldedFirstLine(t *testing.T) {
	for _, first := range []string{" folded", "\tby evil.example", " ", "\t"} {
		r := serve(t, config.ModeRelay, config.TLSNone, nil)
		p := r.greeted()
		p.begin()
		p.do(first+"\r\nSubject: x\r\n\r\nbody\r\n.", "550 5.6.0", "NOOP", "250 ")
		if n := len(r.handler.all()); n > 0 {
			t.Errorf("%q: %d messages were taken", first, n)
		}
	}
}

// TestCutMessages: attacks, row 14. A connection that ends within a message, however politely, leaves nothing.
func TestCutMessages(t *testing.T) {
	for _, content := range []string{"", "Subj", "Subject: x\r\n\r\nbody", "Subject: x\r\n\r\nbody\r\n", "Subject: x\r\n\r\n.", "Subject: x\r\n\r\nx\r\n.\r"} {
		for _, end := range []string{"FIN", "close_notify"} {
			r := serve(t, config.ModeRelay, config.TLSOpportunistic, nil)
			failed := make(chan error, 1)
			r.handler.data = func(_ *Session, _ []byte, body io.Reader) (reply.Reply, error) {
				_, err := io.ReadAll(body)
				failed <- err
				return reply.Reply{Code: 250}, err
			}
			p := r.greeted()
			if end == "close_notify" {
				p = r.encrypted()
			}
			p.begin()
			p.send(content)
			if c, ok := p.Conn.(*tls.Conn); ok {
				_ = c.CloseWrite()
			} else {
				_ = p.raw.(*net.TCPConn).CloseWrite()
			}
			p.expectEnd()
			if strings.Contains(content, "\r\n\r\n") {
				if err := <-failed; !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("%q and %s: the handler's body ended with %v", content, end, err)
				}
			}
		}
	}
}

// TestMaximumSize: attacks, row 29, and one octet more.
func TestMaximumSize(t *testing.T) {
	for size, want := range map[int]string{1000: "250 2.0.0", 1001: "552 5.3.4", 200_000: "552 5.3.4"} {
		r := serve(t, config.ModeRelay, config.TLSNone, func(o *Options) { o.MaxBytes = 1000 })
		p := r.greeted()
		p.begin()
		// The dot that is stuffed does not count.
		p.send("Subject: x\r\n\r\n..\r\n" + strings.Repeat("x", size-len("Subject: x\r\n\r\n.\r\n\r\n")) + "\r\n.\r\n")
		p.expect(want)
		p.do("NOOP", "250 2.0.0")
		if kept := len(r.handler.all()); kept != strings.Count(want, "250") {
			t.Errorf("%d octets: %d messages kept", size, kept)
		}
	}
}

func TestMaximumHeader(t *testing.T) {
	for size, want := range map[int]string{MaxHeader: "250 2.0.0", MaxHeader + 1: "552 5.3.4"} {
		r := serve(t, config.ModeRelay, config.TLSNone, nil)
		p := r.greeted()
		p.begin()
		p.send("X: " + strings.Repeat("x", size-len("X: \r\n\r\n")) + "\r\n\r\nbody\r\n.\r\n")
		p.expect(want)
		p.do("NOOP", "250 2.0.0")
	}
}

// TestEightBit: wherever in a message the octet stands, in the header or behind it.
func TestEightBit(t *testing.T) {
	for at := range 40 {
		for _, octet := range []string{"\x7f", "\x80", "\xff"} {
			wire := strings.Repeat("x", at) + octet + strings.Repeat("x", 40-at) + "\r\n.\r\n"
			m := &message{in: bufio.NewReader(strings.NewReader(wire)), left: 1 << 20}
			if _, err := io.ReadAll(m); err != nil || m.eightBit != (octet > "\x7f") {
				t.Errorf("%q: %v, %v", wire, m.eightBit, err)
			}
		}
	}
}

// TestEndlessMessage: a refused message is not read for ever.
func TestEndlessMessage(t *testing.T) {
	m := &message{in: bufio.NewReaderSize(endless{}, readBuffer), left: 10}
	if _, err := io.ReadAll(m); !errors.Is(err, errLongMessage) {
		t.Fatalf("read: %v, want %v", err, errLongMessage)
	}
	if err := m.skip(1 << 20); !errors.Is(err, errLongMessage) {
		t.Errorf("skip: %v, want %v", err, errLongMessage)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// FuzzMessage compares the reader with the grammar, however the octets are cut.
func FuzzMessage(f *testing.F) {
	for _, seed := range []string{"a\r\n.\r\n", "..\r\n.\r\n", ".\r\n", "a\r\n.\r\nrest", "\r\r\n.\r\n", "a\n.\n", "a\r\n..b\r\n.\r", "\r\n.\r\n.\r\n", "a\n.\r\n", "a\n..b\n\r\n.\r\n"} {
		f.Add(seed, uint8(1))
		f.Add(seed, uint8(3))
	}
	in := bufio.NewReaderSize(nil, readBuffer)
	f.Fuzz(func(t *testing.T, wire string, segment uint8) {
		compareWithGrammar(t, in, wire, whole, func(wire string) io.Reader { return io.MultiReader(segments(wire, int(segment))...) })
	})
}

// TestEveryShortMessage compares the reader with the grammar for all that the octets which matter can spell.
func TestEveryShortMessage(t *testing.T) {
	in := bufio.NewReaderSize(nil, readBuffer)
	var spell func(wire string, left int)
	spell = func(wire string, left int) {
		for _, wire := range []string{wire, wire + "\r\n.\r\n"} {
			compareWithGrammar(t, in, wire, whole, octetByOctet)
		}
		if left > 0 {
			for _, octet := range []string{"\r", "\n", ".", "\x00", "a"} {
				spell(wire+octet, left-1)
			}
		}
	}
	spell("", 6)
}

// compareWithGrammar reads wire from what open returns, as it came and normalized.
func compareWithGrammar(t *testing.T, in *bufio.Reader, wire string, open ...func(wire string) io.Reader) {
	t.Helper()
	for _, normalize := range []bool{false, true} {
		want, rest, ok := unstuff(wire, normalize)
		for _, open := range open {
			for _, inBody := range []bool{false, true} {
				in.Reset(open(wire))
				m := &message{in: in, left: 1 << 30, normalize: normalize, inBody: inBody}
				got, err := io.ReadAll(m)
				if (err == nil) != ok || ok && string(got) != want {
					t.Fatalf("%q (normalized %v) was read as %q, %v; want %q, %v", wire, normalize, got, err, want, ok)
				}
				if left, _ := io.ReadAll(in); ok && string(left) != rest {
					t.Fatalf("behind %q (normalized %v) stands %q, want %q", wire, normalize, left, rest)
				}
				if ok && m.eightBit != hasHighBit([]byte(want)) {
					t.Fatalf("%q: eight-bit %v", wire, m.eightBit)
				}
			}
		}
	}
}

func whole(wire string) io.Reader { return strings.NewReader(wire) }

func octetByOctet(wire string) io.Reader { return iotest.OneByteReader(strings.NewReader(wire)) }

// unstuff is RFC 5321 §4.5.2, written for clarity alone. Normalized, a line may end in LF; it is not the last then, and
// the next one does not begin with a dot.
func unstuff(wire string, normalize bool) (content, rest string, ok bool) {
	afterLF := false
	for {
		line, after, found := strings.Cut(wire, "\n")
		text, crlf := strings.CutSuffix(line, "\r")
		switch {
		case !found || strings.ContainsAny(text, "\x00\r"):
			return "", "", false
		case !crlf && (!normalize || text == "."):
			return "", "", false
		case afterLF && strings.HasPrefix(text, "."):
			return "", "", false
		case text == ".":
			return content, after, true
		}
		content += strings.TrimPrefix(text, ".") + "\r\n"
		wire, afterLF = after, !crlf
	}
}

func BenchmarkMessage(b *testing.B) {
	wire := strings.Repeat(strings.Repeat("x", 76)+"\r\n", 1<<13) + ".\r\n"
	b.SetBytes(int64(len(wire)))
	for b.Loop() {
		m := &message{in: bufio.NewReaderSize(strings.NewReader(wire), readBuffer), left: 1 << 30, inBody: true}
		if _, err := io.Copy(io.Discard, m); err != nil {
			b.Fatal(err)
		}
	}
}
