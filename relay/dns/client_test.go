package dns_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/postrider/postrider/relay/dns"
	"github.com/postrider/postrider/relay/smtptest"
)

func newServer(t *testing.T, records ...string) *smtptest.DNS {
	t.Helper()
	d, err := smtptest.NewDNS(records...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func newClient(servers ...string) *dns.Client {
	return dns.New(dns.Options{Servers: servers, Timeout: 250 * time.Millisecond})
}

func TestMX(t *testing.T) {
	d := newServer(t,
		"two.test. IN MX 20 B.two.test.", "two.test. IN MX 10 a.two.test.", "two.test. IN MX 30 a.two.test.",
		"null.test. IN MX 0 .",
		"notnull.test. IN MX 0 .", "notnull.test. IN MX 10 mx.notnull.test.",
		"address.test. IN MX 10 192.0.2.1.", `odd.test. IN MX 10 a\032b.odd.test.`,
		"alias.test. IN CNAME two.test.",
		"loop.test. IN CNAME pool.test.", "pool.test. IN CNAME loop.test.",
		"bare.test. IN A 192.0.2.1",
		"dangling.test. IN CNAME nowhere.test.",
	)
	d.Fail("servfail.test", mdns.RcodeServerFailure)
	d.Fail("refused.test", mdns.RcodeRefused)
	d.Silence("silent.test")
	two := []dns.MX{{Host: "a.two.test", Preference: 10}, {Host: "b.two.test", Preference: 20}}
	temporary := errors.New("temporary")
	for _, tc := range []struct {
		domain string
		want   []dns.MX
		err    error
	}{
		{"two.test", two, nil},
		{"TWO.test.", two, nil},
		{"alias.test", two, nil},
		{"null.test", []dns.MX{{Host: "."}}, nil},
		{"notnull.test", []dns.MX{{Host: "mx.notnull.test", Preference: 10}}, nil},
		{"address.test", nil, temporary},
		{"odd.test", nil, temporary},
		{"loop.test", nil, temporary},
		{"servfail.test", nil, temporary},
		{"refused.test", nil, temporary},
		{"silent.test", nil, temporary},
		{"bare.test", nil, dns.ErrNoData},
		{"none.test", nil, dns.ErrNXDomain},
		{"dangling.test", nil, dns.ErrNXDomain},
		{"not a name", nil, dns.ErrNXDomain},
		{"a..b", nil, dns.ErrNXDomain},
		{"", nil, dns.ErrNXDomain},
	} {
		t.Run(tc.domain, func(t *testing.T) {
			got, err := newClient(d.Addr()).MX(t.Context(), tc.domain)
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
			switch {
			case errors.Is(tc.err, temporary) && (err == nil || dns.NotFound(err)):
				t.Errorf("got %v, want a temporary error", err)
			case !errors.Is(tc.err, temporary) && !errors.Is(err, tc.err):
				t.Errorf("got %v, want %v", err, tc.err)
			}
		})
	}
}

func TestAThousandMXAreCutToTheBestOverTCP(t *testing.T) {
	var records []string
	for i := range 1000 {
		records = append(records, fmt.Sprintf("many.test. IN MX %d mx%d.many.test.", 1000-i, i))
	}
	d := newServer(t, records...)
	got, err := newClient(d.Addr()).MX(t.Context(), "many.test")
	if err != nil || len(got) != 20 || got[0].Host != "mx999.many.test" || got[19].Preference != 20 {
		t.Errorf("got %v, %v", got, err)
	}
	if n := d.Asked("many.test"); n != 2 {
		t.Errorf("asked %d times, want once over UDP and once over TCP", n)
	}
}

func TestAddrs(t *testing.T) {
	d := newServer(t, "both.test. IN A 192.0.2.1", "both.test. IN AAAA 2001:db8::1",
		"six.test. IN AAAA 2001:db8::1", "half.test. IN A 192.0.2.1", "x.empty.test. IN A 192.0.2.1")
	d.Answer("half.test", func(request *mdns.Msg) *mdns.Msg {
		if request.Question[0].Qtype == mdns.TypeAAAA {
			return new(mdns.Msg).SetRcode(request, mdns.RcodeServerFailure)
		}
		m := new(mdns.Msg).SetReply(request)
		r, _ := mdns.NewRR("half.test. 60 IN A 192.0.2.1")
		m.Answer = []mdns.RR{r}
		return m
	})
	d.Answer("halfno.test", func(request *mdns.Msg) *mdns.Msg {
		if request.Question[0].Qtype == mdns.TypeAAAA {
			return new(mdns.Msg).SetRcode(request, mdns.RcodeServerFailure)
		}
		return new(mdns.Msg).SetRcode(request, mdns.RcodeNameError)
	})
	four, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for host, want := range map[string][]netip.Addr{"both.test": {four, six}, "six.test": {six}, "half.test": {four}} {
		got, err := newClient(d.Addr()).Addrs(t.Context(), host)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v", host, got, err)
		}
	}
	if _, err := newClient(d.Addr()).Addrs(t.Context(), "halfno.test"); err == nil || dns.NotFound(err) {
		t.Errorf("one no and one failure: %v, want a temporary error", err)
	}
	if _, err := newClient(d.Addr()).Addrs(t.Context(), "empty.test"); !errors.Is(err, dns.ErrNoData) {
		t.Errorf("no address: %v", err)
	}
}

func TestTXTAndPTR(t *testing.T) {
	d := newServer(t, `k._domainkey.x.test. IN TXT "v=DKIM1; p=AB" "CD \"q\" \\ \195\164"`,
		"1.2.0.192.in-addr.arpa. IN PTR Mail.x.test.", `2.2.0.192.in-addr.arpa. IN PTR a\032b.test.`)
	c := newClient(d.Addr())
	got, err := c.TXT(t.Context(), "k._domainkey.x.test")
	if err != nil || len(got) != 1 || got[0] != `v=DKIM1; p=ABCD "q" \ ä` {
		t.Errorf("TXT: %q, %v", got, err)
	}
	names, err := c.PTR(t.Context(), netip.MustParseAddr("::ffff:192.0.2.1"))
	if err != nil || !slices.Equal(names, []string{"mail.x.test"}) {
		t.Errorf("PTR: %q, %v", names, err)
	}
	if _, err := c.PTR(t.Context(), netip.MustParseAddr("192.0.2.2")); !errors.Is(err, dns.ErrNoData) {
		t.Errorf("PTR that is no host name: %v", err)
	}
}

func TestNextServerWhenOneFails(t *testing.T) {
	bad, good := newServer(t), newServer(t, "x.test. IN MX 10 mx.x.test.", "y.test. IN MX 10 mx.y.test.")
	bad.Fail("x.test", mdns.RcodeServerFailure)
	bad.Fail("y.test", mdns.RcodeServerFailure)
	c := newClient(bad.Addr(), good.Addr())
	for _, domain := range []string{"x.test", "y.test"} {
		if _, err := c.MX(t.Context(), domain); err != nil {
			t.Error(err)
		}
	}
	if bad.Asked("y.test") != 0 {
		t.Error("the server that failed was asked first again")
	}
}

func TestAnswersAreKeptAsLongAsTheyMay(t *testing.T) {
	var mu sync.Mutex
	now := time.Unix(1e9, 0)
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	pass := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	d := newServer(t, "x.test. 0 IN MX 10 mx.x.test.", "long.test. 999999 IN MX 10 mx.x.test.")
	d.Fail("bad.test", mdns.RcodeServerFailure)
	c := dns.New(dns.Options{Servers: []string{d.Addr()}, Now: clock, CacheSize: 4})
	for _, tc := range []struct {
		name        string
		kept, after time.Duration
		each        int
	}{
		{"x.test", 4 * time.Second, 2 * time.Second, 1},
		{"long.test", 59 * time.Minute, 2 * time.Minute, 1},
		{"none.test", 59 * time.Second, 2 * time.Second, 1},
		{"bad.test", 4 * time.Second, 2 * time.Second, 2},
	} {
		for _, wait := range []time.Duration{0, tc.kept, tc.after} {
			pass(wait)
			_, _ = c.MX(t.Context(), tc.name)
		}
		if got := d.Asked(tc.name); got != 2*tc.each {
			t.Errorf("%s: asked %d times, want %d", tc.name, got, 2*tc.each)
		}
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	d := newServer(t)
	c := dns.New(dns.Options{Servers: []string{d.Addr()}, CacheSize: 2})
	for _, name := range []string{"a.test", "b.test", "a.test", "c.test", "a.test", "b.test"} {
		_, _ = c.TXT(t.Context(), name)
	}
	if a, b := d.Asked("a.test"), d.Asked("b.test"); a != 1 || b != 2 {
		t.Errorf("a asked %d times, b %d; want the one not used for longest, b, to go", a, b)
	}
}

func TestEqualQuestionsShareOneAnswer(t *testing.T) {
	d := newServer(t, "x.test. IN MX 10 mx.x.test.")
	release := make(chan struct{})
	d.Answer("x.test", func(request *mdns.Msg) *mdns.Msg {
		<-release
		return new(mdns.Msg).SetRcode(request, mdns.RcodeNameError)
	})
	c := dns.New(dns.Options{Servers: []string{d.Addr()}, Timeout: 10 * time.Second})
	impatient, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		if _, err := c.MX(impatient, "x.test"); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
	for d.Asked("x.test") == 0 {
		time.Sleep(time.Millisecond)
	}
	for range 5 {
		wait.Go(func() {
			if _, err := c.MX(t.Context(), "X.test"); !errors.Is(err, dns.ErrNXDomain) {
				t.Errorf("got %v", err)
			}
		})
	}
	cancel()
	close(release)
	wait.Wait()
	if n := d.Asked("x.test"); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestAServerThatLiesIsNotBelieved(t *testing.T) {
	d := newServer(t)
	evil, _ := mdns.NewRR("x.test. 60 IN MX 10 evil.test.")
	other, _ := mdns.NewRR("other.test. 60 IN MX 10 evil.test.")
	for name, change := range map[string]func(m *mdns.Msg){
		"wrong id":       func(m *mdns.Msg) { m.Id++; m.Answer = []mdns.RR{evil} },
		"wrong question": func(m *mdns.Msg) { m.Question[0].Name = "other.test."; m.Answer = []mdns.RR{other} },
		"no question":    func(m *mdns.Msg) { m.Question = nil; m.Answer = []mdns.RR{evil} },
		"not an answer":  func(m *mdns.Msg) { m.Response = false; m.Answer = []mdns.RR{evil} },
		"truncated":      func(m *mdns.Msg) { m.Truncated = true; m.Answer = []mdns.RR{evil} }, // over TCP, too
		"referral":       func(m *mdns.Msg) { ns, _ := mdns.NewRR("test. 60 IN NS ns.test."); m.Ns = []mdns.RR{ns} },
		"half an alias": func(m *mdns.Msg) {
			alias, _ := mdns.NewRR("x.test. 60 IN CNAME y.test.")
			m.Answer = []mdns.RR{alias}
		},
	} {
		d.Answer("x.test", func(request *mdns.Msg) *mdns.Msg {
			m := new(mdns.Msg).SetReply(request)
			change(m)
			return m
		})
		if got, err := newClient(d.Addr()).MX(t.Context(), "x.test"); err == nil || dns.NotFound(err) {
			t.Errorf("%s: got %v, %v; want a temporary error", name, got, err)
		}
	}
}

func TestForeignAddressesInAnAnswerAreIgnored(t *testing.T) {
	d := newServer(t)
	d.Answer("mx.x.test", func(request *mdns.Msg) *mdns.Msg {
		m := new(mdns.Msg).SetReply(request)
		evil, _ := mdns.NewRR("other.test. 60 IN A 10.0.0.1")
		alias, _ := mdns.NewRR("other.test. 60 IN CNAME evil.test.")
		target, _ := mdns.NewRR("evil.test. 60 IN A 10.0.0.2")
		m.Answer = []mdns.RR{alias, target, evil}
		if request.Question[0].Qtype == mdns.TypeA {
			good, _ := mdns.NewRR("mx.x.test. 60 IN A 192.0.2.1")
			m.Answer = append(m.Answer, good)
		}
		return m
	})
	got, err := newClient(d.Addr()).Addrs(t.Context(), "mx.x.test")
	if err != nil || len(got) != 1 || got[0] != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestALongChainOfAliasesIsNotFollowed(t *testing.T) {
	d := newServer(t)
	d.Answer("x.test", func(request *mdns.Msg) *mdns.Msg {
		m := new(mdns.Msg).SetReply(request)
		owner := "x.test."
		for i := range 15 {
			target := fmt.Sprintf("x%d.test.", i)
			alias, _ := mdns.NewRR(owner + " 60 IN CNAME " + target)
			m.Answer = append(m.Answer, alias)
			owner = target
		}
		end, _ := mdns.NewRR(owner + " 60 IN A 192.0.2.1")
		m.Answer = append(m.Answer, end)
		return m
	})
	if got, err := newClient(d.Addr()).Addrs(t.Context(), "x.test"); err == nil || dns.NotFound(err) {
		t.Errorf("got %v, %v; want a temporary error", got, err)
	}
}

func TestForeignRecordsInAnAnswerAreIgnored(t *testing.T) {
	d := newServer(t)
	d.Answer("x.test", func(request *mdns.Msg) *mdns.Msg {
		m := new(mdns.Msg).SetReply(request)
		evil, _ := mdns.NewRR("other.test. 60 IN MX 10 evil.test.")
		m.Answer = []mdns.RR{evil}
		return m
	})
	if got, err := newClient(d.Addr()).MX(t.Context(), "x.test"); !errors.Is(err, dns.ErrNoData) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestServerWithoutEDNS0(t *testing.T) {
	d := newServer(t)
	d.Answer("x.test", func(request *mdns.Msg) *mdns.Msg {
		if request.IsEdns0() != nil {
			return new(mdns.Msg).SetRcode(request, mdns.RcodeFormatError)
		}
		m := new(mdns.Msg).SetReply(request)
		r, _ := mdns.NewRR("x.test. 60 IN MX 10 mx.x.test.")
		m.Answer = []mdns.RR{r}
		return m
	})
	if _, err := newClient(d.Addr()).MX(t.Context(), "x.test"); err != nil {
		t.Error(err)
	}
}

func TestErrorsSayWhatWasAsked(t *testing.T) {
	d := newServer(t)
	_, err := newClient(d.Addr()).MX(t.Context(), "none.test")
	if err == nil || !strings.Contains(err.Error(), "MX of none.test at "+d.Addr()) {
		t.Error(err)
	}
}
