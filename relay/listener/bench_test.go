package listener

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
)

// discard is a Handler that accepts and forgets.
type discard struct{}

func (discard) Mail(context.Context, *Session) error                     { return nil }
func (discard) Rcpt(context.Context, *Session, envelope.Recipient) error { return nil }
func (discard) Data(_ context.Context, _ *Session, _ []byte, body io.Reader) (reply.Reply, error) {
	_, err := io.Copy(io.Discard, body)
	return reply.Reply{Code: 250, Enhanced: "2.0.0", Text: "gone"}, err
}

// BenchmarkSession takes messages of 4 KiB on one connection: with DATA in two round trips each, in a chunk in one.
func BenchmarkSession(b *testing.B) {
	const envelope = "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n"
	message := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 52)
	b.Run("DATA", func(b *testing.B) {
		exchange := greeted(b)
		data, stuffed := envelope+"DATA\r\n", message+".\r\n"
		b.SetBytes(int64(len(message)))
		for b.Loop() {
			exchange(data, "354 ")
			exchange(stuffed, "250 2.0.0")
		}
	})
	b.Run("BDAT", func(b *testing.B) {
		exchange := greeted(b)
		chunked := envelope + chunk(message, true)
		b.SetBytes(int64(len(message)))
		for b.Loop() {
			exchange(chunked, "250 2.0.0")
		}
	})
}

// greeted connects to a Listener that forgets its mail, and returns how to say something and wait for a reply.
func greeted(b *testing.B) (exchange func(octets, last string)) {
	b.Helper()
	l := New(Options{
		Settings: Settings{Listener: config.Listener{Name: "bench", Mode: config.ModeRelay, TLS: config.TLSNone}, MaxBytes: 1 << 20},
		Bind:     "127.0.0.1", Handler: discard{}, Log: slog.New(slog.DiscardHandler), Greeting: -1,
	})
	go func() { _ = l.Serve(b.Context()) }()
	<-l.Ready()
	c, err := net.Dial("tcp", l.Status().Address)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	answer := make([]byte, 4096)
	exchange = func(octets, last string) {
		_, _ = io.WriteString(c, octets)
		for got := ""; !strings.Contains(got, last); {
			n, err := c.Read(answer)
			if err != nil {
				b.Fatal(err)
			}
			got += string(answer[:n])
		}
	}
	exchange("EHLO bench.example\r\n", "SIZE")
	return exchange
}
