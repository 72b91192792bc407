package relay_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/directive"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/event"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/smtptest"
	"github.com/postrider/postrider/relay/status"
)

// direct puts a directive in force; scope is a JSON member such as "domain":"example.net".
func (r *rig) direct(act directive.Act, scope string, holds time.Duration) admin.Directed {
	r.t.Helper()
	var d admin.Directed
	order := fmt.Sprintf(`{"act":%q,%s,"reason":"migration","seconds":%d,"by":"ops"}`, act, scope, int(holds.Seconds()))
	if err := r.ask(http.MethodPost, "/directives", order, &d); err != nil {
		r.t.Fatal(err)
	}
	return d
}

func (r *rig) end(id string) admin.Directed {
	r.t.Helper()
	var d admin.Directed
	if err := r.ask(http.MethodDelete, "/directives/"+id, "", &d); err != nil {
		r.t.Fatal(err)
	}
	return d
}

func (r *rig) directives() []directive.Directive {
	r.t.Helper()
	var list struct{ Directives []directive.Directive }
	if err := r.ask(http.MethodGet, "/directives", "", &list); err != nil {
		r.t.Fatal(err)
	}
	return list.Directives
}

func (r *rig) explain(query string) []admin.Explanation {
	r.t.Helper()
	var all admin.Explanations
	if err := r.ask(http.MethodGet, "/explain?"+query, "", &all); err != nil {
		r.t.Fatal(err)
	}
	return all.Explanations
}

func (r *rig) trace(id envelope.ID) admin.Trace {
	r.t.Helper()
	var trace admin.Trace
	if err := r.ask(http.MethodGet, "/trace/"+string(id), "", &trace); err != nil {
		r.t.Fatal(err)
	}
	return trace
}

// waitsFor waits until the mail for a domain waits for one reason, and returns it.
func (r *rig) waitsFor(domain string, reason status.Reason) admin.Explanation {
	r.t.Helper()
	var got []admin.Explanation
	r.eventually(fmt.Sprintf("mail for %s to wait for %s", domain, reason), func() bool {
		got = nil
		var all admin.Explanations
		if err := r.ask(http.MethodGet, "/explain?domain="+domain, "", &all); err == nil {
			got = all.Explanations
		}
		return len(got) == 1 && got[0].Reason == reason
	})
	return got[0]
}

// kinds are the types of a trace's events.
func kinds(t admin.Trace) string {
	var all []string
	for _, e := range t.Events {
		all = append(all, string(e.Type))
	}
	return strings.Join(all, " ")
}

// twoDomains is a relay with mail to go to example.net, from example.org.
func twoDomains(t *testing.T, o smtptest.Options, change func(*rig)) (*rig, *smtptest.Sink) {
	t.Helper()
	sink := newSink(t, o)
	r := newRig(t, func(r *rig) {
		r.routeTo(sink.Port())
		if change != nil {
			change(r)
		}
	})
	for _, name := range []string{"example.net", "example.com", "example.org"} {
		r.domain(name, "127.0.0.1")
	}
	return r, sink
}

// TestSuspended: mail is accepted and waits, other mail flows, also after a restart; resumed early it goes at once.
func TestSuspended(t *testing.T) {
	r, sink := twoDomains(t, smtptest.Options{}, nil)
	d := r.direct(directive.Suspend, `"domain":"example.net"`, time.Hour)
	r.mustSend("a@example.org", "b@example.net", message("a@example.org", "one"))
	r.mustSend("a@example.org", "b@example.com", message("a@example.org", "two"))
	r.eventually("the other domain's mail to be delivered", func() bool { return sink.Accepted() == 1 })
	kept := func() bool {
		page := r.page("domain=example.net")
		return len(page.Entries) == 1 && time.Until(page.Entries[0].Due()) > 50*time.Minute
	}
	r.eventually("the suspension to be met", kept)
	if x := r.waitsFor("example.net", status.Suspended); x.Directive == nil || x.Directive.ID != d.ID || x.Attempts != 0 || !strings.Contains(x.Sentence, "migration") {
		t.Errorf("explained as %+v", x)
	}
	if s := r.status().Slowest; len(s) == 0 || s[0].Reason != status.Suspended {
		t.Errorf("status: %+v", s)
	}

	r.halt()
	r.start()
	if all := r.directives(); len(all) != 1 || all[0].ID != d.ID || all[0].By != "ops" || all[0].Reason != "migration" {
		t.Fatalf("after a restart: %+v", all)
	}
	r.act(admin.Flush, `{"all":true}`)
	r.eventually("the flush to change nothing", kept)

	if ended := r.end(d.ID); ended.Recipients != 1 {
		t.Errorf("resumed %+v", ended)
	}
	r.drained()
	if sink.Accepted() != 2 || len(r.directives()) != 0 {
		t.Errorf("%d delivered, directives %+v", sink.Accepted(), r.directives())
	}
}

