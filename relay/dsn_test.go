package relay_test

import (
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/smtptest"
)

// sendAsking sends one message to several recipients, each with what its sender wants to hear.
func (r *rig) sendAsking(from string, o *smtp.MailOptions, to map[string][]smtp.DSNNotify, text string) {
	r.t.Helper()
	c, err := smtp.Dial(r.address("smtp"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	if err := c.Mail(from, o); err != nil {
		r.t.Fatal(err)
	}
	for address, notify := range to {
		if err := c.Rcpt(address, &smtp.RcptOptions{
			Notify: notify, OriginalRecipientType: smtp.DSNAddressTypeRFC822, OriginalRecipient: "first+" + address,
		}); err != nil {
			r.t.Fatal(err)
		}
	}
	w, err := c.Data()
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err = w.Write([]byte(strings.ReplaceAll(text, "\n", "\r\n"))); err == nil {
		err = w.Close()
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// dsns are the notices among a sink's messages, by their action.
func dsns(t *testing.T, sink *smtptest.Sink) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, m := range sink.Messages() {
		if m.From != "" {
			continue
		}
		_, rest, _ := strings.Cut(string(m.Data), "\r\nAction: ")
		action, _, _ := strings.Cut(rest, "\r\n")
		if found[action] != "" {
			t.Errorf("two DSNs that say %s", action)
		}
		found[action] = string(m.Data)
	}
	return found
}

// TestDSNsAsAsked: from the parameters of MAIL and RCPT to what the sender gets, with next hops that know DSNs, that
// do not, and that are mailboxes.
func TestDSNsAsAsked(t *testing.T) {
	always := []smtp.DSNNotify{smtp.DSNNotifySuccess, smtp.DSNNotifyFailure, smtp.DSNNotifyDelayed}
	never := []smtp.DSNNotify{smtp.DSNNotifyNever}
	no := reply.Reply{Code: 550, Enhanced: "5.1.1", Text: "no such user here"}
	replies := map[string]reply.Reply{"gone@example.net": no, "quiet@example.net": no, "silent@example.net": no}
	plain := newSink(t, smtptest.Options{Replies: replies})
	knowing := newSink(t, smtptest.Options{Offer: []string{"DSN"}})
	mailbox := newSink(t, smtptest.Options{LMTP: true})
	r := newRig(t, func(r *rig) {
		r.config.Relay.Routes = []config.Route{
			{Name: "boxes", Match: config.Match{RecipientDomains: []string{"box.example"}}, LMTP: &config.LMTP{Host: "127.0.0.1", Port: mailbox.Port()}},
			{Name: "knows", Match: config.Match{RecipientDomains: []string{"knows.example"}},
				SmartHosts: []config.SmartHost{{Host: "127.0.0.1", Port: knowing.Port(), TLS: config.HopNone}}},
			{Name: "internet", MX: &config.MX{Port: plain.Port(), AllowCIDRs: []string{"127.0.0.0/8"}}},
		}
	})
	r.domain("example.net", "127.0.0.1")
	r.domain("example.org", "127.0.0.1")
	r.sendAsking("a@example.org", &smtp.MailOptions{Return: smtp.DSNReturnFull, EnvelopeID: "QQ 1+1"}, map[string][]smtp.DSNNotify{
		"gone@example.net": always, "here@example.net": always, "quiet@example.net": never, "silent@example.net": {smtp.DSNNotifySuccess},
		"bob@box.example": always, "eve@box.example": {smtp.DSNNotifyFailure}, "carol@knows.example": always,
	}, message("a@example.org", "one"))
	r.drained()

	got := dsns(t, plain)
	for action, who := range map[string]string{"failed": "gone@example.net", "relayed": "here@example.net", "delivered": "bob@box.example"} {
		for _, want := range []string{
			"\r\nOriginal-Envelope-Id: QQ 1+1\r\n", "\r\nOriginal-Recipient: RFC822;first+" + who + "\r\n", "\r\nFinal-Recipient: rfc822; " + who + "\r\n",
		} {
			if !strings.Contains(got[action], want) {
				t.Errorf("%s lacks %q:\n%s", action, want, got[action])
			}
		}
		if strings.Count(got[action], "Final-Recipient: ") != 1 {
			t.Errorf("%s names others:\n%s", action, got[action])
		}
		whole := strings.Contains(got[action], "message/rfc822") && strings.Contains(got[action], "\r\nHello.\r\n.dots are kept\r\n")
		if whole != (action == "failed") {
			t.Errorf("%s returns the message whole: %v", action, whole)
		}
	}
	if len(got) != 3 {
		t.Errorf("%d DSNs, want 3", len(got))
	}
	if m := knowing.Messages(); len(m) != 1 || !strings.Contains(m[0].RecipientParams[0], "NOTIFY=") {
		t.Errorf("the next hop that knows DSNs was not told: %+v", m)
	}
}

// TestALostDSNIsBooked: nobody is told that it is lost.
func TestALostDSNIsBooked(t *testing.T) {
	no := reply.Reply{Code: 550, Enhanced: "5.1.1", Text: "no such user here"}
	sink := newSink(t, smtptest.Options{Replies: map[string]reply.Reply{"@example.net": no, "@example.org": no}})
	r := newRig(t, func(r *rig) { r.routeTo(sink.Port()) })
	r.domain("example.net", "127.0.0.1")
	r.domain("example.org", "127.0.0.1")
	r.mustSend("a@example.org", "gone@example.net", message("a@example.org", "one"))
	r.drained()
	if l := r.status().Ledger; l.Accepted != 2 || l.Failed != 2 || sink.Accepted() != 0 {
		t.Errorf("ledger %+v, %d at the sink", l, sink.Accepted())
	}
}

// TestADelayIsToldOnce: to who gave us the mail.
func TestADelayIsToldOnce(t *testing.T) {
	tries := 0
	sink := newSink(t, smtptest.Options{Data: func(m smtptest.Message) reply.Reply {
		if m.From == "" {
			return reply.Reply{}
		}
		if tries++; tries < 4 {
			return reply.Reply{Code: 451, Enhanced: "4.7.1", Text: "greylisted"}
		}
		return reply.Reply{}
	}})
	r := newRig(t, func(r *rig) {
		r.routeTo(sink.Port())
		r.config.Relay.Queue.DelayWarningSeconds = 1
	})
	r.domain("example.net", "127.0.0.1")
	r.domain("example.org", "127.0.0.1")
	r.mustSend("a@example.org", "b@example.net", message("a@example.org", "one"))
	r.drained()
	got := dsns(t, sink)
	if len(got) != 1 || !strings.Contains(got["delayed"], "\r\nWill-Retry-Until: ") || !strings.Contains(got["delayed"], "\r\nStatus: 4.7.1\r\n") {
		t.Errorf("want one DSN that says delayed, got %q", got)
	}
}
