package deliver

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/postrider/postrider/relay/reply"
)

func stuffed(t testing.TB, from io.Reader) string {
	t.Helper()
	var out bytes.Buffer
	w := bufio.NewWriter(&out)
	if _, err := stuff(w, from, make([]byte, 7)); err != nil {
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
			if got := stuffed(t, r); got != want {
				t.Errorf("%q, %s: got %q, want %q", in, name, got, want)
			}
		}
	}
}

// FuzzStuff: a server gets back what was sent, and never sees its end within.
func FuzzStuff(f *testing.F) {
	for _, seed := range []string{"a\r\n.b\r\n", ".", "\n.\r\n", "\r.\r", "12345\r\n.\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		out := stuffed(t, strings.NewReader(in))
		for _, end := range []string{"\r\n.\r\n", "\n.\n", "\n.\r", "\r.\n", "\r.\r"} {
			if strings.Contains("\r\n"+out, end) {
				t.Fatalf("%q holds an end of the message: %q", in, out)
			}
		}
		if strings.ContainsAny(strings.ReplaceAll(in, "\r\n", ""), "\r\n") || !strings.HasSuffix(in, "\r\n") {
			return
		}
		back := strings.TrimPrefix(strings.ReplaceAll("\r\n"+out, "\r\n.", "\r\n"), "\r\n")
		if back != in {
			t.Fatalf("%q came back as %q", in, back)
		}
	})
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
