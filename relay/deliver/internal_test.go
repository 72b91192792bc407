package deliver

import (
	"bufio"
	"bytes"
	"io"
	"maps"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
)

func stuffed(t testing.TB, from io.Reader, block int) string {
	t.Helper()
	var out bytes.Buffer
	w := bufio.NewWriter(&out)
	if _, err := stuff(w, from, make([]byte, block)); err != nil {
		t.Fatal(err)
	}
	_ = w.Flush()
	return out.String()
}

func TestStuff(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "",
		"a\r\n":                    "a\r\n",
		"a":                        "a\r\n",
		"a\r":                      "a\r\r\n",
		"a\n":                      "a\n\r\n",
		".":                        "..\r\n",
		".\r\n":                    "..\r\n",
		"..\r\n.a\r\nb.c\r\n":      "...\r\n..a\r\nb.c\r\n",
		"12345\r\n.\r\n":           "12345\r\n..\r\n",
		"123456\r\n.\r\n":          "123456\r\n..\r\n",
		"a\n.\r\nb\r.\r\nc\n.\n":   "a\n..\r\nb\r..\r\nc\n..\n\r\n",
		"....\r\n....\r\n":         ".....\r\n.....\r\n",
		"long line . with dots.":   "long line . with dots.\r\n",
		"\r\n.\r\n.\r\n.\r\n.\r\n": "\r\n..\r\n..\r\n..\r\n..\r\n",
	} {
		for name, r := range map[string]io.Reader{"whole": strings.NewReader(in), "octet by octet": iotest.OneByteReader(strings.NewReader(in)),
			"with EOF": iotest.DataErrReader(strings.NewReader(in))} {
			if got := stuffed(t, r, 7); got != want {
				t.Errorf("%q, %s: got %q, want %q", in, name, got, want)
			}
		}
	}
}

// FuzzStuff: a server that takes the dots away again (RFC 5321 §4.5.2) gets back what was sent, however it was read,
// and no server sees the end within.
func FuzzStuff(f *testing.F) {
	for _, seed := range []string{"", "a\r\n.b\r\n", ".", "\n.\r\n", "\r.\r", "12345\r\n.\r\n", "a\r\n.\r\nb\r\n..\r\n", "\r\n\r\n.", "a\r"} {
		f.Add(seed, uint8(3))
	}
	f.Fuzz(func(t *testing.T, in string, size uint8) {
		out := stuffed(t, strings.NewReader(in), int(size)+1)
		for block := 1; block < min(len(in), 40); block++ {
			if other := stuffed(t, strings.NewReader(in), block); other != out {
				t.Fatalf("%q became %q in blocks of %d, else %q", in, other, block, out)
			}
		}
		for _, end := range []string{"\r\n.\r\n", "\n.\n", "\n.\r", "\r.\n", "\r.\r"} {
			if strings.Contains("\r\n"+out, end) {
				t.Fatalf("%q holds an end of the message: %q", in, out)
			}
		}
		if strings.ContainsAny(strings.ReplaceAll(in, "\r\n", ""), "\r\n") {
			return // such a message is never accepted
		}
		if back := unstuffed(t, out+".\r\n"); back != in && back != in+"\r\n" {
			t.Fatalf("%q came back as %q", in, back)
		}
	})
}

// unstuffed is what a server makes of it, line by line.
func unstuffed(t *testing.T, wire string) string {
	var b strings.Builder
	for line := range strings.SplitAfterSeq(wire, "\r\n") {
		if line == ".\r\n" {
			return b.String()
		}
		b.WriteString(strings.TrimPrefix(line, "."))
	}
	t.Fatalf("%q has no end", wire)
	return ""
}

