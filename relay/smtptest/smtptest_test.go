package smtptest

import (
	"bytes"
	"crypto/tls"
	"net/smtp"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/postrider/postrider/relay/reply"
)

func TestSink(t *testing.T) {
	ca := NewCA()
	refused := reply.Reply{Code: 550, Enhanced: "5.1.1", Text: "no such user"}
	s, err := NewSink(Options{TLS: ca.ServerTLS("sink.test"), Replies: map[string]reply.Reply{"no@x.test": refused}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := smtp.Dial(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.StartTLS(&tls.Config{RootCAs: ca.Pool(), ServerName: "sink.test"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Mail("a@x.test"); err != nil {
		t.Fatal(err)
	}
	if err := c.Rcpt("no@x.test"); err == nil || !strings.Contains(err.Error(), "no such user") {
		t.Errorf("refused recipient: %v", err)
	}
	if err := c.Rcpt("yes@x.test"); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	content := "Subject: x\r\n\r\n.dot\r\n" + strings.Repeat("x", 16<<10-22) + "\r\n.\r\n"
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	m := s.Messages()
	if len(m) != 1 || !m[0].TLS || m[0].From != "a@x.test" || len(m[0].To) != 1 || !bytes.Equal(m[0].Data, []byte(content)) {
		t.Errorf("kept %+v", m)
	}
}

func TestPeerFollowsItsScript(t *testing.T) {
	p, err := NewPeer(Script{Steps: map[string][]Step{
		"RCPT":           {Reply("250 first"), Reply("452 4.5.3 then no more")},
		"RCPT TO:<c@x.y": {Reply("550 5.1.1 who?")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c, err := smtp.Dial(p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.Mail("s@x.y"); err != nil {
		t.Fatal(err)
	}
	for to, want := range map[string]string{"c@x.y": "who?"} {
		if err := c.Rcpt(to); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", to, err)
		}
	}
	if err := c.Rcpt("a@x.y"); err != nil {
		t.Error(err)
	}
	if err := c.Rcpt("b@x.y"); err == nil || !strings.Contains(err.Error(), "then no more") {
		t.Error(err)
	}
	want := "CONNECT EHLO localhost MAIL FROM:<s@x.y> BODY=8BITMIME RCPT TO:<c@x.y> RCPT TO:<a@x.y> RCPT TO:<b@x.y>"
	if got := strings.Join(p.Lines(), " "); got != want {
		t.Errorf("heard %s", got)
	}
}

func TestDNS(t *testing.T) {
	d, err := NewDNS("a.test. IN A 192.0.2.1", "alias.test. IN CNAME a.test.", "x.below.test. IN A 192.0.2.2")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, tc := range []struct {
		name    string
		rcode   int
		answers int
	}{
		{"a.test.", dns.RcodeSuccess, 1},
		{"ALIAS.test.", dns.RcodeSuccess, 2},
		{"below.test.", dns.RcodeSuccess, 0},
		{"none.test.", dns.RcodeNameError, 0},
	} {
		m, err := dns.Exchange(new(dns.Msg).SetQuestion(tc.name, dns.TypeA), d.Addr())
		if err != nil || m.Rcode != tc.rcode || len(m.Answer) != tc.answers {
			t.Errorf("%s: %v, %v", tc.name, m, err)
		}
	}
	if _, err := NewDNS("nonsense"); err == nil {
		t.Error("nonsense was taken for a record")
	}
}
