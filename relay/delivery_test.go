package relay_test

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/smtptest"
	"github.com/postrider/postrider/relay/status"
)

func TestDeliversToTheMX(t *testing.T) {
	sink := newSink(t, smtptest.Options{})
	r := newRig(t, func(r *rig) { r.routeTo(sink.Port()) })
	r.domain("example.net", "127.0.0.1")
	r.mustSend("a@example.org", "b@example.net,c@example.net", message("a@example.org", "one"))
	r.drained()
	got := sink.Messages()
	if len(got) != 1 || got[0].From != "a@example.org" || len(got[0].To) != 2 {
		t.Fatalf("the sink has %+v; want one transaction for both recipients", got)
	}
	if !bytes.HasPrefix(got[0].Data, []byte("Received: from ")) || !bytes.HasSuffix(got[0].Data, []byte("\r\n\r\nHello.\r\n.dots are kept\r\n")) {
		t.Errorf("delivered:\n%s", got[0].Data)
	}
	if l := r.status().Ledger; l.Accepted != 2 || l.Delivered != 2 {
		t.Errorf("ledger %+v", l)
	}
}

func TestEachDomainGetsItsCopy(t *testing.T) {
	sink := newSink(t, smtptest.Options{})
	r := newRig(t, func(r *rig) { r.routeTo(sink.Port()) })
	r.domain("example.net", "127.0.0.1")
	r.domain("example.com", "127.0.0.1")
	r.mustSend("a@example.org", "b@example.net,c@example.com", message("a@example.org", "one"))
	r.drained()
	if n := sink.Accepted(); n != 2 {
		t.Errorf("%d transactions, want one per domain", n)
	}
}

func TestFallsBackToTheNextMX(t *testing.T) {
	sink := newSink(t, smtptest.Options{Addr: "127.0.0.3:0"})
	r := newRig(t, func(r *rig) { r.routeTo(sink.Port()) })
	r.domain("example.net", "127.0.0.2", "127.0.0.3") // nobody listens on the first
	r.mustSend("a@example.org", "b@example.net", message("a@example.org", "one"))
	r.drained()
	if n := sink.Accepted(); n != 1 {
		t.Errorf("the second MX has %d messages", n)
	}
}

func TestDefersAndTriesAgain(t *testing.T) {
	busy := reply.Reply{Code: 451, Enhanced: "4.7.1", Text: "greylisted"}
	tries := 0
	sink := newSink(t, smtptest.Options{Data: func(smtptest.Message) reply.Reply {
		if tries++; tries == 1 {
			return busy
		}
		return reply.Reply{}
	}})
	r := newRig(t, func(r *rig) { r.routeTo(sink.Port()) })
	r.domain("example.net", "127.0.0.1")
	r.mustSend("a@example.org", "b@example.net", message("a@example.org", "one"))
	r.eventually("the deferral to show", func() bool {
		s := r.status()
		return s.Queue.Deferred == 1 && len(s.Slowest) == 1 && s.Slowest[0].Reason == status.Deferred &&
			s.Slowest[0].Reply == busy.String() && s.Queue.Oldest != nil
	})
	r.drained()
	if tries != 2 || sink.Accepted() != 1 {
		t.Errorf("%d tries, %d accepted", tries, sink.Accepted())
	}
}

func TestBouncesToTheSender(t *testing.T) {
	no := reply.Reply{Code: 550, Enhanced: "5.1.1", Text: "no such user here"}
	sink := newSink(t, smtptest.Options{Replies: map[string]reply.Reply{"gone@example.net": no}})
	r := newRig(t, func(r *rig) { r.routeTo(sink.Port()) })
	r.domain("example.net", "127.0.0.1")
	r.domain("example.org", "127.0.0.1")
	r.mustSend("a@example.org", "gone@example.net,here@example.net", message("a@example.org", "one"))
	r.drained()
	var dsn *smtptest.Message
	for _, m := range sink.Messages() {
		if m.From == "" {
			dsn = &m
		}
	}
	if dsn == nil || len(dsn.To) != 1 || dsn.To[0] != "a@example.org" {
		t.Fatalf("no DSN for the sender in %+v", sink.Messages())
	}
	for _, want := range []string{"multipart/report", "Final-Recipient: rfc822; gone@example.net", "Action: failed", "Status: 5.1.1",
		"no such user here", "Subject: one"} {
		if !strings.Contains(string(dsn.Data), want) {
			t.Errorf("the DSN lacks %q:\n%s", want, dsn.Data)
		}
	}
	if strings.Contains(string(dsn.Data), "here@example.net;") || r.status().Ledger.Failed != 1 {
		t.Errorf("ledger %+v", r.status().Ledger)
	}
}

