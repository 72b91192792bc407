package relay_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/emersion/go-milter"
	"github.com/emersion/go-msgauth/dkim"
	"github.com/emersion/go-smtp"

	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/smtptest"
)

// spamd is an rspamd that answers as it is told, and keeps the last message.
type spamd struct {
	*httptest.Server
	answer atomic.Pointer[string]
	seen   atomic.Pointer[[]byte]
	asked  atomic.Int64
}

func newSpamd(t *testing.T, answer string) *spamd {
	t.Helper()
	s := &spamd{}
	s.says(answer)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		s.asked.Add(1)
		content, err := io.ReadAll(req.Body)
		if err != nil {
			t.Errorf("a message cut short: %v", err)
		}
		s.seen.Store(&content)
		if *s.answer.Load() == "" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, *s.answer.Load())
	}))
	t.Cleanup(s.Close)
	return s
}

// says makes it answer so; nothing is an error.
func (s *spamd) says(answer string) { s.answer.Store(&answer) }

func (s *spamd) filter(onFailure config.OnFailure) config.Filter {
	return config.Filter{Name: "spam", TimeoutSeconds: 15, OnFailure: onFailure, Rspamd: &config.Rspamd{URL: s.URL}}
}

// TestListedClientIsRefused: strangers whose address is listed reach the postmaster alone; who is trusted is not asked
// about.
func TestListedClientIsRefused(t *testing.T) {
	sink := newSink(t, smtptest.Options{})
	r := newRig(t, func(r *rig) {
		r.routeTo(sink.Port())
		r.config.Relay.Access.TrustedCIDRs = nil
		r.config.Relay.Routes = append([]config.Route{{
			Name: "ours", Match: config.Match{RecipientDomains: []string{"example.net"}},
			SmartHosts: []config.SmartHost{{Host: "127.0.0.1", Port: sink.Port(), TLS: config.HopNone}},
		}}, r.config.Relay.Routes...)
		r.config.Relay.Filters = []config.Filter{{
			Name: "lists", TimeoutSeconds: 15, OnFailure: config.FailDefer,
			DNSBL: &config.DNSBL{Zones: []string{"bl.example"}, Action: config.DNSBLReject},
		}}
	})
	r.domain("relay.example", "127.0.0.1")
	if err := r.dns.Add("1.0.0.127.bl.example. A 127.0.0.2", `1.0.0.127.bl.example. TXT "why\010not"`); err != nil {
		t.Fatal(err)
	}
	to := func(recipient string) string {
		return r.speak("", "EHLO client.example", "MAIL FROM:<a@example.org>", "RCPT TO:<"+recipient+">")
	}
	for recipient, want := range map[string]string{
		"b@example.net": "550 5.7.1 Client 127.0.0.1 is listed by bl.example: why not\r\n",
		"postmaster":    "250", "abuse@out.relay.example": "250",
		"b@elsewhere.example": "550 5.7.1 Relaying denied",
	} {
		if got := to(recipient); !strings.HasPrefix(got, want) {
			t.Errorf("RCPT %s: %q, want %q", recipient, got, want)
		}
	}
	if n := r.dns.Asked("1.0.0.127.bl.example"); n != 2 { // A and TXT
		t.Errorf("the list was asked %d times", n)
	}
	r.config.Relay.Access.TrustedCIDRs = []string{"127.0.0.0/8"}
	r.configure()
	r.eventually("trust", func() bool { return strings.HasPrefix(to("b@example.net"), "250") })
}

// TestFilteredMessage: what rspamd wants added stands above the message, and the signature holds.
func TestFilteredMessage(t *testing.T) {
	files, records := keys(t)
	sink := newSink(t, smtptest.Options{})
	spam := newSpamd(t, `{"action":"add header","milter":{"add_headers":{"X-Spam-Score":{"value":"7","order":0},"Subject":"no"}}}`)
	r := newRig(t, func(r *rig) {
		r.routeTo(sink.Port())
		r.files = files
		r.config.Domains = []config.Domain{{Name: "example.org", Sign: true, Keys: []config.DKIMKey{
			{Selector: "e1", Algorithm: config.Ed25519, File: "ed25519.pem"},
		}}}
		r.config.Relay.Filters = []config.Filter{spam.filter(config.FailDefer)}
	})
	r.domain("example.net", "127.0.0.1")
	text := message("a@example.org", "one")
	r.mustSend("a@example.org", "b@example.net", text)
	r.drained()
	got := sink.Messages()[0].Data
	if !bytes.HasPrefix(got, []byte("DKIM-Signature: ")) || !bytes.Contains(got, []byte("\r\nX-Spam: Yes\r\nX-Spam-Score: 7\r\nReceived: ")) {
		t.Errorf("delivered:\n%s", got)
	}
	verified, err := dkim.VerifyWithOptions(bytes.NewReader(got), &dkim.VerifyOptions{
		LookupTXT: func(string) ([]string, error) { return []string{records["e1"]}, nil },
	})
	if err != nil || len(verified) != 1 || verified[0].Err != nil {
		t.Errorf("signature: %+v, %v", verified, err)
	}
	if got := strings.ReplaceAll(string(*spam.seen.Load()), "\r\n", "\n"); got != text {
		t.Errorf("rspamd saw %q", got)
	}
}

