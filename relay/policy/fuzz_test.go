package policy

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/message"
)

// FuzzHeaderRewriting: what is put above a header that was accepted leaves every field of it as it was, and adds
// exactly one Received, and a Date and a Message-ID where there were none.
func FuzzHeaderRewriting(f *testing.F) {
	for _, header := range []string{
		"From: x@example.com\r\n\r\n",
		"From: \"a, b\" <x@example.com>\r\n (comment)\r\nDate: now\r\nSubject: a\r\n\tb\r\n\r\n",
		"from:x@example.com\r\nMESSAGE-ID: <a@b>\r\nX-Empty:\r\n\r\n",
		"\r\n", " folded\r\n\r\n", "From x@example.com\r\n\r\n",
	} {
		f.Add([]byte(header), "client.example.net", "b@example.org")
	}
	p, err := New(Options{
		Relay:    config.Relay{Hostname: "mx.example.com", Postmaster: "ops@example.com"},
		Domains:  []config.Domain{{Name: "example.com", Users: []string{"alice"}}},
		RelaysTo: func(string) bool { return false },
		Limiter:  &limiter{},
	})
	if err != nil {
		f.Fatal(err)
	}
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	f.Fuzz(func(t *testing.T, header []byte, helo, to string) {
		address, err := envelope.ParseAddress(to)
		if err != nil || strings.ContainsFunc(helo, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return // neither gets past the listener
		}
		before, err := message.Fields(header)
		v, refused := p.Header(alice, header)
		if refused != nil || err != nil {
			return
		}
		trace := Trace{
			ID: "0abc", Hostname: "mx.example.com", Helo: helo, Remote: netip.MustParseAddr("2001:db8::1"), ESMTP: true,
			Recipients: []envelope.Recipient{{Address: address.String()}}, Now: now,
		}
		rewritten := bytes.Join([][]byte{trace.Received(), v.Missing(config.ModeSubmission, "0abc", "mx.example.com", now), header}, nil)
		after, err := message.Fields(rewritten)
		if err != nil {
			t.Fatalf("%v in %q", err, rewritten)
		}
		if got, want := message.Count(after, "Received"), message.Count(before, "Received")+1; got != want {
			t.Errorf("%d Received fields, want %d: %q", got, want, rewritten)
		}
		for _, name := range []string{"Date", "Message-ID"} {
			if got, want := message.Count(after, name), max(message.Count(before, name), 1); got != want {
				t.Errorf("%d %s fields, want %d: %q", got, name, want, rewritten)
			}
		}
		kept := after[len(after)-len(before):]
		for i := range before {
			if !bytes.Equal(kept[i].Raw, before[i].Raw) {
				t.Errorf("field %q became %q", before[i].Raw, kept[i].Raw)
			}
		}
	})
}
