package relay_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/smtptest"
	"github.com/postrider/postrider/relay/status"
)

// suppressing is a rig with a SendingDomain that has a list, and one that has none, before a sink that does not know
// anyone whose address begins with "gone".
func suppressing(t *testing.T, action config.SuppressionAction) (*rig, *smtptest.Sink) {
	t.Helper()
	sink := newSink(t, smtptest.Options{
		Replies: map[string]reply.Reply{
			"gone@example.net":  {Code: 550, Enhanced: "5.1.1", Text: "no such user"},
			"plain@example.net": {Code: 550, Text: "unknown"},
			"spam@example.net":  {Code: 550, Enhanced: "5.7.1", Text: "spam"},
		},
		Data: func(m smtptest.Message) reply.Reply {
			if m.To[0] == "picky@example.net" {
				return reply.Reply{Code: 550, Text: "not this"}
			}
			return reply.Reply{}
		},
	})
	r := newRig(t, func(r *rig) {
		r.routeTo(sink.Port())
		r.config.Domains = []config.Domain{
			{Name: "news.example", Suppression: &config.Suppression{Action: action, Seconds: 3600}}, {Name: "shop.example"},
		}
	})
	for _, d := range []string{"example.net", "news.example", "shop.example", "bounce.example"} {
		r.domain(d, "127.0.0.1")
	}
	return r, sink
}

// listed are the addresses on all lists.
func (r *rig) listed() string {
	r.t.Helper()
	var page admin.SuppressionPage
	if err := r.ask("GET", "/suppressions", "", &page); err != nil {
		r.t.Fatal(err)
	}
	var all []string
	for _, e := range page.Entries {
		all = append(all, e.Domain+":"+e.Address)
	}
	return strings.Join(all, " ")
}

// TestHardBouncesAreListed: and nothing else is, nor what strangers send.
func TestHardBouncesAreListed(t *testing.T) {
	r, _ := suppressing(t, config.SuppressReject)
	r.mustSend("a@news.example", "gone@example.net,plain@example.net,spam@example.net,here@example.net", message("a@news.example", "one"))
	r.mustSend("a@news.example", "picky@example.net", message("a@news.example", "two"))
	r.mustSend("a@shop.example", "gone@example.net", message("a@shop.example", "three"))
	r.drained()
	const want = "news.example:gone@example.net news.example:plain@example.net"
	r.eventually("two on the list", func() bool { return r.listed() == want })
	r.halt()
	r.start()
	if got := r.listed(); got != want {
		t.Errorf("after a restart %q are listed", got)
	}
}

// TestSuppressedAreRefused: at RCPT where the reverse path tells whose list it is, else once From does.
func TestSuppressedAreRefused(t *testing.T) {
	r, sink := suppressing(t, config.SuppressReject)
	r.suppress("news.example", "Gone@example.net")
	for _, tc := range []struct {
		name, from, to, author, want string
		ledger                       status.Ledger // what it adds
	}{
		{"at RCPT", "a@news.example", "gone@example.net", "a@shop.example", "550 5.1.1", status.Ledger{}},
		{"at the end", "b@bounce.example", "gone@example.net", "a@news.example", "550 5.1.1", status.Ledger{}},
		{"one of two", "b@bounce.example", "gone@example.net,here@example.net", "a@news.example", "", status.Ledger{Accepted: 2, Suppressed: 1, Delivered: 1}},
		{"another recipient", "a@news.example", "here@example.net", "a@news.example", "", status.Ledger{Accepted: 1, Delivered: 1}},
		{"another domain's mail", "a@shop.example", "gone@example.net", "a@shop.example", "", status.Ledger{Accepted: 2, Failed: 1, Delivered: 1}}, // the DSN
	} {
		before := r.status().Ledger
		err := r.send(tc.from, tc.to, message(tc.author, "x"))
		if got := codeOf(err); got != tc.want {
			t.Errorf("%s: answered %v, want %s", tc.name, err, tc.want)
		}
		r.drained()
		after := r.status().Ledger
		got := status.Ledger{Accepted: after.Accepted - before.Accepted, Suppressed: after.Suppressed - before.Suppressed,
			Delivered: after.Delivered - before.Delivered, Failed: after.Failed - before.Failed}
		if got != tc.ledger {
			t.Errorf("%s: booked %+v, want %+v", tc.name, got, tc.ledger)
		}
	}
	if n := sink.Recipients(); n != 3 {
		t.Errorf("the sink has %d recipients, want here@ twice and a DSN", n)
	}
}

// TestSuppressedAreDropped: the client hears nothing of it, the ledger and the log do.
func TestSuppressedAreDropped(t *testing.T) {
	r, sink := suppressing(t, config.SuppressDrop)
	r.suppress("news.example", "gone@example.net")
	r.mustSend("a@news.example", "gone@example.net", message("a@news.example", "none left"))
	r.mustSend("a@news.example", "gone@example.net,here@example.net", message("a@news.example", "one left"))
	r.drained()
	if l := r.status().Ledger; l.Accepted != 3 || l.Suppressed != 2 || l.Delivered != 1 || sink.Accepted() != 1 {
		t.Errorf("ledger %+v, %d at the sink", l, sink.Accepted())
	}
}

// TestSuppressionEnds: by itself, or by an admin's act.
func TestSuppressionEnds(t *testing.T) {
	r, sink := suppressing(t, config.SuppressReject)
	r.post("/suppressions/add", `{"domain":"news.example","address":"here@example.net","seconds":1}`)
	r.post("/suppressions/add", `{"domain":"news.example","address":"there@example.net"}`)
	if err := r.send("a@news.example", "there@example.net", message("a@news.example", "x")); codeOf(err) != "550 5.1.1" {
		t.Errorf("answered %v", err)
	}
	r.post("/suppressions/remove", `{"domain":"news.example","address":"there@example.net"}`)
	r.mustSend("a@news.example", "there@example.net", message("a@news.example", "x"))
	r.eventually("the entry to expire", func() bool { return r.listed() == "" })
	r.mustSend("a@news.example", "here@example.net", message("a@news.example", "x"))
	r.drained()
	if sink.Accepted() != 2 {
		t.Errorf("%d delivered", sink.Accepted())
	}
	if _, err := r.fetch("POST", "/suppressions/add", `{"domain":"shop.example","address":"a@example.net"}`); err == nil || !strings.Contains(err.Error(), "400") {
		t.Errorf("a domain without a list: %v", err)
	}
}

func (r *rig) suppress(domain, address string) {
	r.t.Helper()
	r.post("/suppressions/add", `{"domain":"`+domain+`","address":"`+address+`","reason":"told so"}`)
}

func (r *rig) post(path, body string) {
	r.t.Helper()
	if _, err := r.fetch("POST", path, body); err != nil {
		r.t.Fatal(err)
	}
}

// codeOf is the code and enhanced code of a refusal; empty for none.
func codeOf(err error) string {
	var refused *smtp.SMTPError
	if err == nil {
		return ""
	}
	if !errors.As(err, &refused) {
		return err.Error()
	}
	e := refused.EnhancedCode
	return fmt.Sprintf("%d %d.%d.%d", refused.Code, e[0], e[1], e[2])
}