func TestNeverBouncesABounce(t *testing.T) {
	no := reply.Reply{Code: 550, Enhanced: "5.1.1", Text: "no such user here"}
	sink := newSink(t, smtptest.Options{Replies: map[string]reply.Reply{"gone@example.net": no}})
	r := newRig(t, func(r *rig) { r.routeTo(sink.Port()) })
	r.domain("example.net", "127.0.0.1")
	r.mustSend("", "gone@example.net", message("mailer-daemon@example.org", "one"))
	r.drained()
	if l := r.status().Ledger; l.Accepted != 1 || l.Failed != 1 || sink.Accepted() != 0 {
		t.Errorf("ledger %+v, %d delivered", l, sink.Accepted())
	}
}

func TestUnknownDomainBouncesAtOnce(t *testing.T) {
	sink := newSink(t, smtptest.Options{})
	r := newRig(t, func(r *rig) { r.routeTo(sink.Port()) })
	r.domain("example.org", "127.0.0.1")
	r.mustSend("a@example.org", "b@nowhere.example", message("a@example.org", "one"))
	r.drained()
	if got := sink.Messages(); len(got) != 1 || !strings.Contains(string(got[0].Data), "Status: 5.1.2") {
		t.Errorf("want one DSN with 5.1.2, got %q", contents(got))
	}
}

func TestExpires(t *testing.T) {
	sink := newSink(t, smtptest.Options{Replies: map[string]reply.Reply{
		"@example.net": {Code: 450, Enhanced: "4.2.1", Text: "mailbox busy"},
	}})
	r := newRig(t, func(r *rig) {
		r.routeTo(sink.Port())
		r.config.Relay.Queue.MaxMessageAgeSeconds = 1
	})
	r.domain("example.net", "127.0.0.1")
	r.domain("example.org", "127.0.0.1")
	r.mustSend("a@example.org", "b@example.net", message("a@example.org", "one"))
	r.drained()
	got := sink.Messages()
	if len(got) != 1 || !strings.Contains(string(got[0].Data), "mailbox busy") || !strings.Contains(string(got[0].Data), "Status: 5.4.7") {
		t.Errorf("want a DSN that says expired (5.4.7) with the last reply, got %q", contents(got))
	}
}

func TestKeepsMailOverARestart(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := closed.Addr().(*net.TCPAddr)
	closed.Close()
	r := newRig(t, func(r *rig) { r.routeTo(address.Port) })
	r.domain("example.net", "127.0.0.1")
	for i := range 20 {
		r.mustSend("a@example.org", "b@example.net", message("a@example.org", fmt.Sprint(i)))
	}
	r.halt()
	r.start()
	if q := r.status().Queue; q.Queued != 20 {
		t.Fatalf("after the restart %d are queued", q.Queued)
	}
	sink := newSink(t, smtptest.Options{Addr: address.String()})
	r.drained()
	if sink.Accepted() != 20 {
		t.Errorf("%d of 20 were delivered", sink.Accepted())
	}
}