// TestASuspensionEndsByItself: what it kept back becomes due then, and not earlier.
func TestASuspensionEndsByItself(t *testing.T) {
	r, sink := twoDomains(t, smtptest.Options{}, nil)
	d := r.direct(directive.Suspend, `"sender":"example.org"`, time.Second)
	r.mustSend("a@example.org", "b@example.net", message("a@example.org", "one"))
	r.eventually("the directive to end", func() bool { return len(r.directives()) == 0 })
	if !time.Now().After(d.Until) {
		t.Error("it ended early")
	}
	page := r.page("domain=example.net")
	if len(page.Entries) == 1 && page.Entries[0].Due().After(d.Until.Add(time.Minute)) {
		t.Errorf("due at %s, long after %s", page.Entries[0].Due(), d.Until)
	}
	r.act(admin.Flush, `{"all":true}`)
	r.drained()
	if sink.Accepted() != 1 {
		t.Errorf("%d delivered", sink.Accepted())
	}
}

// TestSuspendedMailExpires: a suspension does not prolong a message's life, and its sender is told.
func TestSuspendedMailExpires(t *testing.T) {
	r, sink := twoDomains(t, smtptest.Options{}, func(r *rig) { r.config.Relay.Queue.MaxMessageAgeSeconds = 1 })
	r.direct(directive.Suspend, `"domain":"example.net"`, time.Hour)
	r.mustSend("a@example.org", "b@example.net", message("a@example.org", "one"))
	r.drained()
	got := sink.Messages()
	if len(got) != 1 || got[0].From != "" || !strings.Contains(string(got[0].Data), "Status: 5.4.7") || !strings.Contains(string(got[0].Data), "suspended by an admin of this relay: migration") {
		t.Errorf("want a DSN alone, got %q", contents(got))
	}
	if l := r.status().Ledger; l.Failed != 1 || l.Delivered != 1 {
		t.Errorf("ledger %+v", l)
	}
}

// TestHeldForATime: a hold takes what is queued and what comes, and lets go just that when it ends.
func TestHeldForATime(t *testing.T) {
	busy := reply.Reply{Code: 450, Enhanced: "4.2.1", Text: "later"}
	r, sink := twoDomains(t, smtptest.Options{Data: func(m smtptest.Message) reply.Reply {
		if strings.Contains(string(m.Data), "Subject: busy") {
			return busy
		}
		return reply.Reply{}
	}}, func(r *rig) {
		r.config.Relay.Queue.RetryInitialSeconds, r.config.Relay.Queue.RetryMaxSeconds = 3600, 3600
	})
	r.mustSend("a@example.org", "mine@example.net", message("a@example.org", "busy"))
	r.eventually("it to be deferred", func() bool { return r.status().Queue.Deferred == 1 })
	r.act(admin.Hold, `{"domain":"example.net","reason":"held by hand"}`)
	r.mustSend("a@example.org", "there@example.net", message("a@example.org", "busy"))
	r.eventually("another to be deferred", func() bool { return r.status().Queue.Deferred == 2 })

	d := r.direct(directive.Hold, `"domain":"example.net"`, time.Hour)
	if d.Recipients != 1 {
		t.Errorf("held at once: %+v; want what nobody held yet", d)
	}
	r.mustSend("a@example.org", "new@example.net", message("a@example.org", "new"))
	r.eventually("new mail to be held", func() bool { return r.status().Queue.Held == 3 })
	if x := r.explain("domain=example.net"); len(x) != 2 || x[0].Directive != nil || x[1].Directive == nil || x[1].Entries != 2 ||
		!strings.Contains(x[0].Sentence, "held by hand") {
		t.Errorf("explained as %+v", x)
	}
	if ended := r.end(d.ID); ended.Recipients != 2 {
		t.Errorf("released %+v", ended)
	}
	r.eventually("new mail to go", func() bool { return sink.Accepted() == 1 })
	for _, e := range r.page("domain=example.net").Entries {
		mine := e.Recipients[0].Address == "mine@example.net"
		if mine != (e.Held == "held by hand") || time.Until(e.Due()) < 30*time.Minute {
			t.Errorf("after the end: %+v", e)
		}
	}
}

