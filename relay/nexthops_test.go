package relay_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/smtptest"
	"github.com/postrider/postrider/relay/status"
)

// closedPort is one on which nothing listens, and its address.
func closedPort(t *testing.T) (port int, address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, l.Addr().String()
}

// strangers makes the rig's clients strangers, for whom mail is relayed by one route alone.
func (r *rig) strangers(domain string, route config.Route) {
	r.config.Relay.Access.TrustedCIDRs = nil
	route.Name, route.Match.RecipientDomains = "theirs", []string{domain}
	r.config.Relay.Routes = []config.Route{route}
}

// reason is why the mail for a domain waits.
func (r *rig) reason(domain string) status.Reason {
	for _, d := range r.status().Slowest {
		if d.Domain == domain {
			return d.Reason
		}
	}
	return ""
}

// mustBeDown sends three messages, whose failures take the next hop down, and one more.
func (r *rig) mustBeDown(to string) {
	r.t.Helper()
	for i := range 3 {
		r.mustSend("a@elsewhere.example", to, message("a@elsewhere.example", fmt.Sprintf("m%d", i)))
	}
	r.eventually("the reason to be NextHopDown", func() bool { return r.reason(envelope.DomainOf(to)) == status.NextHopDown })
	r.mustSend("a@elsewhere.example", to, message("a@elsewhere.example", "last"))
	r.eventually("a reply without an attempt", func() bool {
		for _, e := range r.page("").Entries {
			last := e.Recipients[0].Last
			if last != nil && last.NextHop == "" && strings.HasPrefix(last.Reply.String(), "451 4.4.1 127.0.0.1:") && strings.Contains(last.Reply.Text, " has been down since ") {
				return true
			}
		}
		return false
	})
}

func TestBackupHoldsMailWhileThePrimaryIsDown(t *testing.T) {
	port, address := closedPort(t)
	r := newRig(t, func(r *rig) {
		// Once deferred, mail is not due for an hour by itself.
		r.config.Relay.Queue.RetryInitialSeconds, r.config.Relay.Queue.RetryMaxSeconds = 3600, 3600
		r.strangers("customer.example", config.Route{Backup: &config.Backup{Host: "127.0.0.1", Port: port, ProbeSeconds: 1},
			VerifyRecipients: config.VerifyProbe})
	})
	r.mustBeDown("b@customer.example")
	if m := r.metrics(); !strings.Contains(m, fmt.Sprintf("postrider_next_hop_up{host=%q} 0", address)) {
		t.Error("the metric does not say so")
	}
	primary := newSink(t, smtptest.Options{Addr: address})
	r.drained()
	if got := len(primary.Messages()); got != 4 {
		t.Errorf("%d messages", got)
	}
	if n := r.connectionsOf(primary); n > 2 {
		t.Errorf("%d connections at once to a host that has just come up", n)
	}
	if m := r.metrics(); !strings.Contains(m, fmt.Sprintf("postrider_next_hop_up{host=%q} 1", address)) {
		t.Error("the metric does not say that it is up again")
	}
}

// connectionsOf is how many connections messages came over.
func (r *rig) connectionsOf(sink *smtptest.Sink) int {
	seen := map[int64]bool{}
	for _, m := range sink.Messages() {
		seen[m.Connection] = true
	}
	return len(seen)
}

func TestAHostThatIsUpAgainHastensItsOwnMailAlone(t *testing.T) {
	port, address := closedPort(t)
	busy := newSink(t, smtptest.Options{Replies: map[string]reply.Reply{"@other.example": {Code: 450, Enhanced: "4.2.1", Text: "later"}}})
	r := newRig(t, func(r *rig) {
		r.config.Relay.Queue.RetryInitialSeconds, r.config.Relay.Queue.RetryMaxSeconds = 3600, 3600
		r.config.Relay.Routes = []config.Route{
			{Name: "customer", Match: config.Match{RecipientDomains: []string{"customer.example"}},
				Backup: &config.Backup{Host: "127.0.0.1", Port: port, ProbeSeconds: 1}},
			{Name: "rest", SmartHosts: []config.SmartHost{{Host: "127.0.0.1", Port: busy.Port(), TLS: config.HopNone}}},
		}
	})
	r.mustSend("a@elsewhere.example", "b@other.example", message("a@elsewhere.example", "other"))
	r.eventually("the other mail to be deferred", func() bool { return r.status().Queue.Deferred == 1 })
	r.mustBeDown("b@customer.example")
	newSink(t, smtptest.Options{Addr: address})
	r.eventually("the customer to have theirs", func() bool { return r.status().Ledger.Delivered == 4 })
	left := r.page("").Entries
	if len(left) != 1 || left[0].Domain != "other.example" || left[0].Recipients[0].Attempts != 1 {
		t.Errorf("left: %+v", left)
	}
}

