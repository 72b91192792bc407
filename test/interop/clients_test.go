//go:build interop

package interop

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/status"
	"github.com/postrider/postrider/test/peers"
)

// submits is a relay for people with a password.
const submits = kind + `
  listeners:
  - {name: submission, port: 587, mode: Submission, tls: {mode: Required, secretRef: {name: tls}}, auth: {users: {secretRef: {name: users}}}}
  - {name: submissions, port: 465, mode: Submission, tls: {mode: Implicit, secretRef: {name: tls}}, auth: {users: {secretRef: {name: users}}}}
`

// clientDomain is a domain that the user may send as.
const clientDomain = `apiVersion: postrider.dev/v1alpha1
kind: SendingDomain
metadata: {name: clients}
spec:
  domain: clients.test
  relayRef: {name: r}
  senders: [{user: newsletter}]
  dns: {gates: []}
`

// submitting is a relay that sends on to a Postfix.
func submitting(t *testing.T) (*relay, *peers.Postfix) {
	p := newPlace(t)
	domain := fmt.Sprintf("people%d.test", p.number)
	postfix := p.postfix(peers.PostfixOptions{Address: p.ip(25), Hostname: "mx." + domain, Domain: domain})
	p.dns("mx."+domain, "A "+p.ip(25))
	p.dns(domain, "MX 10 mx."+domain+".")
	r := p.relay(submits+toMX, clientDomain, p.certificate("tls"), users("users"))
	eventually(t, "the keys that sign are in force", func() error {
		got := r.send(submission{Port: portSubmission, TLS: "starttls", Mechanism: "PLAIN", From: "probe@clients.test",
			To: []string{"probe@" + domain}, Message: text("probe@clients.test", "probe@"+domain, "probe", 0)})
		if got.Code != 250 {
			return fmt.Errorf("%d %s", got.Code, got.Reply)
		}
		return nil
	})
	return r, postfix
}

// Python's smtplib: each way into TLS, each mechanism, and addresses in UTF-8.
func TestSmtplib(t *testing.T) {
	r, postfix := submitting(t)
	domain := fmt.Sprintf("people%d.test", r.number)
	utf8Options := []string{"SMTPUTF8", "BODY=8BITMIME"}
	for i, s := range []submission{
		{Port: portSubmission, TLS: "starttls", Mechanism: "PLAIN"},
		{Port: portSubmission, TLS: "starttls", Mechanism: "LOGIN", MailOptions: []string{"BODY=8BITMIME"}},
		{Port: portImplicit, TLS: "implicit", Mechanism: "LOGIN"},
		{Port: portImplicit, TLS: "implicit", Mechanism: "PLAIN", MailOptions: utf8Options, From: "jörg@clients.test", To: []string{"señora@" + domain}},
	} {
		if s.From == "" {
			s.From, s.To = "news@clients.test", []string{fmt.Sprintf("ada%d@%s", i, domain)}
		}
		s.Message = text(s.From, s.To[0], fmt.Sprint("smtplib ", i), 3)
		got := r.send(s)
		if got.Code != 250 {
			t.Fatalf("%d: %d %s, refused %v", i, got.Code, got.Reply, got.Refused)
		}
		for _, feature := range []string{"pipelining", "8bitmime", "smtputf8", "chunking", "dsn", "enhancedstatuscodes", "auth", "size"} {
			if _, offered := got.Features[feature]; !offered {
				t.Errorf("%d: the relay does not offer %s: %v", i, feature, got.Features)
			}
		}
		eventually(t, "it arrives, signed", func() error { return arrives(postfix, s.To[0], s.Message) })
	}
	r.settles(status.Ledger{Accepted: 5, Delivered: 5})

	refused := r.send(submission{Port: portSubmission, TLS: "starttls", Mechanism: "PLAIN", From: "eve@elsewhere.test",
		To: []string{"ada@" + domain}, Message: text("eve@elsewhere.test", "ada@"+domain, "another's", 0)})
	if refused.Code != 550 && len(refused.Refused) == 0 {
		t.Errorf("mail of a domain that is not the user's: %+v", refused)
	}
}

// arrives wants a message for the recipient that ends in these octets and bears a signature for each algorithm.
func arrives(postfix *peers.Postfix, recipient, message string) error {
	_, domain, _ := strings.Cut(recipient, "@")
	got, err := postfix.Messages(domain)
	if err != nil {
		return err
	}
	for _, m := range got {
		if m.Recipient != recipient {
			continue
		}
		received, err := m.Received()
		if err != nil {
			return err
		}
		if !strings.HasSuffix(string(received), message) || strings.Count(string(received), "DKIM-Signature:") != 2 {
			return fmt.Errorf("it arrived as\n%s", received)
		}
		return nil
	}
	return fmt.Errorf("nothing for %s", recipient)
}

// swaks: pipelined, with each mechanism, and TLS from the first octet.
func TestSwaks(t *testing.T) {
	r, postfix := submitting(t)
	domain := fmt.Sprintf("people%d.test", r.number)
	for i, arguments := range [][]string{
		{"--port", fmt.Sprint(portSubmission), "--tls", "--auth", "PLAIN"},
		{"--port", fmt.Sprint(portSubmission), "--tls", "--auth", "LOGIN", "--pipeline"},
		{"--port", fmt.Sprint(portImplicit), "--tls-on-connect", "--auth", "PLAIN", "--pipeline"},
	} {
		to := fmt.Sprintf("swaks%d@%s", i, domain)
		body := "From: news@clients.test\nTo: " + to + "\nSubject: swaks\nDate: Mon, 23 Nov 2026 09:00:00 +0000\nMessage-ID: <1@clients.test>\n\nA line.\n.\n..\nThe end."
		cmd := exec.Command("swaks", append(arguments, "--server", r.bind, "--timeout", "20s", "--auth-user", user, "--auth-password", password,
			"--tls-verify", "--tls-ca-path", caFile(), "--from", "news@clients.test", "--to", to, "--data", body)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, out)
		}
		eventually(t, "it arrives, signed", func() error {
			return arrives(postfix, to, strings.ReplaceAll(body, "\n", "\r\n")+"\r\n")
		})
	}
	r.settles(status.Ledger{Accepted: 4, Delivered: 4})
}