func TestReadReply(t *testing.T) {
	for in, want := range map[string]reply.Reply{
		"250 ok\r\n": {Code: 250, Text: "ok"},
		"250\r\n":    {Code: 250},
		"250 \n":     {Code: 250},
		"250-2.1.0 a\r\n250-b\r\n250 2.1.0 c\r\n": {Code: 250, Enhanced: "2.1.0", Text: "a\nb\nc"},
		"550 5.1.1\r\n":                             {Code: 550, Enhanced: "5.1.1"},
		"550 5.1.1.1 x\r\n":                         {Code: 550, Text: "5.1.1.1 x"},
		"550 4.1.1 x\r\n":                           {Code: 550, Text: "4.1.1 x"},
		"550 5.1.1234 x\r\n":                        {Code: 550, Text: "5.1.1234 x"},
		"550 5..1 x\r\n":                            {Code: 550, Text: "5..1 x"},
		"451 4.7.1 caf\xe9\x07\r\n":                 {Code: 451, Enhanced: "4.7.1", Text: "caf??"},
		"550 \u202egnp.exe\u200b\u2028 ä\t字\r\n":    {Code: 550, Text: "?gnp.exe?? ä\t字"},
		"354 go\r\n250 of another\r\n":              {Code: 354, Text: "go"},
		"250 " + strings.Repeat("y", 9000) + "\r\n": {Code: 250, Text: strings.Repeat("y", keptOfLine-4)},
	} {
		got, err := readReply(bufio.NewReaderSize(strings.NewReader(in), 64))
		if err != nil || got != want {
			t.Errorf("%.50q: got %.100q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "250 ok", "250-ok\r\n", "25\r\n", "2x0 ok\r\n", "250-ok\r\n251 ok\r\n", "600 x\r\n", "199 x\r\n",
		"250_ok\r\n", "\xff50 ok\r\n", strings.Repeat("250-x\r\n", maxReplyLines+1) + "250 x\r\n", "250 " + strings.Repeat("x", maxReplyOctets) + "\r\n"} {
		if got, err := readReply(bufio.NewReader(strings.NewReader(in))); err == nil {
			t.Errorf("%.50q was taken for %v", in, got)
		}
	}
}

func FuzzReadReply(f *testing.F) {
	for _, seed := range []string{"250 ok\r\n", "250-2.0.0 a\r\n250 2.0.0 b\r\n", "5\x005 \r\n", "550 5.1.1\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		r, err := readReply(bufio.NewReaderSize(strings.NewReader(in), 16))
		if err != nil {
			return
		}
		if r.Code < 200 || r.Code > 599 || len(r.Text) > 3*keptOfReply || strings.Count(r.Text, "\n") >= maxReplyLines ||
			strings.ContainsAny(r.Text, "\r\x00\x1b") || r.Enhanced != "" && int(r.Enhanced[0]-'0') != r.Code/100 {
			t.Fatalf("%q became %+v", in, r)
		}
	})
}

func TestParseExtensions(t *testing.T) {
	got := parseExtensions("mx.test at your service\nSIZE 100\npipelining\n  Auth PLAIN  LOGIN \nSTARTTLS\n\nLIMITS RCPTMAX=5")
	want := map[string]string{"SIZE": "100", "PIPELINING": "", "AUTH": "PLAIN  LOGIN", "STARTTLS": "", "": "", "LIMITS": "RCPTMAX=5"}
	if !maps.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// FuzzExtensions: whatever a server says to EHLO, its limits are within bounds and nothing of it goes into a command.
func FuzzExtensions(f *testing.F) {
	for _, seed := range []string{"x", "x\nSIZE 10\nPIPELINING\nCHUNKING\nDSN", "\nLIMITS RCPTMAX=1 MAILMAX=999999 =\nSIZE -1",
		"x\nSIZE 99999999999999999999\nAUTH=LOGIN\nlimits rcptmax", "x\nSMTPUTF8 \x00\n8BITMIME\r\n"} {
		f.Add(seed)
	}
	e := &envelope.Envelope{ReversePath: "a@x.test", Size: 10, EightBit: true, UTF8: true, EnvelopeID: "Q", Return: envelope.ReturnFull}
	f.Fuzz(func(t *testing.T, text string) {
		s := &conn{extensions: parseExtensions(text)}
		s.limits = parseLimits(s.extensions["LIMITS"])
		if n := s.maxRecipients(0); n < 1 || n > usualRecipients {
			t.Fatalf("%d recipients", n)
		}
		if n := s.maxMessages(0); n < 1 || n > usualMessages {
			t.Fatalf("%d messages", n)
		}
		if r := s.tooBig(10); r.Code != 0 && r.Code != 552 {
			t.Fatalf("%v", r)
		}
		command := s.mailCommand(e)
		for _, known := range []string{" SIZE=10", " BODY=8BITMIME", " SMTPUTF8", " RET=FULL", " ENVID=Q"} {
			command = strings.Replace(command, known, "", 1)
		}
		if command != "MAIL FROM:<a@x.test>" {
			t.Fatalf("%q was left of MAIL", command)
		}
	})
}

func TestXtext(t *testing.T) {
	for in, want := range map[string]string{"": "", "plain;(x)<>\"": "plain;(x)<>\"", "a+b=c d": "a+2Bb+3Dc+20d", "\r\n\x00\x7fä": "+0D+0A+00+7F+C3+A4"} {
		if got := xtext(in); got != want {
			t.Errorf("%q: got %q", in, got)
		}
	}
	for in, want := range map[string]string{"ä@字.test": `\x{E4}@\x{5B57}.test`, "a+b=c d": `a\x{2B}b\x{3D}c\x{20}d`, `a\b`: `a\x{5C}b`} {
		if got := utf8xtext(in); got != want {
			t.Errorf("%q: got %q", in, got)
		}
	}
}

// FuzzXtext: the value comes back, and nothing in it is more than a value.
func FuzzXtext(f *testing.F) {
	for _, seed := range []string{"", "a+b", "+2B", "\r\nRCPT TO:<x>", "ä \x00", "===", `\x{E4}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		for _, encoded := range []string{xtext(in), utf8xtext(in)} {
			if strings.ContainsFunc(encoded, func(r rune) bool { return r < '!' || r > '~' || r == '=' }) {
				t.Fatalf("%q became %q", in, encoded)
			}
		}
		back, err := url.QueryUnescape(strings.ReplaceAll(strings.ReplaceAll(xtext(in), "%", "%25"), "+", "%"))
		if err != nil || back != in {
			t.Fatalf("%q came back as %q, %v", in, back, err)
		}
	})
}

// FuzzRecipient: RCPT has the parameters that were asked for and no others.
func FuzzRecipient(f *testing.F) {
	f.Add("rfc822;a@x.test", uint8(2))
	f.Add("utf-8;ä\r\n", uint8(1))
	f.Add("; x", uint8(14))
	f.Add("x y;z", uint8(0))
	f.Add("", uint8(16))
	f.Add("utf-8;"+strings.Repeat("字", 100), uint8(1))
	f.Fuzz(func(t *testing.T, original string, notify uint8) {
		s := &conn{extensions: map[string]string{"DSN": ""}}
		command := s.rcptCommand(&envelope.Recipient{Address: "a@x.test", Original: original, Notify: envelope.Notify(notify)})
		rest, ok := strings.CutPrefix(command, "RCPT TO:<a@x.test>")
		if !ok || strings.ContainsFunc(command, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Fatalf("%q", command)
		}
		for parameter := range strings.FieldsSeq(rest) {
			name, value, _ := strings.Cut(parameter, "=")
			if name != "NOTIFY" && name != "ORCPT" || value == "" || len(value) > maxOriginal || strings.Count(rest, name+"=") != 1 {
				t.Fatalf("%q", command)
			}
		}
	})
}