func TestFlushAsksANextHopThatIsDownAtOnce(t *testing.T) {
	port, address := closedPort(t)
	r := newRig(t, func(r *rig) {
		r.config.Relay.Queue.RetryInitialSeconds, r.config.Relay.Queue.RetryMaxSeconds = 3600, 3600
		r.strangers("customer.example", config.Route{Backup: &config.Backup{Host: "127.0.0.1", Port: port, ProbeSeconds: 3600}})
	})
	r.mustBeDown("b@customer.example")
	primary := newSink(t, smtptest.Options{Addr: address})
	r.act(admin.Flush, `{"domain":"Customer.example"}`)
	r.drained()
	if got := len(primary.Messages()); got != 4 {
		t.Errorf("%d messages", got)
	}
}

func TestASmartHostThatIsDownIsPassedOver(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go hangUp(dead)
	address := dead.Addr().String()
	second := newSink(t, smtptest.Options{})
	r := newRig(t, func(r *rig) {
		r.config.Relay.Routes = []config.Route{{Name: "up", SmartHosts: []config.SmartHost{
			{Host: "127.0.0.1", Port: dead.Addr().(*net.TCPAddr).Port, TLS: config.HopNone}, {Host: "127.0.0.1", Port: second.Port(), TLS: config.HopNone},
		}}}
	})
	for i := range 3 {
		r.mustSend("a@b.example", "c@d.example", message("a@b.example", fmt.Sprintf("m%d", i)))
		r.drained()
	}
	if m := r.metrics(); !strings.Contains(m, fmt.Sprintf("postrider_next_hop_up{host=%q} 0", address)) {
		t.Error("the first host is not down after three failures")
	}
	dead.Close()
	first := newSink(t, smtptest.Options{Addr: address})
	r.act(admin.Flush, `{"all":true}`)
	r.mustSend("a@b.example", "c@d.example", message("a@b.example", "last"))
	r.drained()
	if len(first.Messages()) != 1 || len(second.Messages()) != 3 {
		t.Errorf("the first host, up again, got %d messages, the second %d", len(first.Messages()), len(second.Messages()))
	}
}

// hangUp answers every connection with nothing.
func hangUp(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_ = c.Close()
	}
}

func TestMailboxServerAnswersForEachRecipient(t *testing.T) {
	boxes := newSink(t, smtptest.Options{LMTP: true, Each: func(_ smtptest.Message, to string) reply.Reply {
		if strings.HasPrefix(to, "full@") {
			return reply.Reply{Code: 552, Enhanced: "5.2.2", Text: "over quota"}
		}
		return reply.Reply{}
	}})
	r := newRig(t, func(r *rig) {
		r.strangers("boxes.example", config.Route{LMTP: &config.LMTP{Host: "127.0.0.1", Port: boxes.Port()}})
	})
	r.mustSend("", "one@boxes.example,full@boxes.example,two@boxes.example", message("", "boxes"))
	r.drained()
	l := r.status().Ledger
	if l.Accepted != 3 || l.Delivered != 2 || l.Failed != 1 {
		t.Errorf("%+v", l)
	}
	if err := r.send("a@elsewhere.example", "c@other.example", message("a@elsewhere.example", "no")); !strings.HasPrefix(smtpText(err), "550 5.7.1 ") {
		t.Errorf("a stranger's mail for another domain: %v", err)
	}
}

func TestStrangersRecipientsAreVerified(t *testing.T) {
	boxes := newSink(t, smtptest.Options{LMTP: true, Replies: map[string]reply.Reply{
		"nobody@boxes.example": {Code: 550, Enhanced: "5.1.1", Text: "no such box"},
		"ops@boxes.example":    {Code: 550, Enhanced: "5.1.1", Text: "no such box"},
		"later@boxes.example":  {Code: 450, Enhanced: "4.2.0", Text: "not now"},
	}})
	r := newRig(t, func(r *rig) {
		r.strangers("boxes.example", config.Route{LMTP: &config.LMTP{Host: "127.0.0.1", Port: boxes.Port()}, VerifyRecipients: config.VerifyProbe})
		r.config.Relay.Postmaster = "ops@boxes.example"
	})
	for to, want := range map[string]string{
		"one@boxes.example": "", "nobody@boxes.example": "550 5.1.1 The recipient is refused: no such box",
		"later@boxes.example": "450 4.1.1 ",
		"postmaster":          "", // never refused, whatever becomes of it
	} {
		err := r.send("a@elsewhere.example", to, message("a@elsewhere.example", "to "+to))
		if want == "" && err != nil || !strings.HasPrefix(smtpText(err), want) {
			t.Errorf("%s: %v, want %q", to, err, want)
		}
	}
	boxes.Close()
	if err := r.send("a@elsewhere.example", "other@boxes.example", message("a@elsewhere.example", "x")); !strings.HasPrefix(smtpText(err), "450 4.4.1 ") {
		t.Errorf("while the server is away: %v", err)
	}
}

