package letter

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/mail"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/smtptest"
)

const id = "01M83K1R6SB9GKN4DS06"

// queued answers a message as a relay does.
var queued = smtptest.Reply("250 2.0.0 queued as " + id)

func newLetter() Letter {
	return Letter{From: "news@shop.example", To: "b@inbox.example", Subject: "a test", Date: time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)}
}

// handed hands a letter to a scripted listener, and returns what came of it and each step that was told.
func handed(t *testing.T, script smtptest.Script, l Letter, way Way) (peer *smtptest.Peer, told []string, got string, err error) {
	t.Helper()
	peer, err = smtptest.NewPeer(script)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(peer.Close)
	conn, err := net.Dial("tcp", peer.Addr())
	if err != nil {
		t.Fatal(err)
	}
	way.Host = "mx1.shop.example"
	way.Say = func(format string, args ...any) { told = append(told, fmt.Sprintf(format, args...)) }
	if way.TimeLimit == 0 {
		way.TimeLimit = 10 * time.Second
	}
	got, err = Hand(conn, l, way)
	return peer, told, got, err
}

// Each way into TLS: the listener is told who comes, and the user what a client would think of the certificate.
func TestHand(t *testing.T) {
	ca := smtptest.NewCA()
	secured := ca.ServerTLS("mx1.shop.example")
	auth := "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00app\x00hunter2"))
	offers := smtptest.Reply("250-mx1.shop.example", "250-STARTTLS", "250 AUTH PLAIN")
	for _, c := range []struct {
		what     string
		script   smtptest.Script
		way      Way
		commands []string
		told     []string
	}{
		{"in clear", smtptest.Script{}, Way{}, nil, []string{"connected", "taken: 2.0.0 queued as " + id}},
		{"STARTTLS", smtptest.Script{TLS: secured}, Way{TLS: StartTLS}, []string{"STARTTLS", "TLS", "EHLO postrider.invalid"},
			[]string{"connected", "TLS 1.3, certificate for mx1.shop.example until 20", "taken"}},
		{"STARTTLS and a user", smtptest.Script{TLS: secured}, Way{TLS: StartTLS, User: "app", Password: "hunter2"},
			[]string{"STARTTLS", "TLS", "EHLO postrider.invalid", auth}, []string{"connected", "TLS 1.3", "authenticated as app", "taken"}},
		{"implicit, and a user", smtptest.Script{TLS: secured, Implicit: true}, Way{TLS: Implicit, User: "app", Password: "hunter2"},
			[]string{auth}, []string{"TLS 1.3", "connected", "authenticated as app", "taken"}},
		{"a certificate of another", smtptest.Script{TLS: ca.ServerTLS("old.shop.example"), Implicit: true}, Way{TLS: Implicit}, nil,
			[]string{"certificate for old.shop.example", "connected", "taken"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			c.script.Steps = map[string][]smtptest.Step{"EHLO": {offers}, "STARTTLS": {{Send: "220 go\r\n", StartTLS: true}}, "AUTH": {smtptest.Reply("235 welcome")}, ".": {queued}}
			peer, told, got, err := handed(t, c.script, newLetter(), c.way)
			if err != nil || got != id {
				t.Fatalf("id %q, %v", got, err)
			}
			want := slices.Concat([]string{"CONNECT", "EHLO postrider.invalid"}, c.commands,
				[]string{"MAIL FROM:<news@shop.example>", "RCPT TO:<b@inbox.example>", "DATA", "QUIT"})
			if lines := peer.Lines(); !slices.Equal(lines, want) {
				t.Errorf("the listener heard %q; want %q", lines, want)
			}
			for i, begins := range c.told {
				if i >= len(told) || !strings.Contains(told[i], begins) {
					t.Fatalf("told %q; want %q", told, c.told)
				}
			}
			if all := strings.Join(told, "\n"); c.way.TLS != None && !strings.Contains(all, "not trusted here: x509: ") || strings.Contains(all, "hunter2") {
				t.Errorf("told %q", all)
			}
		})
	}
}

