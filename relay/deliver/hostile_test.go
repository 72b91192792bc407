package deliver_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/route"
	"github.com/postrider/postrider/relay/smtptest"
)

// waitFor waits until a peer has heard some verbs, in this order, whatever else it heard between them.
func waitFor(t *testing.T, p *smtptest.Peer, verbs string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		missing := strings.Fields(verbs)
		for _, line := range p.Lines() {
			if len(missing) > 0 && strings.HasPrefix(line, missing[0]) {
				missing = missing[1:]
			}
		}
		if len(missing) == 0 {
			return
		}
	}
	t.Errorf("did not hear %s in %q", verbs, p.Lines())
}

func TestStaleConnectionsAreReplacedUnnoticed(t *testing.T) {
	for name, second := range map[string]smtptest.Step{
		"closes at MAIL": {Close: true},
		"421 at MAIL":    {Send: "421 4.4.2 idle for too long\r\n", Close: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, smtptest.Script{Steps: map[string][]smtptest.Step{"MAIL": {smtptest.Reply("250 ok"), second}}})
			c := newClient(t)
			for range 3 {
				wantReplies(t, do(t, c, mail("a@x.test"), plan(hop(p.Port()))), "250")
			}
			if p.Connections() != 3 {
				t.Errorf("%d connections", p.Connections())
			}
		})
	}
}

func TestASessionWithAnOpenTransactionIsResetFirst(t *testing.T) {
	p := newPeer(t, smtptest.Script{Steps: map[string][]smtptest.Step{
		"RCPT": {smtptest.Reply("550 5.1.1 no"), smtptest.Reply("250 ok")}, "DATA": {smtptest.Reply("503 5.5.1 no"), smtptest.Reply("354 go")}}})
	c := newClient(t)
	wantReplies(t, do(t, c, mail("a@x.test"), plan(hop(p.Port()))), "550 5.1.1")
	wantReplies(t, do(t, c, mail("b@x.test"), plan(hop(p.Port()))), "250")
	want := []string{"DATA", "RSET", "MAIL FROM:<from@sender.test>", "RCPT TO:<b@x.test>", "DATA"}
	if lines := p.Lines(); len(lines) < len(want) || !slices.Equal(lines[len(lines)-len(want):], want) {
		t.Errorf("heard %q", lines)
	}
}

func TestHostilePeers(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for name, steps := range map[string]map[string][]smtptest.Step{
		"endless greeting":       {"GREETING": {{Endless: "220-welcome\r\n"}}},
		"endless greeting line":  {"GREETING": {{Send: "220 ", Endless: long}}},
		"endless EHLO":           {"EHLO": {{Endless: "250-X\r\n"}}},
		"endless zeros":          {"GREETING": {{Endless: strings.Repeat("\x00", 1000)}}},
		"non-digit code":         {"MAIL": {smtptest.Reply("abc ok")}},
		"code beyond its range":  {"MAIL": {smtptest.Reply("999 ok")}},
		"code 100":               {"MAIL": {smtptest.Reply("100 ok")}},
		"codes that differ":      {"MAIL": {smtptest.Reply("250-ok", "550 no")}},
		"empty line":             {"MAIL": {smtptest.Reply("")}},
		"short line":             {"MAIL": {smtptest.Reply("25")}},
		"code without separator": {"MAIL": {smtptest.Reply("2500 ok")}},
		"an octet at a time":     {"GREETING": {{Endless: "220-welcome\r\n", Every: 50 * time.Millisecond}}},
		"slow at RCPT":           {"RCPT": {{Send: "250 ok\r\n", Every: 100 * time.Millisecond}}},
		"slow after the message": {".": {{Send: "250 ok\r\n", Every: 100 * time.Millisecond}}},
		"endless after message":  {".": {{Endless: "250-ok\r\n"}}},
		"endless after a chunk":  {"EHLO": chunking, "BDAT": {{Endless: "250-ok\r\n"}}},
		"a line without end":     {"EHLO": chunking, "BDAT": {{Send: "250 ", Endless: long}}},
		"slow after a chunk":     {"EHLO": chunking, "BDAT": {{Send: "250 ok\r\n", Every: 100 * time.Millisecond}}},
		"no TLS handshake":       {"EHLO": {ehlo("STARTTLS")}, "STARTTLS": {{Send: "220 go\r\n\x16\x03", Endless: "\x00", Every: 50 * time.Millisecond}}},
		"replies before asked":   {"GREETING": {{Send: "220 hi\r\n250 hello\r\n250 mail\r\n250 rcpt\r\n354 data\r\n250 taken\r\n", Close: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, kind := range []route.Hop{hop(0), lmtp(0)} {
				if steps["EHLO"] != nil {
					steps["LHLO"] = steps["EHLO"]
				}
				p := newPeer(t, smtptest.Script{Steps: steps})
				kind.Port, kind.TLS = p.Port(), tlsFor(steps)
				start := time.Now()
				got := do(t, newImpatient(t), mail("a@x.test"), plan(kind))
				if len(got) != 1 || !slices.Contains([]string{"421 ", "451 ", "454 "}, got[0][:4]) {
					t.Errorf("got %.200q", got)
				}
				if took := time.Since(start); took > 15*time.Second {
					t.Errorf("took %s", took)
				}
			}
		})
	}
}

// Refusals that were sent before there was anything to refuse are no answers: they would bounce the mail.
func TestRepliesThatWereNotAskedForDecideNothing(t *testing.T) {
	p := newPeer(t, smtptest.Script{Steps: map[string][]smtptest.Step{
		"EHLO": {smtptest.Reply("250-peer.test", "250 PIPELINING", "550 5.7.1 no", "550 5.7.1 no", "550 5.7.1 no")}}})
	wantReplies(t, do(t, newClient(t), mail("a@x.test"), plan(hop(p.Port()))), "451 4.5.0")
}

// tlsFor wants TLS where the script has it: plaintext would be spoken otherwise, and the mail delivered.
func tlsFor(steps map[string][]smtptest.Step) config.HopTLS {
	if steps["STARTTLS"] != nil {
		return config.HopRequired
	}
	return config.HopOpportunistic
}

func TestReplyTextsAreKeptWithinBounds(t *testing.T) {
	p := newPeer(t, smtptest.Script{Steps: map[string][]smtptest.Step{
		".": {smtptest.Reply("550-5.7.1 \x1b[31mred\x00\xff", "550 5.7.1 "+strings.Repeat("x", 5000))}}})
	got := do(t, newClient(t), mail("a@x.test"), plan(hop(p.Port())))
	wantReplies(t, got, "550 5.7.1 ?[31mred??; xxx")
	if len(got[0]) > 2100 {
		t.Errorf("kept %d octets", len(got[0]))
	}
}

func TestALargeMessageThatIsRefusedHalfWay(t *testing.T) {
	// The peer answers as soon as it was asked for the content, and hangs up.
	p := newPeer(t, smtptest.Script{Steps: map[string][]smtptest.Step{
		"DATA": {{Send: "354 go\r\n552 5.3.4 enough\r\n"}}}})
	wantReplies(t, do(t, newClient(t), mail("a@x.test"), plan(hop(p.Port()))), "552 5.3.4 enough")
}
