//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/status"
	"github.com/postrider/postrider/test/peers"
)

// mailboxes is a Dovecot with some.
func (p *place) mailboxes(domain string) *peers.Dovecot {
	p.t.Helper()
	dovecot, err := peers.StartDovecot(peers.DovecotOptions{
		Dir: p.path("dovecot"), Address: p.ip(24),
		Users: map[string]string{"ada@" + domain: password, "bob@" + domain: password, "full@" + domain: password},
		Quota: map[string]int{"full@" + domain: 1000},
	})
	p.must(err)
	p.stopAfter(dovecot.Stop)
	return dovecot
}

// mailbox is what a user of Dovecot sees over IMAP.
func (p *place) mailbox(name string) ([]string, error) {
	input, err := json.Marshal(map[string]any{"host": p.ip(24), "port": peers.IMAPPort, "user": name, "password": password})
	if err != nil {
		return nil, err
	}
	var messages []string
	return messages, python("testdata/imap.py", input, &messages)
}

// Of three recipients one has a mailbox, one is refused at once and one only after the message: each has its own outcome,
// the reader finds the message over IMAP, and the sender a DSN that names the other two.
func TestDovecotPerRecipient(t *testing.T) {
	p := newPlace(t)
	p.mailboxes("box.test")
	r := p.relay(trusting + `
  routes: [{name: mailboxes, match: {recipientDomains: [box.test]}, lmtp: {host: {net}.24}}]
`)
	message := text("bob@box.test", "ada@box.test", "for three", 100)
	r.accepts(submission{Source: p.ip(trusted), From: "bob@box.test", Message: message,
		To: []string{"ada@box.test", "nobody@box.test", "full@box.test"}})
	eventually(t, "ada reads it", func() error {
		got, err := p.mailbox("ada@box.test")
		if err == nil && (len(got) != 1 || !strings.HasSuffix(utf8(got[0]), message)) {
			err = fmt.Errorf("ada has %q", got)
		}
		return err
	})
	var told []notice
	eventually(t, "bob is told of both others", func() error {
		got, err := p.mailbox("bob@box.test")
		if err != nil {
			return err
		}
		if told, err = notices(got); err != nil {
			return err
		}
		named := 0
		for _, n := range told {
			named += len(n.Recipients)
		}
		if named != 2 {
			return fmt.Errorf("%d recipients are named in %v", named, told)
		}
		return nil
	})
	for _, n := range told {
		for _, recipient := range n.Recipients {
			_, address, _ := strings.Cut(recipient["Final-Recipient"], "; ")
			n.action(t, address, "failed", map[string]string{"nobody@box.test": "5.1.1", "full@box.test": "5.2.2"}[address])
		}
	}
	dsns := int64(len(told))
	r.settles(status.Ledger{Accepted: 3 + dsns, Delivered: 1 + dsns, Failed: 2})
}

// utf8 undoes that Python gave each octet as a character.
func utf8(latin1 string) string {
	var octets []byte
	for _, r := range latin1 {
		octets = append(octets, byte(r))
	}
	return string(octets)
}

// A stranger's recipient without a mailbox is refused at RCPT, and while Dovecot is down nobody is accepted.
func TestDovecotIsAsked(t *testing.T) {
	p := newPlace(t)
	dovecot := p.mailboxes("asked.test")
	r := p.relay(kind + `
  listeners: [{name: smtp, port: 25, mode: Relay}]
  routes: [{name: mailboxes, match: {recipientDomains: [asked.test]}, lmtp: {host: {net}.24}}]
`)
	c := r.dial(portSMTP)
	r.say(c, 250, "MAIL FROM:<stranger@elsewhere.test>")
	r.say(c, 250, "RCPT TO:<ada@asked.test>")
	if reply := r.say(c, 550, "RCPT TO:<nobody@asked.test>"); !strings.HasPrefix(reply, "5.1.1") {
		t.Errorf("the reply is 550 %s", reply)
	}
	r.say(c, 550, "RCPT TO:<ada@other.test>") // it is no open relay
	r.say(c, 250, "RSET")

	p.must(dovecot.Stop())
	r.say(c, 250, "MAIL FROM:<stranger@elsewhere.test>")
	r.say(c, 250, "RCPT TO:<ada@asked.test>") // the answer is remembered
	r.say(c, 45, "RCPT TO:<bob@asked.test>")  // 45x
}