// TestReleasedFromAHold: a message that an admin releases goes, though the hold goes on for others; a release of the
// hold's whole scope ends it.
func TestReleasedFromAHold(t *testing.T) {
	r, sink := twoDomains(t, smtptest.Options{}, nil)
	r.direct(directive.Hold, `"sender":"a@example.org"`, time.Hour)
	for i := range 3 {
		r.mustSend("a@example.org", fmt.Sprintf("u%d@example.net", i), message("a@example.org", fmt.Sprint(i)))
	}
	if n := r.status().Queue.Held; n != 3 {
		t.Errorf("%d held when they were answered 250, want 3", n)
	}
	first := r.page("domain=example.net").Entries[0]
	r.act(admin.Release, fmt.Sprintf(`{"id":%q}`, first.ID))
	r.eventually("one to go", func() bool { return sink.Accepted() == 1 && r.status().Queue.Held == 2 })
	r.eventually("its trace to be whole", func() bool {
		trace := r.trace(first.ID)
		return kinds(trace) == "Accepted Held Released Delivered" && trace.Recipients[0].State == envelope.Delivered
	})
	if len(r.directives()) != 1 {
		t.Errorf("directives %+v", r.directives())
	}
	if got := r.act(admin.Release, `{"sender":"A@example.org"}`); got.Recipients != 2 {
		t.Errorf("released %+v", got)
	}
	r.drained()
	if len(r.directives()) != 0 {
		t.Errorf("directives %+v", r.directives())
	}
}

// TestBouncedForATime: what is queued fails with a DSN, what comes is refused at RCPT, or fails where only its header
// says that it is meant.
func TestBouncedForATime(t *testing.T) {
	r, sink := twoDomains(t, smtptest.Options{Replies: map[string]reply.Reply{
		"@example.net": {Code: 450, Enhanced: "4.2.1", Text: "later"},
	}}, func(r *rig) { r.config.Relay.Queue.RetryInitialSeconds = 3600 })
	r.mustSend("a@example.org", "b@example.net", message("a@example.org", "one"))
	r.eventually("it to be deferred", func() bool { return r.status().Queue.Deferred == 1 })
	d := r.direct(directive.Bounce, `"domain":"example.net"`, time.Hour)
	if d.Recipients != 1 {
		t.Errorf("bounced at once: %+v", d)
	}
	r.drained()
	got := sink.Messages()
	if len(got) != 1 || !strings.Contains(string(got[0].Data), "Status: 5.7.1") || !strings.Contains(string(got[0].Data), "admin of this relay: migration") {
		t.Errorf("want one DSN, got %q", contents(got))
	}
	err := r.send("a@example.org", "b@example.net", message("a@example.org", "two"))
	if err == nil || !strings.Contains(err.Error(), "550") || !strings.Contains(err.Error(), "5.7.1") && !strings.Contains(err.Error(), "migration") {
		t.Errorf("new mail: %v", err)
	}
	if l := r.status().Ledger; l.Accepted != 2 || l.Failed != 1 || !l.Balanced() {
		t.Errorf("ledger %+v", l)
	}
	r.end(d.ID)
	r.mustSend("a@example.org", "b@example.net", message("a@example.org", "three"))
}

// TestBouncedByWhatTheHeaderSays: a SendingDomain's mail with another reverse path is known at its attempt at the
// latest, and fails then.
func TestBouncedByWhatTheHeaderSays(t *testing.T) {
	r, sink := twoDomains(t, smtptest.Options{}, func(r *rig) { r.config.Domains = []config.Domain{{Name: "shop.example"}} })
	r.direct(directive.Bounce, `"sender":"shop.example"`, time.Hour)
	r.mustSend("a@example.org", "b@example.net", message("news@shop.example", "one"))
	r.drained()
	if got := sink.Messages(); len(got) != 1 || got[0].From != "" || !strings.Contains(string(got[0].Data), "Status: 5.7.1") {
		t.Errorf("want a DSN alone, got %q", contents(got))
	}
}

// TestExplainsWhatTheScheduleKnows: a limit with its policy and when it opens, and an attempt that is running.
func TestExplainsWhatTheScheduleKnows(t *testing.T) {
	answer := make(chan struct{})
	r, _ := twoDomains(t, smtptest.Options{Data: func(m smtptest.Message) reply.Reply {
		if strings.HasSuffix(m.To[0], "@example.com") {
			<-answer
		}
		return reply.Reply{}
	}}, func(r *rig) {
		r.config.Relay.Policies = []config.RatePolicy{{
			Name: "gentle", Stage: config.StageDelivery, Key: config.KeySite, Messages: 1, PerSeconds: 3600, Burst: 1,
			DestinationDomains: []string{"example.net"},
		}}
	})
	defer close(answer)
	for i := range 3 {
		r.mustSend("a@example.org", "b@example.net", message("a@example.org", fmt.Sprint(i)))
	}
	r.mustSend("a@example.org", "b@example.com", message("a@example.org", "slow"))
	r.eventually("one to be delivered", func() bool { return r.status().Ledger.Delivered == 1 })
	x := r.waitsFor("example.net", status.RateLimited)
	if x.Policy != "gentle" || x.Entries != 2 || x.Due == nil || time.Until(*x.Due) < 50*time.Minute || !strings.Contains(x.Sentence, "gentle") {
		t.Errorf("explained as %+v", x)
	}
	if x := r.explain("id=" + string(x.ID)); len(x) != 1 || x[0].Policy != "gentle" {
		t.Errorf("one message is explained as %+v", x)
	}
	r.waitsFor("example.com", status.InFlight)
}

