package filter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/dns"

	mdns "github.com/miekg/dns"
)

func dnsbl(action config.DNSBLAction, onFailure config.OnFailure, zones ...string) config.Filter {
	return config.Filter{Name: "lists", OnFailure: onFailure, DNSBL: &config.DNSBL{Zones: zones, Action: action}}
}

func TestListName(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.99":      "99.2.0.192.bl.example",
		"2001:db8::1:ff0": "0.f.f.0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example",
	} {
		if got := listName(netip.MustParseAddr(addr), "bl.example."); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}

func TestListedClient(t *testing.T) {
	_, resolver := newDNS(t,
		"7.2.0.192.bl.example. A 127.0.0.2", `7.2.0.192.bl.example. TXT "spam \"source\"\010see https://bl.example/7"`,
		"8.2.0.192.two.example. A 127.0.0.4",
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example. A 127.0.0.2",
		"ok.bl.example. A 127.0.0.2",
	)
	r := newRig(t, resolver, dnsbl(config.DNSBLReject, config.FailDefer, "bl.example", "two.example"))
	for addr, want := range map[string]string{
		"192.0.2.7":        `550 5.7.1 Client 192.0.2.7 is listed by bl.example: spam "source" see https://bl.example/7`,
		"192.0.2.8":        "550 5.7.1 Client 192.0.2.8 is listed by two.example",
		"2001:db8::1":      "550 5.7.1 Client 2001:db8::1 is listed by bl.example",
		"::ffff:192.0.2.8": "550 5.7.1 Client 192.0.2.8 is listed by two.example",
		"192.0.2.1":        "",
		"2001:db8::2":      "",
	} {
		got := ""
		if err := r.chain.Client(t.Context(), netip.MustParseAddr(addr)); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
	if !r.counted(`{filter="lists",verdict="refuse"} 3`) || !r.counted(`{filter="lists",verdict="accept"} 2`) {
		t.Error("verdicts are not counted")
	}
}

func TestReportedClientIsNotRefused(t *testing.T) {
	_, resolver := newDNS(t, "7.2.0.192.bl.example. A 127.0.0.2")
	r := newRig(t, resolver, dnsbl(config.DNSBLReport, config.FailDefer, "bl.example"))
	if err := r.chain.Client(t.Context(), netip.MustParseAddr("192.0.2.7")); err != nil {
		t.Error(err)
	}
	if !r.counted(`{filter="lists",verdict="report"} 1`) {
		t.Error("the listing is not counted")
	}
}

// TestListThatIsNone has lists that answer, but not about the client.
func TestListThatIsNone(t *testing.T) {
	server, resolver := newDNS(t,
		"7.2.0.192.parked.example. A 203.0.113.5",
		"7.2.0.192.refusing.example. A 127.255.255.254",
		"7.2.0.192.both.example. A 127.0.0.2", "7.2.0.192.both.example. A 198.51.100.1",
	)
	server.Fail("7.2.0.192.broken.example", mdns.RcodeServerFailure)
	client := netip.MustParseAddr("192.0.2.7")
	for _, zone := range []string{"parked.example", "refusing.example", "both.example", "broken.example"} {
		r := newRig(t, resolver, dnsbl(config.DNSBLReject, config.FailDefer, zone))
		if err := r.chain.Client(t.Context(), client); err == nil || err.Error() != "451 4.7.1 Filter lists gives no verdict; try again later" {
			t.Errorf("%s, Defer: %v", zone, err)
		}
		r = newRig(t, resolver, dnsbl(config.DNSBLReject, config.FailAccept, zone))
		if err := r.chain.Client(t.Context(), client); err != nil {
			t.Errorf("%s, Accept: %v", zone, err)
		}
		if !r.counted(`{filter="lists",verdict="none"} 1`) {
			t.Errorf("%s: the failure is not counted", zone)
		}
	}
	// One that lists the client counts, whatever becomes of the others.
	if err := server.Add("7.2.0.192.bl.example. A 127.0.0.2"); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, resolver, dnsbl(config.DNSBLReject, config.FailAccept, "broken.example", "bl.example"))
	if err := r.chain.Client(t.Context(), client); err == nil || !strings.Contains(err.Error(), "listed by bl.example") {
		t.Errorf("with one list broken: %v", err)
	}
}

// asked is a resolver that counts.
type asked struct {
	Resolver
	n   int
	err error
}

func (a *asked) A(context.Context, string) ([]netip.Addr, error) {
	a.n++
	return nil, a.err
}

func TestAnswersAreRemembered(t *testing.T) {
	for name, c := range map[string]struct {
		err error
		ttl time.Duration
	}{"answer": {dns.ErrNXDomain, remember}, "failure": {errors.New("no answer"), forgive}} {
		now := time.Unix(1_800_000_000, 0)
		counting := &asked{err: c.err}
		l := newList(dnsbl(config.DNSBLReject, config.FailAccept, "bl.example"), Options{
			Resolver: counting, Metrics: NewMetrics(nil), Log: slog.New(slog.DiscardHandler),
		})
		l.TimeoutSeconds = 15
		l.now = func() time.Time { return now }
		ask := func() { _ = l.judge(t.Context(), netip.MustParseAddr("192.0.2.7")) }
		ask()
		ask()
		now = now.Add(c.ttl - 1)
		ask()
		if counting.n != 1 {
			t.Errorf("%s: asked %d times", name, counting.n)
		}
		now = now.Add(1)
		ask()
		if counting.n != 2 {
			t.Errorf("%s: asked %d times after it expired", name, counting.n)
		}
		for i := range maxClients + 100 {
			l.keep(netip.MustParseAddr(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)), standing{})
		}
		if len(l.known) > maxClients {
			t.Errorf("%s: %d answers are kept", name, len(l.known))
		}
	}
}

// TestSilentList has a list that never answers: the wait is bounded, and there is one for all of a session.
func TestSilentList(t *testing.T) {
	server, resolver := newDNS(t)
	server.Silence("7.2.0.192.bl.example")
	f := dnsbl(config.DNSBLReject, config.FailDefer, "bl.example")
	f.TimeoutSeconds = 1
	r := newRig(t, resolver, f)
	began := time.Now()
	for range 5 {
		if err := r.chain.Client(t.Context(), netip.MustParseAddr("192.0.2.7")); err == nil || !strings.HasPrefix(err.Error(), "451") {
			t.Error(err)
		}
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("five recipients waited %v", took)
	}
}

func FuzzListName(f *testing.F) {
	f.Add([]byte{192, 0, 2, 7}, "bl.example")
	f.Add(make([]byte, 16), "a.b.c.")
	f.Fuzz(func(t *testing.T, octets []byte, zone string) {
		addr, ok := netip.AddrFromSlice(octets)
		if !ok {
			return
		}
		name := listName(addr.Unmap(), zone)
		labels := 4
		if addr.Unmap().Is6() {
			labels = 32
		}
		reversed, ok := strings.CutSuffix(name, "."+strings.TrimSuffix(zone, "."))
		if !ok || strings.Count(reversed, ".") != labels-1 {
			t.Errorf("%s under %q: %q", addr, zone, name)
		}
	})
}
