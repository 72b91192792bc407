package webhook

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/config"
)

func TestMayDial(t *testing.T) {
	for _, c := range []struct {
		host, addr string
		loopback   bool
		may        bool
	}{
		{"hooks.example.com", "8.8.8.8", false, true},
		{"hooks.example.com", "2a00:1450::1", false, true},
		{"hooks.example.com", "10.0.0.1", false, false},
		{"hooks.example.com", "fd00::1", false, false},
		{"hooks.example.com", "127.0.0.1", true, false},
		{"hooks.example.com", "169.254.169.254", true, false},
		{"crm.shop.svc", "10.96.3.4", false, true},
		{"crm.shop.svc.", "10.96.3.4", false, true},
		{"crm.shop.svc.cluster.local", "fd00:10:96::4", false, true},
		{"crm.shop.svc", "100.64.3.4", false, true},
		{"crm.shop.svc", "169.254.169.254", false, false},
		{"crm.shop.svc", "100.100.100.200", false, false},
		{"crm.shop.svc", "127.0.0.1", true, false},
		{"crm.shop.svc", "::1", true, false},
		{"svc", "10.0.0.1", false, false},
		{"evil-svc", "10.0.0.1", false, false},
		{"10.0.0.1", "10.0.0.1", false, true},
		{"10.0.0.1", "10.0.0.2", false, false},
		{"192.168.1.1", "192.168.1.1", false, true},
		{"fd12::1", "fd12::1", false, true},
		{"::ffff:10.0.0.1", "::ffff:10.0.0.1", false, true},
		{"::ffff:127.0.0.1", "::ffff:127.0.0.1", false, false},
		{"127.0.0.1", "127.0.0.1", false, false},
		{"127.0.0.1", "127.0.0.1", true, true},
		{"::1", "::1", true, true},
		{"localhost", "127.0.0.1", true, false},
		{"169.254.169.254", "169.254.169.254", true, false},
		{"fe80::1", "fe80::1", true, false},
		{"fd00:ec2::254", "fd00:ec2::254", true, false},
		{"168.63.129.16", "168.63.129.16", true, false},
		{"0.0.0.0", "0.0.0.0", true, false},
		{"::", "::", true, false},
		{"224.0.0.1", "224.0.0.1", true, false},
		{"255.255.255.255", "255.255.255.255", true, false},
		{"64:ff9b::a00:1", "64:ff9b::a00:1", true, false},
		{"2002:a00:1::", "2002:a00:1::", true, false},
	} {
		if got := mayDial(c.host, netip.MustParseAddr(c.addr), c.loopback); got != c.may {
			t.Errorf("%s at %s (loopback %v): %v, want %v", c.host, c.addr, c.loopback, got, c.may)
		}
	}
}

// TestGuardIsInTheWay has a webhook on loopback, which the options do not allow.
func TestGuardIsInTheWay(t *testing.T) {
	to := newReceiver(t)
	r := newRig(t, config.Webhook{Name: "crm", URL: to.server.URL})
	r.options.Loopback = false
	r.start()
	r.record("a", 1)
	r.eventually("failures", func() bool { return r.value("postrider_webhook_requests_failed_total", "crm") >= 3 })
	if len(to.seen()) > 0 {
		t.Error("a request went to an address where no webhook may be")
	}
	s, err := newSettings(config.Webhook{URL: to.server.URL}, "", nil, nil, r.options)
	if err != nil {
		t.Fatal(err)
	}
	if a := s.post(t.Context(), []byte("[]"), time.Now()); a.err == nil || !strings.Contains(a.err.Error(), "where no webhook may be") {
		t.Errorf("the log would say %v", a)
	}
}

func TestFate(t *testing.T) {
	for code, want := range map[int]fate{
		0: again, 200: taken, 202: taken, 204: taken, 299: taken, 301: again, 307: again,
		400: refused, 401: refused, 404: refused, 408: again, 410: refused, 413: refused, 429: again, 500: again, 503: again, 999: again,
	} {
		if got := (answer{code: code}).fate(); got != want {
			t.Errorf("%d is %s, want %s", code, got, want)
		}
	}
}

func TestWait(t *testing.T) {
	for _, c := range []struct {
		n          int
		retryAfter time.Duration
		dice       float64
		want       time.Duration
	}{
		{1, 0, 0, time.Second},
		{1, 0, 1, 500 * time.Millisecond},
		{4, 0, 0, 8 * time.Second},
		{4, 0, 0.5, 6 * time.Second},
		{12, 0, 0, 5 * time.Minute},
		{500, 0, 1, 150 * time.Second},
		{1, 20 * time.Second, 0.3, 20 * time.Second},
		{12, 20 * time.Second, 0, 5 * time.Minute},
		{1, 9999 * time.Hour, 0, time.Hour},
	} {
		if got := (answer{retryAfter: c.retryAfter}).wait(c.n, time.Second, c.dice); got != c.want {
			t.Errorf("failure %d, Retry-After %v, dice %v: %v, want %v", c.n, c.retryAfter, c.dice, got, c.want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "120": 2 * time.Minute, "-5": 0, "x": 0, "99999999999999": 0,
		now.Add(time.Minute).Format(http.TimeFormat):  time.Minute,
		now.Add(-time.Minute).Format(http.TimeFormat): 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("Retry-After %q: %v, want %v", value, got, want)
		}
	}
}

// TestRetryAfterIsKept has a receiver that wants to be left alone for an hour.
func TestRetryAfterIsKept(t *testing.T) {
	to := newReceiver(t)
	to.answers(func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	r := newRig(t, config.Webhook{Name: "crm", URL: to.server.URL})
	r.start()
	r.record("a", 1)
	r.eventually("the failure", func() bool { return r.value("postrider_webhook_requests_failed_total", "crm") == 1 })
	time.Sleep(30 * time.Millisecond) // thirty times the first wait
	if n := len(to.seen()); n != 1 {
		t.Errorf("%d requests", n)
	}
}

// TestWriteFailure has the file of a segment fail, as a full disk makes it: the events are counted as lost, and the
// next ones begin a new file.
func TestWriteFailure(t *testing.T) {
	q, err := openQueue(t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	line := []byte("{}\n")
	if _, err := q.add(line); err != nil || q.flush() != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := q.add(line); err != nil {
			t.Fatal(err)
		}
	}
	_ = q.file.Close()
	var lost *lostError
	if err := q.flush(); !errors.As(err, &lost) || lost.events != 2 || q.waiting() != 1 {
		t.Fatalf("%v, %d waiting", err, q.waiting())
	}
	if _, err := q.add(line); err != nil || q.flush() != nil || q.waiting() != 2 || len(q.segments) != 2 {
		t.Errorf("after a failure: %v, %d waiting", err, q.waiting())
	}
	for n := 2; n > 0; n-- {
		b, err := q.take()
		if err != nil || b == nil || string(b.body) != "[{}]" || q.settle(b) != nil {
			t.Fatalf("%+v, %v", b, err)
		}
	}
}