// TestTrace: the life of a message from who brought it to the DSN about it, also when it is long gone.
func TestTrace(t *testing.T) {
	tries := 0
	r, _ := twoDomains(t, smtptest.Options{
		Replies: map[string]reply.Reply{"gone@example.net": {Code: 550, Enhanced: "5.1.1", Text: "no such user"}},
		Data: func(smtptest.Message) reply.Reply {
			if tries++; tries == 1 {
				return reply.Reply{Code: 451, Enhanced: "4.7.1", Text: "greylisted"}
			}
			return reply.Reply{}
		},
	}, nil)
	r.mustSend("a@example.org", "here@example.net,gone@example.net", message("a@example.org", "one"))
	var id envelope.ID
	r.eventually("it to be deferred", func() bool {
		page := r.page("domain=example.net")
		if len(page.Entries) == 1 {
			id = page.Entries[0].ID
		}
		return id != "" && r.status().Ledger.Failed == 1
	})
	r.drained()
	r.halt()
	r.start()
	trace := r.trace(id)
	accepted := trace.Events[0]
	if accepted.Type != event.Accepted || accepted.Listener != "smtp" || !strings.HasPrefix(accepted.Client, "127.0.0.1:") || accepted.Size == 0 || accepted.From != "a@example.org" {
		t.Errorf("accepted as %+v", accepted)
	}
	if k := kinds(trace); !strings.HasPrefix(k, "Accepted Accepted Deferred Bounced Reported") || !strings.HasSuffix(k, "Delivered") {
		t.Errorf("the trace is %s", k)
	}
	states := map[string]envelope.Disposition{}
	for _, f := range trace.Recipients {
		states[f.Recipient] = f.State
	}
	if states["here@example.net"] != envelope.Delivered || states["gone@example.net"] != envelope.Failed {
		t.Errorf("fates %+v", trace.Recipients)
	}
	if len(trace.Reports) != 1 || kinds(trace.Reports[0]) != "Reported Accepted Delivered" {
		t.Errorf("reports %+v", trace.Reports)
	}
	if _, err := r.fetch(http.MethodGet, "/trace/nothing", ""); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("the trace of nothing: %v", err)
	}
}

// TestABounceDoesNotBounceItsOwnDSNs: they come into the queue behind what it goes through.
func TestABounceDoesNotBounceItsOwnDSNs(t *testing.T) {
	r, sink := twoDomains(t, smtptest.Options{Replies: map[string]reply.Reply{
		"@example.net": {Code: 450, Enhanced: "4.2.1", Text: "later"},
	}}, func(r *rig) {
		r.config.Relay.Queue.RetryInitialSeconds, r.config.Relay.Queue.RetryMaxSeconds = 3600, 3600
	})
	r.mustSend("a@example.org", "b@example.net", message("a@example.org", "one"))
	r.eventually("it to be deferred", func() bool { return r.status().Queue.Deferred == 1 })
	if done := r.act(admin.Bounce, `{"all":true}`); done.Recipients != 1 {
		t.Errorf("bounced: %+v", done)
	}
	r.drained()
	if l := r.status().Ledger; l.Failed != 1 || l.Delivered != 1 || sink.Accepted() != 1 {
		t.Errorf("ledger %+v, and %d in the sink", l, sink.Accepted())
	}
}

// TestARestartKeepsDueTimes: before there is a configuration nobody can say what is due too late.
func TestARestartKeepsDueTimes(t *testing.T) {
	r, _ := twoDomains(t, smtptest.Options{Replies: map[string]reply.Reply{
		"@example.net": {Code: 450, Enhanced: "4.2.1", Text: "later"},
	}}, func(r *rig) {
		r.config.Relay.Queue.RetryInitialSeconds, r.config.Relay.Queue.RetryMaxSeconds = 3600, 3600
	})
	r.mustSend("a@example.org", "b@example.net", message("a@example.org", "one"))
	r.eventually("it to be deferred", func() bool { return r.page("").Entries[0].Recipients[0].Last != nil })
	before := r.page("").Entries[0].Recipients[0]
	r.halt()
	r.start()
	if after := r.page("").Entries[0].Recipients[0]; !after.Due.Equal(before.Due) || after.Attempts != before.Attempts {
		t.Errorf("due %v after %d attempts became %v after %d", before.Due, before.Attempts, after.Due, after.Attempts)
	}
}
