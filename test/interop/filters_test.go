//go:build interop

package interop

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/status"
	"github.com/postrider/postrider/test/peers"
)

// inbox takes mail of strangers for a domain, after a filter, into Dovecot.
const inbox = kind + `
  listeners: [{name: smtp, port: 25, mode: Relay}]
  routes: [{name: mailboxes, match: {recipientDomains: [inbox.test]}, lmtp: {host: {net}.24}}]
`

// rspamd, over HTTP: what it calls spam is refused, all else arrives; while it does not answer, clients are told to come
// back.
func TestRspamd(t *testing.T) {
	p := newPlace(t)
	p.mailboxes("inbox.test")
	rspamd, err := peers.StartRspamd(p.path("rspamd"), p.ip(11))
	p.must(err)
	p.stopAfter(rspamd.Stop)
	r := p.relay(inbox + `
  filters: [{name: spam, rspamd: {url: "http://{net}.11:11333"}, timeoutSeconds: 20}]
`)
	const gtube = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
	ham := submission{From: "stranger@elsewhere.test", To: []string{"ada@inbox.test"},
		Message: text("stranger@elsewhere.test", "ada@inbox.test", "ham", 3)}
	spam := ham
	spam.Message += lines(gtube)
	r.accepts(ham)
	if got := r.send(spam); got.Code != 550 && got.Code != 554 {
		t.Errorf("spam: %d %s", got.Code, got.Reply)
	}
	r.settles(status.Ledger{Accepted: 1, Delivered: 1})

	p.must(rspamd.Stop())
	if got := r.send(ham); got.Code != 451 {
		t.Errorf("without rspamd: %d %s", got.Code, got.Reply)
	}
}

// OpenDKIM, over the milter protocol: a signature that was broken on the way refuses the message, a good one does not.
func TestOpenDKIM(t *testing.T) {
	p := newPlace(t)
	p.mailboxes("inbox.test")
	opendkim, err := peers.StartOpenDKIM(p.path("opendkim"), p.ip(11), resolver)
	p.must(err)
	p.stopAfter(opendkim.Stop)
	r := p.relay(inbox + `
  filters: [{name: signatures, milter: {host: {net}.11, port: 8891}}]
`)
	message := text("stranger@signed.example", "ada@inbox.test", "signed", 3)
	var signed struct{ Signature, Record string }
	p.must(python("testdata/sign.py", []byte(message), &signed))
	p.dns("s._domainkey.signed.example", "TXT "+peers.TXT(signed.Record))
	good := submission{From: "stranger@signed.example", To: []string{"ada@inbox.test"}, Message: signed.Signature + message}
	broken := good
	broken.Message = strings.Replace(broken.Message, "two dots", "too dots", 1)
	r.accepts(good)
	if got := r.send(broken); got.Code != 550 && got.Code != 554 {
		t.Errorf("a broken signature: %d %s", got.Code, got.Reply)
	}
	r.settles(status.Ledger{Accepted: 1, Delivered: 1})
	got, err := p.mailbox("ada@inbox.test")
	p.must(err)
	if !strings.Contains(got[0], "\r\nAuthentication-Results: opendkim.test; dkim=pass") {
		t.Errorf("what OpenDKIM found does not stand in the header:\n%s", got[0])
	}

	p.must(opendkim.Stop())
	if got := r.send(good); got.Code != 451 {
		t.Errorf("without OpenDKIM: %d %s", got.Code, got.Reply)
	}
}