func TestSmartHostWithATokenThatIsReplaced(t *testing.T) {
	var mu sync.Mutex
	asked, good := 0, "t1"
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked++
		_, _ = fmt.Fprintf(w, `{"access_token":"t%d","expires_in":3600}`, asked)
	}))
	defer tokens.Close()
	ca := smtptest.NewCA()
	up := newSink(t, smtptest.Options{TLS: ca.ServerTLS("localhost"), Auth: func(mechanism, user, secret string) bool {
		mu.Lock()
		defer mu.Unlock()
		return mechanism == "XOAUTH2" && user == "us@up.example" && secret == good
	}})
	r := newRig(t, func(r *rig) {
		r.files = map[string][]byte{"user": []byte("us@up.example"), "id": []byte("client"), "refresh": []byte("r"), "ca": ca.PEM()}
		if err := r.dns.Add("localhost. A 127.0.0.1"); err != nil {
			t.Fatal(err)
		}
		r.config.Relay.Routes = []config.Route{{Name: "up", SmartHosts: []config.SmartHost{{
			Host: "localhost", Port: up.Port(), TLS: config.HopRequired, UsernameFile: "user", CAFile: "ca",
			OAuth2: &config.OAuth2{TokenURL: tokens.URL, ClientIDFile: "id", RefreshTokenFile: "refresh"},
		}}}}
	})
	r.mustSend("a@b.example", "c@d.example", message("a@b.example", "first"))
	r.drained()
	mu.Lock()
	good = "t2" // the one in use was withdrawn
	mu.Unlock()
	r.config.Relay.Hostname = "other.relay.example" // so that the connection there is is not used
	r.configure()
	r.eventually("the new configuration", func() bool { return r.status().Generation == r.config.Generation })
	r.mustSend("a@b.example", "c@d.example", message("a@b.example", "second"))
	r.drained()
	if got := up.Messages(); len(got) != 2 || got[1].User != "us@up.example" {
		t.Errorf("%d messages: %+v", len(got), got)
	}
	if mu.Lock(); asked != 2 {
		t.Errorf("%d tokens were asked for, want 2", asked)
	}
	mu.Unlock()
}

func TestARouteThatCannotBeUsedHoldsUpNoOther(t *testing.T) {
	sink := newSink(t, smtptest.Options{})
	r := newRig(t, func(r *rig) {
		r.routeTo(sink.Port())
		r.config.Relay.Routes = append([]config.Route{
			{Name: "bad", Match: config.Match{RecipientDomains: []string{"bad.example"}}, MX: &config.MX{Port: 25, AllowCIDRs: []string{"10.0.0.0/99"}}},
		}, r.config.Relay.Routes...)
	})
	r.domain("good.example", "127.0.0.1")
	r.mustSend("a@b.example", "c@bad.example,c@good.example", message("a@b.example", "both"))
	r.eventually("delivery by the other route", func() bool { return sink.Accepted() == 1 })
	r.eventually("the reason", func() bool {
		s := r.status().Slowest
		return len(s) == 1 && strings.Contains(s[0].Reply, "451 4.3.5 route bad cannot be used: mx.allowCIDRs")
	})
}

// smtpText is an error of the client as the server said it; empty for none.
func smtpText(err error) string {
	var said *smtp.SMTPError
	if !errors.As(err, &said) {
		return ""
	}
	e := said.EnhancedCode
	return fmt.Sprintf("%d %d.%d.%d %s", said.Code, e[0], e[1], e[2], said.Message)
}

func TestPoliciesBoundTransactionsAndConnections(t *testing.T) {
	sink := newSink(t, smtptest.Options{})
	r := newRig(t, func(r *rig) {
		r.routeTo(sink.Port())
		r.config.Relay.Policies = []config.RatePolicy{{Name: "n/p", Stage: config.StageDelivery, Key: config.KeySite,
			RecipientsPerMessage: 2, MessagesPerConnection: 1}}
	})
	r.domain("good.example", "127.0.0.1")
	r.mustSend("a@b.example", "a@good.example,b@good.example,c@good.example", message("a@b.example", "three"))
	r.drained()
	got := sink.Messages()
	if len(got) != 2 || len(got[0].To) > 2 || len(got[1].To) > 2 || got[0].Connection == got[1].Connection {
		t.Errorf("%d transactions: %+v", len(got), got)
	}
}
