package bounce

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
)

var update = flag.Bool("update", false, "write the golden files")

var now = time.Date(2026, 3, 4, 5, 6, 7, 0, time.FixedZone("CET", 3600))

func recipient(address string, code int, status, text, hop string) envelope.Recipient {
	return envelope.Recipient{Address: address, State: envelope.Failed, Last: &envelope.Outcome{
		Reply: reply.Reply{Code: code, Enhanced: status, Text: text}, NextHop: hop, At: now.Add(-time.Minute)}}
}

func notice(action Action, recipients ...envelope.Recipient) Notice {
	return Notice{
		ID: "01JDSN", ReportingMTA: "relay.example.com", From: "postmaster@relay.example.com", Action: action,
		Envelope:   envelope.Envelope{ID: "01JMSG", ReversePath: "alice@sender.example", Accepted: now.Add(-time.Hour)},
		Recipients: recipients, Now: now,
		Header: []byte("From: Alice <alice@sender.example>\r\nTo: bob@example.com\r\nSubject: Lunch\r\n\r\n"),
	}
}

func cases() map[string]Notice {
	delayed := notice(Delayed, recipient("bob@example.com", 451, "4.7.1", "Greylisted\nTry later", "mx1.example.com[192.0.2.1]:25"))
	delayed.Until = now.Add(24 * time.Hour)
	hostile := notice(Failed, recipient("b\r\nBcc: eve@evil.test@example.com", 550, "", "no\r\nX-Evil: yes\n\n--postrider-01JDSN\r\x00\xff ümlaut "+strings.Repeat("x", 3000), "evil\r\n[::1]:25"))
	hostile.From, hostile.ReportingMTA = "", "relay.example.com\r\nX-Evil: yes"
	hostile.Envelope.ReversePath = "a\nb@sender.example"
	hostile.Header = []byte("--postrider-01JDSN\r\nSubject: gr\xfc\xdfe ü\r\n\tfolded\r\nX: bare\rreturn\x00" + strings.Repeat("y", 5000) + "\nLF: only\r\n\r\nbody")
	return map[string]Notice{
		"failed": notice(Failed,
			recipient("bob@example.com", 550, "5.1.1", "No such user\nSee https://example.com/550", "mx1.example.com[192.0.2.1]:25"),
			recipient(`"c d"@example.com`, 552, "", "Too big", "mx1.example.com[192.0.2.1]:25")),
		"expired": notice(Failed, recipient("bob@example.com", 421, "4.4.1", "connect to mx1.example.com[192.0.2.1]:25: connection refused", ""),
			envelope.Recipient{Address: "never@example.com", State: envelope.Failed}),
		"delayed": delayed,
		"hostile": hostile,
	}
}

func TestGolden(t *testing.T) {
	for name, n := range cases() {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name+".eml")
			got := Compose(n)
			if *update {
				if err := os.WriteFile(file, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("differs from %s; -update writes it. Got:\n%s", file, got)
			}
		})
	}
}

// report is a DSN as a parser sees it.
type report struct {
	header  mail.Header
	text    string
	message textproto.MIMEHeader
	per     []textproto.MIMEHeader
	headers string
}

// parse reads a DSN and checks what must hold for every one.
func parse(message []byte) (report, error) {
	var r report
	for line := range bytes.Lines(message) {
		if !bytes.HasSuffix(line, []byte("\r\n")) || len(line) > 1000 || !isPlain(string(line[:len(line)-2])) {
			return r, fmt.Errorf("line %q", line)
		}
	}
	m, err := mail.ReadMessage(bytes.NewReader(message))
	if err != nil {
		return r, err
	}
	r.header = m.Header
	kind, parameters, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || parameters["report-type"] != "delivery-status" {
		return r, fmt.Errorf("content type %s %v: %w", kind, parameters, err)
	}
	parts := multipart.NewReader(m.Body, parameters["boundary"])
	var bodies []string
	for _, want := range []string{"text/plain; charset=us-ascii", "message/delivery-status", "text/rfc822-headers"} {
		p, err := parts.NextPart()
		if err != nil || p.Header.Get("Content-Type") != want {
			return r, fmt.Errorf("part %d: %v, %w", len(bodies), p, err)
		}
		body, err := io.ReadAll(p)
		if err != nil {
			return r, err
		}
		bodies = append(bodies, string(body))
	}
	if _, err := parts.NextPart(); !errors.Is(err, io.EOF) {
		return r, fmt.Errorf("a fourth part: %w", err)
	}
	r.text, r.headers = bodies[0], bodies[2]
	return r, r.parseStatus(bodies[1])
}

func (r *report) parseStatus(body string) error {
	fields := textproto.NewReader(bufio.NewReader(strings.NewReader(body + "\r\n")))
	var err error
	if r.message, err = fields.ReadMIMEHeader(); err != nil {
		return err
	}
	for {
		group, err := fields.ReadMIMEHeader()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		r.per = append(r.per, group)
	}
}

