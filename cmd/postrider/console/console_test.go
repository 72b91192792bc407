package console

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/directive"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/event"
	"github.com/postrider/postrider/relay/status"
)

const (
	message = "01M83WZ9ZNDP60VADM1N"
	dsn     = "01M83X0ADSN00VADM1N0"
)

var now = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

// shown is a source with one relay that has seen better days.
type shown struct{}

func condition(kind, reason, message string, is bool) metav1.Condition {
	c := metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: reason, Message: message}
	if is {
		c.Status = metav1.ConditionTrue
	}
	return c
}

func (shown) Relays(context.Context) ([]*v1alpha1.MailRelay, error) {
	r := &v1alpha1.MailRelay{ObjectMeta: metav1.ObjectMeta{Name: "mx1", Namespace: "mail"}}
	r.Spec.Replicas = 3
	r.Status = v1alpha1.MailRelayStatus{
		ReadyReplicas: 2, Queue: &v1alpha1.QueueStatus{Queued: 4312, Deferred: 977},
		Conditions: []metav1.Condition{
			condition("Ready", "Serving", "2 of 3 pods serve. Cordoned by an admin: mx1-2.", true),
			condition("QueueHealthy", "Backlogged", "Mail for slow.example has waited for 5h.", false),
		},
		Pods: []v1alpha1.PodStatus{{Name: "mx1-0", State: v1alpha1.PodServing}, {Name: "mx1-1", State: v1alpha1.PodUnreachable}, {Name: "mx1-2", State: v1alpha1.PodCordoned}},
	}
	return []*v1alpha1.MailRelay{r}, nil
}

func (s shown) Relay(ctx context.Context, name string) (*Relay, error) {
	if name != "mx1" {
		return nil, errors.New("there is no MailRelay " + name)
	}
	all, _ := s.Relays(ctx)
	r := &Relay{Object: all[0], Problems: []string{"mx1-1: <script>alert(1)</script>"}}
	r.Processes = []status.Status{
		{Pod: "mx1-0", Version: "v1.4.0", Generation: 12, Queue: status.Queue{Queued: 4000}, Ledger: status.Ledger{Accepted: 91234, Delivered: 87001}},
		{Pod: "mx1-2", Version: "v1.4.0", Generation: 12, Queue: status.Queue{Queued: 312}, Ledger: status.Ledger{Accepted: 500, Delivered: 188}},
	}
	r.Queue.Add(admin.Ages{Bounds: admin.AgeBounds(), Queue: status.Queue{Queued: 4312, Deferred: 977, Held: 3, Oldest: new(now.Add(-5 * time.Hour))}, Destinations: []admin.DestinationAges{
		waits("slow.example", 5*time.Hour, status.Deferred, "451 4.7.1 Greylisted; try later", 0, 3, 10, 120, 700, 41, 0, 0, 0),
		waits("gmail.com", 20*time.Minute, status.RateLimited, "", 1800, 900, 420, 7, 0, 0, 0, 0, 0),
		waits("down.example", 3*time.Hour, status.NextHopDown, "421 4.4.1 connect to smtp.down.example[192.0.2.99]:25: connection refused", 0, 0, 1, 2, 60, 0, 0, 0, 0),
		waits("audit.example", time.Hour, status.Held, "", 0, 0, 0, 0, 3, 0, 0, 0, 0),
	}})
	d := &v1alpha1.SendingDomain{}
	d.Spec.Domain = "shop.example"
	d.Status.Conditions = []metav1.Condition{condition("Ready", "DNSGateFailed", "no key signs yet", false)}
	r.Domains = []Domain{{Object: d, Records: []Record{
		{DNSRecord: v1alpha1.DNSRecord{Purpose: "DKIM", Name: "pr1._domainkey.shop.example", Type: "TXT", Result: v1alpha1.ResultMissing, Message: "Publish this record; mail waits for it."},
			Values: []Value{{Text: "v=DKIM1; k=rsa; p=MIIB", Line: `pr1._domainkey.shop.example. IN TXT "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA7u4r0n3c8C1bqvBqg"`}}},
		{DNSRecord: v1alpha1.DNSRecord{Purpose: "SPF", Name: "shop.example", Type: "TXT", Result: "Pass"}},
	}}}
	return r, nil
}