// TestFilterRefuses: what a filter refuses is nowhere, and the session goes on.
func TestFilterRefuses(t *testing.T) {
	sink := newSink(t, smtptest.Options{})
	spam := newSpamd(t, `{"action":"reject"}`)
	r := newRig(t, func(r *rig) {
		r.routeTo(sink.Port())
		r.config.Relay.Filters = []config.Filter{spam.filter(config.FailDefer)}
	})
	r.domain("example.net", "127.0.0.1")
	c, err := smtp.Dial(r.address("smtp"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	large := message("a@example.org", "large") + strings.Repeat(strings.Repeat("x", 99)+"\n", 5000) // some chunks of the spool
	large = strings.ReplaceAll(large, "\n", "\r\n")
	send := func() error {
		return c.SendMail("a@example.org", []string{"b@example.net"}, strings.NewReader(large))
	}
	for answer, want := range map[string]string{
		`{"action":"reject"}`:   "Refused by filter spam",
		`{"action":"greylist"}`: "Put off by filter spam",
		"":                      "Filter spam gives no verdict",
	} {
		spam.says(answer)
		if err := send(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", answer, err)
		}
		if !bytes.Equal(*spam.seen.Load(), []byte(large)) {
			t.Errorf("rspamd saw %d octets of %d", len(*spam.seen.Load()), len(large))
		}
	}
	if l := r.status().Ledger; l.Accepted != 0 {
		t.Errorf("ledger %+v", l)
	}
	spam.says(`{"action":"no action"}`)
	if err := send(); err != nil {
		t.Error(err)
	}
	r.drained()
	if got := sink.Messages(); len(got) != 1 || !bytes.HasSuffix(got[0].Data, []byte(large)) {
		t.Errorf("the sink has %d messages", len(got))
	}
	if m := r.metrics(); !strings.Contains(m, `postrider_filter_verdicts_total{filter="spam",verdict="refuse"} 1`) {
		t.Error("verdicts are not counted")
	}
}

// TestFilterFailsOpen: the admin chose that mail goes on without rspamd.
func TestFilterFailsOpen(t *testing.T) {
	sink := newSink(t, smtptest.Options{})
	spam := newSpamd(t, "")
	r := newRig(t, func(r *rig) {
		r.routeTo(sink.Port())
		r.config.Relay.Filters = []config.Filter{spam.filter(config.FailAccept)}
	})
	r.domain("example.net", "127.0.0.1")
	r.mustSend("a@example.org", "b@example.net", message("a@example.org", "one"))
	r.drained()
	if sink.Accepted() != 1 || spam.asked.Load() != 1 {
		t.Errorf("%d messages, rspamd asked %d times", sink.Accepted(), spam.asked.Load())
	}
}

// quarantining is a milter that has every message held.
type quarantining struct{ milter.NoOpMilter }

func (quarantining) Body(m *milter.Modifier) (milter.Response, error) {
	return milter.RespAccept, m.Quarantine("Eicar")
}

// TestFilterHolds: what a milter puts into quarantine is accepted, held and in the books, until an admin releases it.
func TestFilterHolds(t *testing.T) {
	sink := newSink(t, smtptest.Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &milter.Server{NewMilter: func() milter.Milter { return quarantining{} }}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = l.Close() })
	at := netip.MustParseAddrPort(l.Addr().String())
	r := newRig(t, func(r *rig) {
		r.routeTo(sink.Port())
		r.config.Relay.Filters = []config.Filter{{Name: "virus", TimeoutSeconds: 15, OnFailure: config.FailDefer,
			Milter: &config.Milter{Host: "127.0.0.1", Port: int(at.Port())}}}
	})
	r.domain("example.net", "127.0.0.1")
	r.mustSend("a@example.org", "b@example.net", message("a@example.org", "one"))
	if q := r.status().Queue; q.Held != 1 || q.Queued != 1 {
		t.Errorf("queue %+v", q)
	}
	page := r.page("limit=10")
	if len(page.Entries) != 1 || page.Entries[0].Held != "filter virus: Eicar" {
		t.Fatalf("queue %+v", page)
	}
	r.halt()
	r.start()
	if q := r.status().Queue; q.Held != 1 {
		t.Errorf("after a restart: %+v", q)
	}
	r.act(admin.Release, fmt.Sprintf(`{"id":%q}`, page.Entries[0].ID))
	r.drained()
	if sink.Accepted() != 1 {
		t.Errorf("%d messages after the release", sink.Accepted())
	}
}
