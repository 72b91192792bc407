//go:build interop

package interop

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/status"
	"github.com/postrider/postrider/test/peers"
)

// kind begins every MailRelay here; what a scenario adds stands in its spec.
const kind = `apiVersion: postrider.dev/v1alpha1
kind: MailRelay
metadata: {name: r}
spec:
  hostname: {hostname}
  postmaster: ops@relay.test
  queue: {storage: {size: 1Gi}, retry: {initialSeconds: 1, maxSeconds: 2}}
`

// trusting takes mail from the scenario's clients at {net}.9 for anywhere, and sends it to MX hosts.
const trusting = kind + `
  listeners: [{name: smtp, port: 25, mode: Relay}]
  access: {trustedCIDRs: [{net}.9/32], undeclaredSenders: Accept}
`

const toMX = `
  routes: [{name: internet, mx: {port: 25, allowCIDRs: [127.0.0.0/8, "fd00::/16"]}}]
`

// trusted is the last octet of the address of clients that may relay.
const trusted = 9

// Mail goes to Postfix by MX records that Unbound knows, over IPv4 and IPv6, encrypted, in chunks, and unchanged; what the
// sender wants to be told, Postfix tells it.
func TestPostfixAsMX(t *testing.T) {
	p := newPlace(t)
	v4, v6 := p.ip(25), p.ip6(25)
	postfix := p.postfix(peers.PostfixOptions{Address: v4 + ", " + v6, Hostname: "mx.postfix.test", Domain: "postfix.test"})
	p.dns("mx4.postfix.test", "A "+v4)
	p.dns("mx6.postfix.test", "AAAA "+v6)
	p.dns("v4.postfix.test", "MX 10 mx4.postfix.test.")
	p.dns("v6.postfix.test", "MX 10 mx6.postfix.test.")
	r := p.relay(trusting + toMX)

	const sender = "sender@back.postfix.test"
	for domain, more := range map[string]int{"v4.postfix.test": 3, "v6.postfix.test": 30_000} {
		message := text(sender, "ada@"+domain, "over "+domain, more)
		r.accepts(submission{
			Source: p.ip(trusted), From: sender, To: []string{"ada@" + domain}, Message: message,
			MailOptions: []string{"BODY=8BITMIME", "RET=HDRS", "ENVID=" + domain + "+2Bid"},
			RcptOptions: []string{"NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;first@" + domain},
		})
		eventually(t, "Postfix has it as it was sent", func() error { return has(postfix, domain, message) })
		eventually(t, "Postfix tells the sender", func() error { return tells(postfix, domain) })
	}
	r.settles(status.Ledger{Accepted: 2, Delivered: 2})

	if err := r.stop(); err != nil { // so that its connections end, and Postfix counts the commands
		t.Fatal(err)
	}
	eventually(t, "Postfix says that both came encrypted, the short one in a chunk", func() error {
		log := postfixLog(p)
		if !strings.Contains(log, " starttls=1 mail=1 rcpt=1 bdat=1 quit=1 ") || !strings.Contains(log, " starttls=1 mail=1 rcpt=1 data=1 quit=1 ") {
			return errors.New(log)
		}
		return nil
	})
}

func postfixLog(p *place) string {
	log, err := os.ReadFile(p.path("postfix/postfix.log"))
	if err != nil {
		return err.Error()
	}
	return string(log)
}

// has wants one message in the domain, which ends in these very octets: the relay puts its Received on top.
func has(postfix *peers.Postfix, domain, message string) error {
	got, err := postfix.Messages(domain)
	if err != nil {
		return err
	}
	if len(got) != 1 {
		return fmt.Errorf("there are %d messages in %s", len(got), domain)
	}
	received, err := got[0].Received()
	if err != nil {
		return err
	}
	top, changed := bytes.CutSuffix(received, []byte(message))
	if !changed || !strings.HasPrefix(string(top), "Received: from ") {
		return fmt.Errorf("it arrived as\n%.2000s", received)
	}
	return nil
}

// tells wants Postfix's own DSN: it was given what the sender had asked for.
func tells(postfix *peers.Postfix, domain string) error {
	got, err := postfix.Messages("back.postfix.test")
	if err != nil {
		return err
	}
	for _, m := range got {
		if s := string(m.Raw); strings.Contains(s, "Original-Envelope-Id: "+domain+"+id") &&
			strings.Contains(s, "Original-Recipient: rfc822;first@"+domain) && strings.Contains(s, "Action: delivered") {
			return nil
		}
	}
	return fmt.Errorf("%d DSNs, none of them about %s", len(got), domain)
}

// While the primary is down its mail is taken and held. When it is back it is found so, and gets everything; what it
// would refuse, the backup refuses then.
func TestPostfixAsPrimary(t *testing.T) {
	const messages = 20
	p := newPlace(t)
	postfix := p.postfix(peers.PostfixOptions{Address: p.ip(25), Hostname: "mx.primary.test", Domain: "primary.test",
		Extra: "smtpd_recipient_restrictions = check_recipient_access inline:{{nobody@primary.test = 550 5.1.1 no such mailbox}}\n"})
	p.must(postfix.Stop())
	p.dns("mx.primary.test", "A "+p.ip(25))
	r := p.relay(kind + `
  listeners: [{name: smtp, port: 25, mode: Relay}]
  routes:
  - {name: primary, match: {recipientDomains: [primary.test]}, backup: {primary: {host: mx.primary.test}, probeSeconds: 1}}
`)
	for i := range messages {
		message := text("stranger@elsewhere.test", "ada@primary.test", fmt.Sprint("held ", i), 3)
		r.accepts(submission{From: "stranger@elsewhere.test", To: []string{"ada@primary.test"}, Message: message})
	}
	eventually(t, "the relay says that the primary is down", func() error {
		s, err := r.status()
		if err != nil || s.Queue.Queued == messages && len(s.Slowest) == 1 && s.Slowest[0].Reason == status.NextHopDown {
			return err
		}
		return fmt.Errorf("status is %+v", s)
	})

	p.must(postfix.Start())
	eventually(t, "Postfix has everything", func() error {
		got, err := postfix.Messages("primary.test")
		if err == nil && len(got) != messages {
			err = fmt.Errorf("%d of %d messages", len(got), messages)
		}
		return err
	})
	r.settles(status.Ledger{Accepted: messages, Delivered: messages})
	eventually(t, "the primary is asked again about recipients", func() error {
		c := r.dial(portSMTP)
		defer c.Close()
		r.say(c, 250, "MAIL FROM:<stranger@elsewhere.test>")
		r.must(c.PrintfLine("RCPT TO:<nobody@primary.test>"))
		_, _, err := c.ReadResponse(550)
		return err
	})
	c := r.dial(portSMTP)
	r.say(c, 250, "MAIL FROM:<stranger@elsewhere.test>")
	if reply := r.say(c, 550, "RCPT TO:<nobody@primary.test>"); !strings.HasPrefix(reply, "5.1.1") {
		t.Errorf("the reply is 550 %s", reply)
	}
	r.say(c, 250, "RCPT TO:<ada@primary.test>")
}
