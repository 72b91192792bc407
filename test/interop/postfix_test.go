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

// trusting takes mail from the scenario's clients at {net}.9 and {net6}9 for anywhere.
const trusting = kind + `
  listeners: [{name: smtp, port: 25, mode: Relay}]
  access: {trustedCIDRs: [{net}.9/32, "{net6}9/128"], undeclaredSenders: Accept}
`

const toMX = `
  routes: [{name: internet, mx: {port: 25, allowCIDRs: [127.0.0.0/8, "fd00::/16"]}}]
`

// trusted is the last octet of the address of clients that may relay.
const trusted = 9

// Mail goes to Postfix by MX records that Unbound knows, over IPv4 alone and over IPv6 alone, encrypted, and unchanged;
// what the sender wants to be told, Postfix tells it.
func TestPostfixAsMX(t *testing.T) {
	for _, family := range []string{"IPv4", "IPv6"} {
		t.Run(family, func(t *testing.T) {
			p := newPlace(t)
			at, dns, record := p.ip, resolver, "A "
			if family == "IPv6" {
				at, dns, record = p.ip6, resolver6, "AAAA "
			}
			domain := strings.ToLower(family) + ".test"
			postfix := p.postfix(peers.PostfixOptions{Address: at(25), Hostname: "mx." + domain, Domain: domain})
			p.dns("mx."+domain, record+at(25))
			p.dns(domain, "MX 10 mx."+domain+".")
			p.dns("long."+domain, "MX 10 mx."+domain+".")
			p.toPostfix(postfix, p.relayAt(at(relayHost), dns, trusting+toMX), domain, at(trusted))
		})
	}
}

func (p *place) toPostfix(postfix *peers.Postfix, r *relay, domain, client string) {
	p.t.Helper()
	sender := "sender@back." + domain
	for to, more := range map[string]int{domain: 3, "long." + domain: 30_000} {
		message := text(sender, "ada@"+to, "to "+to, more)
		r.accepts(submission{
			Source: client, From: sender, To: []string{"ada@" + to}, Message: message,
			MailOptions: []string{"BODY=8BITMIME", "RET=HDRS", "ENVID=" + to + "+2Bid"},
			RcptOptions: []string{"NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;first@" + to},
		})
		eventually(p.t, "Postfix has it as it was sent", func() error { return has(postfix, to, message) })
		eventually(p.t, "Postfix tells the sender", func() error { return tells(postfix, "back."+domain, to) })
	}
	r.settles(status.Ledger{Accepted: 2, Delivered: 2})
	p.must(r.stop()) // so that its connections end, and Postfix counts the commands
	eventually(p.t, "Postfix says that both came encrypted, the short one in a chunk", func() error {
		log := postfixLog(p)
		if strings.Count(log, " bdat=1 ") != 1 || strings.Count(log, " data=1 ") != 1 || strings.Count(log, " starttls=1 ") != strings.Count(log, "disconnect from ") {
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
func tells(postfix *peers.Postfix, back, domain string) error {
	got, err := postfix.Messages(back)
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

// What a next hop cannot take is bounced, not mangled: an address in UTF-8 to one without SMTPUTF8.
func TestPostfixWithoutUTF8(t *testing.T) {
	p := newPlace(t)
	postfix := p.postfix(peers.PostfixOptions{Address: p.ip(25), Hostname: "mx.ascii.test", Domain: "ascii.test", Extra: "smtputf8_enable = no\n"})
	p.dns("mx.ascii.test", "A "+p.ip(25))
	p.dns("ascii.test", "MX 10 mx.ascii.test.")
	r := p.relay(trusting + toMX)
	r.accepts(submission{Source: p.ip(trusted), From: "sender@ascii.test", To: []string{"jörg@ascii.test"}, MailOptions: []string{"SMTPUTF8", "BODY=8BITMIME"},
		Message: text("sender@ascii.test", "jörg@ascii.test", "to UTF-8", 3)})
	var told []notice
	eventually(t, "the sender is told", func() error {
		got, err := postfix.Messages("ascii.test")
		if err != nil {
			return err
		}
		var raw []string
		for _, m := range got {
			raw = append(raw, string(m.Raw))
		}
		if told, err = notices(raw); err == nil && len(told) != 1 {
			err = fmt.Errorf("%d messages, %d notices", len(got), len(told))
		}
		return err
	})
	if got := told[0].Recipients; len(got) != 1 || got[0]["Action"] != "failed" || got[0]["Status"] != "5.6.7" || !strings.HasPrefix(got[0]["Final-Recipient"], "utf-8;") {
		t.Errorf("it says %v", got)
	}
	r.settles(status.Ledger{Accepted: 2, Delivered: 1, Failed: 1})
}
