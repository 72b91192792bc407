package traffic

import (
	"bytes"
	"compress/flate"
	"io"
	"math/rand/v2"
	"net/mail"
	"testing"
	"time"
)

// messages makes the first few of a run, as they are sent but for the dot at the end.
func messages(t *testing.T, octets, count int) [][]byte {
	t.Helper()
	r := &run{Load: Load{Octets: octets, From: "sender@load.example", Domain: "sink.example"}, id: 7}
	random := rand.New(rand.NewPCG(1, 2))
	text := newText(2*octets+lineOctets, random)
	made := make([][]byte, count)
	for i := range made {
		m := r.header(nil, i, time.Unix(1780000000, int64(i)))
		made[i] = append(append(m, text.cut(octets-len(m), random)...), crlf...)
	}
	return made
}

func TestMessagesAreWellFormed(t *testing.T) {
	// A range longer than a line, so that one of them would end between CR and LF.
	for octets := 1024; octets < 1024+lineOctets+2; octets++ {
		for i, m := range messages(t, octets, 3) {
			if len(m) != octets {
				t.Fatalf("message of %d octets: it has %d", octets, len(m))
			}
			for _, line := range bytes.Split(m, []byte(crlf)) {
				if len(line) > 78 || bytes.HasPrefix(line, []byte(".")) || bytes.ContainsAny(line, "\r\n") {
					t.Fatalf("message of %d octets, line %q", octets, line)
				}
			}
			parsed, err := mail.ReadMessage(bytes.NewReader(m))
			if err != nil {
				t.Fatal(err)
			}
			date, err := parsed.Header.Date()
			if err != nil || date.Unix() != 1780000000 {
				t.Errorf("date %v: %v", date, err)
			}
			for _, field := range []string{"From", "To"} {
				if list, err := parsed.Header.AddressList(field); err != nil || len(list) != 1 {
					t.Errorf("%s: %v %v", field, list, err)
				}
			}
			if at, ok := stamp(m); !ok || at.UnixNano() != 1780000000_000000000+int64(i) {
				t.Errorf("stamp %v %v", at, ok)
			}
		}
	}
}

func TestMessagesDifferAndHardlyCompress(t *testing.T) {
	made := messages(t, 64<<10, 2)
	if bytes.Equal(made[0][1000:], made[1][1000:]) {
		t.Error("two bodies are the same")
	}
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, bytes.NewReader(made[0])); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	// 6 random bits in an octet are three quarters of it.
	if packed.Len() < len(made[0])*74/100 {
		t.Errorf("%d octets become %d", len(made[0]), packed.Len())
	}
}

func TestQuantile(t *testing.T) {
	l := Latencies{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for _, c := range []struct {
		q    float64
		want time.Duration
	}{{0, 1}, {0.1, 1}, {0.11, 2}, {0.5, 5}, {0.99, 10}, {1, 10}} {
		if got := l.Quantile(c.q); got != c.want {
			t.Errorf("%v: %d, want %d", c.q, got, c.want)
		}
	}
	if got := (Latencies)(nil).Quantile(0.5); got != 0 {
		t.Errorf("of none: %v", got)
	}
}

func TestCommands(t *testing.T) {
	r := &run{Load: Load{From: "a@b.example", Domain: "c.example", Priority: -3}}
	if got := string(r.rcpt(r.mail(nil), 12)); got != "MAIL FROM:<a@b.example> MT-PRIORITY=-3\r\nRCPT TO:<r12@c.example>\r\n" {
		t.Errorf("got %q", got)
	}
	if r.Priority = 0; string(r.mail(nil)) != "MAIL FROM:<a@b.example>\r\n" {
		t.Errorf("without a priority: %q", r.mail(nil))
	}
}