// The message is one that any relay takes and no filter holds against it.
func TestMessage(t *testing.T) {
	peer, _, _, err := handed(t, smtptest.Script{Steps: map[string][]smtptest.Step{".": {queued}}}, newLetter(), Way{})
	if err != nil {
		t.Fatal(err)
	}
	text := peer.Contents()[0]
	m, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{"From": "<news@shop.example>", "To": "<b@inbox.example>", "Subject": "a test",
		"Date": "Mon, 02 Nov 2026 12:00:00 +0000", "Auto-Submitted": "auto-generated", "Mime-Version": "1.0"} {
		if got := m.Header.Get(field); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
	if got := m.Header.Get("Message-ID"); !strings.HasSuffix(got, ".test@shop.example>") {
		t.Errorf("Message-ID: %s", got)
	}
	if strings.Contains(strings.ReplaceAll(text, "\r\n", ""), "\n") {
		t.Errorf("a line does not end in CRLF: %q", text)
	}
}

// What goes wrong is said with the step at which it did, and no password goes out in clear.
func TestHandFails(t *testing.T) {
	secured := smtptest.NewCA().ServerTLS("mx1.shop.example")
	old := &tls.Config{Certificates: secured.Certificates, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	for _, c := range []struct {
		what  string
		at    string
		reply string
		way   Way
		tls   *tls.Config
		want  string
	}{
		{"not now", "GREETING", "421 4.3.2 the pod is leaving", Way{}, nil, `greeting: 421 "4.3.2 the pod is leaving"`},
		{"the name", "EHLO", "421 4.3.2 the pod is leaving", Way{}, nil, "EHLO: "},
		{"no STARTTLS", "STARTTLS", "454 4.7.0 no certificate", Way{TLS: StartTLS}, nil, `STARTTLS: 454 "4.7.0 no certificate"`},
		{"no TLS", "GREETING", "220 in clear", Way{TLS: Implicit}, nil, "TLS: "},
		{"old TLS", "GREETING", "220 hello", Way{TLS: Implicit}, old, "TLS: "},
		{"a user in clear", "AUTH", "235 welcome", Way{User: "app", Password: "hunter2"}, nil, "no password is sent in clear"},
		{"a wrong password", "AUTH", "535 5.7.8 no", Way{TLS: Implicit, User: "app", Password: "hunter2"}, secured, `AUTH as app: 535 "5.7.8 no"`},
		{"the sender", "MAIL", "550 5.7.1 not yours", Way{}, nil, `MAIL FROM:<news@shop.example>: 550 "5.7.1 not yours"`},
		{"the recipient", "RCPT", "550 5.7.1 no relaying", Way{}, nil, `RCPT TO:<b@inbox.example>: 550 "5.7.1 no relaying"`},
		{"the message", ".", "451 4.7.5 There is no DKIM key", Way{}, nil, `message: 451 "4.7.5 There is no DKIM key"`},
		{"no id", ".", "250 2.0.0 fine", Way{}, nil, "names no spool id"},
		{"an empty id", ".", "250 2.0.0 queued as ", Way{}, nil, "names no spool id"},
	} {
		t.Run(c.what, func(t *testing.T) {
			script := smtptest.Script{TLS: c.tls, Implicit: c.tls != nil, Steps: map[string][]smtptest.Step{
				"EHLO": {smtptest.Reply("250-mx1.shop.example", "250-STARTTLS", "250 AUTH PLAIN")}, ".": {queued}}}
			script.Steps[c.at] = []smtptest.Step{{Send: c.reply + "\r\n", Close: c.at == "EHLO"}}
			peer, _, got, err := handed(t, script, newLetter(), c.way)
			if err == nil || !strings.Contains(err.Error(), c.want) || got != "" {
				t.Errorf("id %q, error %v; want %q", got, err, c.want)
			}
			if c.tls == nil && slices.ContainsFunc(peer.Lines(), func(line string) bool { return strings.HasPrefix(line, "AUTH") }) {
				t.Error("the password went out in clear")
			}
		})
	}
}

// A listener that says nothing does not keep the user for longer than the limit.
func TestHandEnds(t *testing.T) {
	began := time.Now()
	_, _, _, err := handed(t, smtptest.Script{Steps: map[string][]smtptest.Step{"GREETING": {{}}}}, newLetter(), Way{TimeLimit: 30 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "timeout") || time.Since(began) > 5*time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}

// Neither an address nor a subject can hold a command or a header field.
func TestNothingIsSmuggledIn(t *testing.T) {
	for _, spoil := range []func(*Letter){
		func(l *Letter) { l.To = "b@inbox.example>\r\nRCPT TO:<c@inbox.example" },
		func(l *Letter) { l.To = "b@inbox.example> (\r\nRCPT TO:<c@inbox.example" },
		func(l *Letter) { l.From = "\"a\r\nDATA\"@shop.example" },
		func(l *Letter) { l.From = "news@shop.example> NOTIFY=<" },
		func(l *Letter) { l.From = "" },
		func(l *Letter) { l.Subject = "a test\nBcc: c@inbox.example" },
	} {
		l := newLetter()
		spoil(&l)
		peer, _, got, err := handed(t, smtptest.Script{Steps: map[string][]smtptest.Step{".": {queued}}}, l, Way{})
		if err == nil || got != "" {
			t.Errorf("%+v was sent", l)
		}
		if lines := peer.Lines(); len(lines) > 2 {
			t.Errorf("%+v: the listener heard %q", l, lines)
		}
	}
}