func waits(domain string, oldest time.Duration, reason status.Reason, reply string, messages ...int64) admin.DestinationAges {
	return admin.DestinationAges{Messages: messages, Destination: status.Destination{
		Domain: domain, Reason: reason, Since: now.Add(-oldest / 2), Reply: reply, Queue: status.Queue{Queued: 1, Oldest: new(now.Add(-oldest))},
	}}
}

func (shown) Trace(_ context.Context, _, id string) ([]Trace, error) {
	switch id {
	case message:
	case "unasked":
		return nil, errors.New("mx1-1: <b>no answer</b>")
	default:
		return nil, nil
	}
	reported := event.Event{Type: event.Reported, At: now.Add(-time.Hour), SpoolID: message, Recipient: "c@slow.example", Reason: "failed", Reply: dsn}
	return []Trace{{Process: "mx1-0", Trace: admin.Trace{ID: message, Recipients: []admin.Fate{
		{Recipient: "b@slow.example", State: envelope.Queued}, {Recipient: "\"<i>\"@slow.example", State: envelope.Failed}, {Recipient: "d@slow.example", Peer: "mx1-2"},
	},
		Events: []event.Event{
			{Type: event.Accepted, At: now.Add(-time.Hour), SpoolID: message, Recipient: "b@slow.example", Client: "192.0.2.7:4711"},
			{Type: event.Deferred, At: now.Add(-time.Hour), SpoolID: message, Recipient: "b@slow.example", Reply: "451 4.7.1 <b>later</b>", NextHop: "mx.slow.example"},
			reported,
		},
		Waiting: []admin.Explanation{{Domain: "slow.example", Sentence: "Attempt 1 was put off."}},
		Reports: []admin.Trace{{ID: dsn, Recipients: []admin.Fate{{Recipient: "a@shop.example", State: envelope.Delivered}}, Events: []event.Event{reported}}},
	}}}, nil
}

func (shown) Why(_ context.Context, _, domain string) ([]Why, error) {
	if domain != "slow.example" {
		return nil, nil
	}
	return []Why{{Process: "mx1-0", Explanations: admin.Explanations{Partial: true, Explanations: []admin.Explanation{{
		Domain: domain, ID: message, Entries: 2, Recipients: 3, Reason: status.Deferred, Since: now.Add(-time.Hour), Due: new(now.Add(time.Minute)), Attempts: 4,
		Reply: "451 4.7.1 <b>later</b>", NextHop: "mx.slow.example", Policy: "mail/gentle", Sentence: "Attempt 4 was put off.",
		Directive: &directive.Directive{Act: directive.Suspend, Reason: "<u>why</u>"},
	}}}}}, nil
}

func site(t *testing.T) *Site {
	t.Helper()
	s, err := New(shown{}, "127.0.0.1:4711", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.now = func() time.Time { return now }
	return s
}

func ask(s *Site, method, url, host string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, url, nil)
	req.Host = host
	w := httptest.NewRecorder()
	s.ServeHTTP(w, req)
	return w
}