func TestParsedBack(t *testing.T) {
	for name, want := range map[string][]map[string]string{
		"failed": {
			{"Final-Recipient": "rfc822; bob@example.com", "Action": "failed", "Status": "5.1.1", "Remote-Mta": "dns; mx1.example.com",
				"Diagnostic-Code": "smtp; 550 5.1.1 No such user; See https://example.com/550", "Last-Attempt-Date": "Wed, 04 Mar 2026 04:05:07 +0000"},
			{"Final-Recipient": `rfc822; "c d"@example.com`, "Action": "failed", "Status": "5.0.0", "Remote-Mta": "dns; mx1.example.com",
				"Diagnostic-Code": "smtp; 552 Too big", "Last-Attempt-Date": "Wed, 04 Mar 2026 04:05:07 +0000"},
		},
		"expired": {
			{"Final-Recipient": "rfc822; bob@example.com", "Action": "failed", "Status": "5.4.7", "Remote-Mta": "",
				"Diagnostic-Code": "smtp; 421 4.4.1 connect to mx1.example.com[192.0.2.1]:25: connection refused"},
			{"Final-Recipient": "rfc822; never@example.com", "Status": "5.4.7", "Diagnostic-Code": ""},
		},
		"delayed": {
			{"Final-Recipient": "rfc822; bob@example.com", "Action": "delayed", "Status": "4.7.1", "Will-Retry-Until": "Thu, 05 Mar 2026 04:06:07 +0000"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := parse(Compose(cases()[name]))
			if err != nil || len(r.per) != len(want) {
				t.Fatalf("%d recipients, %v", len(r.per), err)
			}
			for i, fields := range want {
				for field, value := range fields {
					if got := r.per[i].Get(field); got != value {
						t.Errorf("recipient %d: %s is %q, want %q", i, field, got, value)
					}
				}
			}
			if r.message.Get("Reporting-Mta") != "dns; relay.example.com" || r.message.Get("X-Postrider-Spool-Id") != "01JMSG" ||
				r.message.Get("Arrival-Date") != "Wed, 04 Mar 2026 03:06:07 +0000" {
				t.Errorf("message fields %v", r.message)
			}
			if r.header.Get("Auto-Submitted") != "auto-replied" || r.header.Get("To") != "<alice@sender.example>" ||
				r.header.Get("Message-Id") != "<01JDSN.dsn@relay.example.com>" {
				t.Errorf("header %v", r.header)
			}
			if !strings.HasPrefix(r.headers, "From: Alice <alice@sender.example>\r\n") || strings.Contains(r.headers, "\r\n\r\n") {
				t.Errorf("original header %q", r.headers)
			}
		})
	}
}

func TestNothingBreaksOut(t *testing.T) {
	n := cases()["hostile"]
	r, err := parse(Compose(n))
	if err != nil {
		t.Fatal(err)
	}
	if r.header.Get("X-Evil") != "" || r.message.Get("X-Evil") != "" || len(r.per) != 1 || r.per[0].Get("Bcc") != "" || r.per[0].Get("X-Evil") != "" {
		t.Errorf("%+v", r)
	}
	if got := r.per[0].Get("Diagnostic-Code"); !strings.Contains(got, `\x{FC}mlaut`) || !strings.Contains(got, strings.Repeat("x", 150)) {
		t.Errorf("the reply is not whole: %s", got)
	}
	if strings.Contains(r.headers, "body") || !strings.Contains(r.headers, "LF: only") {
		t.Errorf("original header %q", r.headers)
	}
}

func FuzzCompose(f *testing.F) {
	f.Add("ID", "relay.test", "a@b.test", "550", "text\r\n--postrider-ID", "Subject: x\r\n\r\n")
	f.Add("", "", "", "", "\x00\xff\u2028", "--\r\n \r\n\tx")
	f.Fuzz(func(t *testing.T, id, host, addr, enhanced, text, header string) {
		for _, action := range []Action{Failed, Delayed} {
			n := notice(action, recipient(addr, 550, enhanced, text, host+"["+text), recipient(text, 450, "", addr, ""))
			n.ID, n.ReportingMTA, n.From, n.Envelope.ReversePath, n.Envelope.ID, n.Header = id, host, addr, text, envelope.ID(text), []byte(header)
			if len(id) > 50 {
				return // ids are ours, and short
			}
			r, err := parse(Compose(n))
			if err != nil {
				t.Fatalf("%v\n%q", err, Compose(n))
			}
			if len(r.per) != 2 || len(r.header) != 8 || len(r.message) != 3 {
				t.Fatalf("%+v", r)
			}
		}
	})
}