func TestAdminActs(t *testing.T) {
	sink := newSink(t, smtptest.Options{Replies: map[string]reply.Reply{
		"@slow.example": {Code: 450, Enhanced: "4.2.1", Text: "later"},
	}})
	r := newRig(t, func(r *rig) {
		r.routeTo(sink.Port())
		r.config.Relay.Queue.RetryInitialSeconds, r.config.Relay.Queue.RetryMaxSeconds = 3600, 3600
	})
	r.domain("slow.example", "127.0.0.1")
	r.domain("example.org", "127.0.0.1")
	for i := range 3 {
		r.mustSend("a@example.org", fmt.Sprintf("u%d@slow.example", i), message("a@example.org", fmt.Sprint(i)))
	}
	r.eventually("all to be deferred", func() bool { return r.status().Queue.Deferred == 3 })

	page := r.page("domain=slow.example&limit=2")
	if len(page.Entries) != 2 || page.Next == "" {
		t.Fatalf("first page %+v", page)
	}
	first := page.Entries[0]
	page = r.page("domain=slow.example&limit=2&after=" + page.Next)
	if len(page.Entries) != 1 || page.Next != "" {
		t.Fatalf("second page %+v", page)
	}
	third := page.Entries[0]
	var detail admin.Detail
	if err := r.ask("GET", "/queue/"+string(first.ID), "", &detail); err != nil || !strings.Contains(detail.Header, "Subject: 0\r\n") {
		t.Errorf("detail %+v, %v", detail, err)
	}

	if got := r.act(admin.Hold, `{"domain":"slow.example","reason":"migration"}`); got.Entries != 3 {
		t.Errorf("held %+v", got)
	}
	if s := r.status(); s.Queue.Held != 3 || s.Slowest[0].Reason != status.Held {
		t.Errorf("status while held %+v", s)
	}
	r.act(admin.Delete, fmt.Sprintf(`{"id":%q}`, first.ID))
	r.act(admin.Bounce, fmt.Sprintf(`{"id":%q,"reason":"wrong list"}`, third.ID))
	r.eventually("the DSN", func() bool { return r.status().Ledger.Delivered == 1 })
	if l := r.status().Ledger; l.Removed != 1 || l.Failed != 1 || l.Queued != 1 || !l.Balanced() {
		t.Errorf("ledger %+v", l)
	}
	r.act(admin.Release, `{"all":true}`)
	deferredAfter := func(attempts int) func() bool {
		return func() bool {
			e := r.page("domain=slow.example").Entries[0]
			return e.Held == "" && e.Attempts() == attempts && time.Until(e.Due()) > 10*time.Minute
		}
	}
	r.eventually("a second attempt", deferredAfter(2))
	r.act(admin.Flush, `{"all":true}`)
	r.eventually("a third attempt", deferredAfter(3))
}

func TestSmartHost(t *testing.T) {
	sink := newSink(t, smtptest.Options{})
	r := newRig(t, func(r *rig) {
		r.config.Relay.Routes = []config.Route{{Name: "provider", SmartHosts: []config.SmartHost{
			{Host: "127.0.0.4", Port: sink.Port(), TLS: config.HopNone}, // nobody there
			{Host: "127.0.0.1", Port: sink.Port(), TLS: config.HopNone},
		}}}
	})
	r.mustSend("a@example.org", "b@example.net", message("a@example.org", "one"))
	r.drained()
	if sink.Accepted() != 1 {
		t.Errorf("the second smart host has %d messages", sink.Accepted())
	}
}

func TestPostmaster(t *testing.T) {
	sink := newSink(t, smtptest.Options{})
	r := newRig(t, func(r *rig) {
		r.routeTo(sink.Port())
		r.config.Relay.Access.TrustedCIDRs = nil
	})
	r.domain("relay.example", "127.0.0.1")
	r.mustSend("stranger@example.org", "postmaster@out.relay.example", message("stranger@example.org", "one"))
	r.drained()
	if got := sink.Messages(); len(got) != 1 || got[0].To[0] != "ops@relay.example" {
		t.Errorf("postmaster's mail went to %+v", got)
	}
	if err := r.send("stranger@example.org", "b@relay.example", message("stranger@example.org", "two")); err == nil {
		t.Error("an open relay")
	}
}

func contents(messages []smtptest.Message) []string {
	var all []string
	for _, m := range messages {
		all = append(all, string(m.Data))
	}
	return all
}