// Nobody reads who does not know the address, or comes under another name; and nobody changes anything.
func TestWhoMayRead(t *testing.T) {
	s := site(t)
	for _, c := range []struct {
		what, method, path, host string
		code                     int
	}{
		{"the page", "GET", s.root(), s.host, 200},
		{"a relay", "GET", s.root() + "relays/mx1", s.host, 200},
		{"its head", "HEAD", s.root(), s.host, 200},
		{"the style", "GET", s.root() + "assets/console.css", s.host, 200},
		{"without the token", "GET", "/", s.host, 404},
		{"with another token", "GET", "/" + strings.Repeat("A", len(s.token)) + "/", s.host, 404},
		{"a file without the token", "GET", "/assets/console.css", s.host, 404},
		{"a rebound name", "GET", s.root(), "evil.example:4711", 421},
		{"another port", "GET", s.root(), "127.0.0.1:80", 421},
		{"a change", "POST", s.root(), s.host, 405},
		{"a removal", "DELETE", s.root() + "relays/mx1", s.host, 405},
		{"a template", "GET", s.root() + "assets/relay.html", s.host, 404},
		{"a way out", "GET", s.root() + "assets/../../secret", s.host, 400},
		{"another relay", "GET", s.root() + "relays/mx9", s.host, 502},
	} {
		w := ask(s, c.method, c.path, c.host)
		if w.Code != c.code {
			t.Errorf("%s: %d, want %d", c.what, w.Code, c.code)
		}
		if c.code != 200 && strings.Contains(w.Body.String(), "mx1-0") {
			t.Errorf("%s shows the relay", c.what)
		}
		if got := w.Header().Get("Cache-Control"); c.code == 200 && got != "no-store" {
			t.Errorf("%s: Cache-Control is %q", c.what, got)
		}
		for header, want := range map[string]string{"Content-Security-Policy": contentPolicy, "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"} {
			if got := w.Header().Get(header); got != want {
				t.Errorf("%s: %s is %q", c.what, header, got)
			}
		}
	}
	if other := site(t); other.token == s.token {
		t.Error("two consoles have one token")
	}
}

// What strangers wrote is text, and nothing in a page asks for what the policy forbids.
func TestPages(t *testing.T) {
	s := site(t)
	for _, c := range []struct {
		path string
		want []string
	}{
		{"", []string{"<h1>Relays", "4312", `relays/mx1">mx1</a>`}},
		{"?every=10", []string{`http-equiv="refresh" content="10"`, `href="?">Stop refreshing`, `href="?every=10">Refresh`}},
		{"nowhere", []string{"there is no such page"}},
		{"relays/mx1", []string{"<h1>mx1 ", "QueueHealthy is False", "&lt;script&gt;", `<td class="number level5">1800</td>`, "it did not answer", "NextHopDown",
			`<span aria-hidden="true">&lt;1m</span><span class="spoken">under 1 minute</span>`, "2 days and more", `relays/mx1/why?domain=slow.example">slow.example</a>`,
			`<span class="spoken"> value of the DKIM record at pr1._domainkey.shop.example</span>`, ">v=DKIM1; k=rsa; p=MIIB</code>"}},
		{"relays/mx1/trace?message=" + message, []string{"<h1>Message " + message, "451 4.7.1 &lt;b&gt;later", "Attempt 1 was put off.", "&#34;&lt;i&gt;&#34;@slow.example",
			"handed over to mx1-2", "by DSN " + dsn, `trace?message=` + dsn, "about message " + message, "a@shop.example: ", `href="?every=10&amp;message=` + message + `">Every 10 s`}},
		{"relays/mx1/trace?message=01X", []string{"No pod knows message 01X"}},
		{"relays/mx1/trace?message=unasked", []string{"mx1-1: &lt;b&gt;no answer"}},
		{"relays/mx1/trace?message=%3Cscript%3Ealert(1)%3C/script%3E", []string{"No pod knows message &lt;script&gt;"}},
		{"relays/mx1/why?domain=slow.example", []string{"Attempt 4 was put off.", "recipients: 3; messages: 2", "the counts are of the oldest", "451 4.7.1 &lt;b&gt;later", "mail/gentle",
			"suspend, by somebody: &lt;u&gt;why"}},
		{"relays/mx1/why?domain=%22%3E%3Cscript%3E", []string{"No mail for &#34;&gt;&lt;script&gt; is queued"}},
	} {
		page := ask(s, "GET", s.root()+c.path, s.host).Body.String()
		for _, want := range c.want {
			if !strings.Contains(page, want) {
				t.Errorf("/%s: %q is missing in\n%s", c.path, want, page)
			}
		}
		for _, bad := range []string{` style="`, ` onclick`, "http://", "https://", "<script>", "<b>", "<i>", "<u>", "ZgotmplZ"} {
			if strings.Contains(page, bad) {
				t.Errorf("/%s holds %q", c.path, bad)
			}
		}
		if n := strings.Count(page, "<h1"); n != 1 {
			t.Errorf("/%s has %d h1", c.path, n)
		}
	}
}

var _ http.Handler = (*Site)(nil)
