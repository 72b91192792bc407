package route

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/dns"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/smtptest"
)

// zone is a resolver: MX and addresses by name, or the error that a look-up gives.
type zone struct {
	mx     map[string][]dns.MX
	addrs  map[string][]netip.Addr
	errors map[string]error
}

func (z zone) MX(_ context.Context, domain string) ([]dns.MX, error) {
	return find(z.mx, z.errors, domain, "MX ")
}

func (z zone) Addrs(_ context.Context, host string) ([]netip.Addr, error) {
	return find(z.addrs, z.errors, host, "A ")
}

func (zone) TXT(context.Context, string) ([]string, error)     { return nil, dns.ErrNoData }
func (zone) PTR(context.Context, netip.Addr) ([]string, error) { return nil, dns.ErrNoData }

func find[T any](records map[string][]T, errs map[string]error, name, kind string) ([]T, error) {
	if err := errs[kind+name]; err != nil {
		return nil, err
	}
	if found := records[name]; len(found) > 0 {
		return slices.Clone(found), nil
	}
	return nil, fmt.Errorf("look up %s%s: %w", kind, name, dns.ErrNoData)
}

func addrs(texts ...string) []netip.Addr {
	var all []netip.Addr
	for _, text := range texts {
		all = append(all, netip.MustParseAddr(text))
	}
	return all
}

var testZone = zone{
	mx: map[string][]dns.MX{
		"two.test":     {{Host: "a.test", Preference: 10}, {Host: "b.test", Preference: 20}},
		"owt.test":     {{Host: "b.test", Preference: 1}, {Host: "a.test", Preference: 2}},
		"equal.test":   {{Host: "a.test", Preference: 10}, {Host: "b.test", Preference: 10}, {Host: "six.test", Preference: 20}},
		"null.test":    {{Host: ".", Preference: 0}},
		"one.test":     {{Host: "a.test", Preference: 10}},
		"self.test":    {{Host: "a.test", Preference: 10}, {Host: "relay.test", Preference: 20}, {Host: "b.test", Preference: 20}, {Host: "six.test", Preference: 30}},
		"selfip.test":  {{Host: "a.test", Preference: 10}, {Host: "disguised.test", Preference: 20}, {Host: "b.test", Preference: 30}},
		"loop.test":    {{Host: "relay.test", Preference: 10}, {Host: "a.test", Preference: 10}},
		"private.test": {{Host: "inside.test", Preference: 10}},
		"mixed.test":   {{Host: "inside.test", Preference: 10}, {Host: "half.test", Preference: 20}},
		"gone.test":    {{Host: "nowhere.test", Preference: 10}},
		"broken.test":  {{Host: "nowhere.test", Preference: 10}, {Host: "servfail.test", Preference: 20}},
		"partly.test":  {{Host: "servfail.test", Preference: 10}, {Host: "a.test", Preference: 20}},
		"six.test":     {{Host: "six.test", Preference: 10}},
	},
	addrs: map[string][]netip.Addr{
		"a.test": addrs("1.1.1.1"), "b.test": addrs("1.1.1.2", "2606:4700::2"), "six.test": addrs("2606:4700::6"),
		"relay.test": addrs("9.9.9.9"), "disguised.test": addrs("9.9.9.9"), "bare.test": addrs("1.1.1.3"),
		"inside.test": addrs("10.0.0.1"), "half.test": addrs("10.0.0.2", "1.1.1.4"), "bareself.test": addrs("9.9.9.9"),
		"smart.test": addrs("10.96.0.7"),
	},
	errors: map[string]error{
		"MX nx.test": dns.ErrNXDomain, "MX servfail.test": errors.New("look up MX of servfail.test: SERVFAIL"),
		"A servfail.test": errors.New("look up A of servfail.test: SERVFAIL"),
		"A bareslow.test": errors.New("look up A of bareslow.test: time-out"),
	},
}

func newRouter(t *testing.T, relay config.Relay, dir string) *Router {
	t.Helper()
	relay.Hostname = "relay.test"
	relay.SelfNames = append(relay.SelfNames, "9.9.9.9")
	r, err := New(Options{Config: &config.Config{Relay: relay, Dir: dir}, Resolver: testZone})
	if err != nil {
		t.Fatal(err)
	}
	r.shuffle = func(int, func(i, j int)) {}
	return r
}

// show writes the hops of a plan as "a.test:25 1.1.1.1; …".
func show(p Plan) string {
	var hops []string
	for _, h := range p.Hops {
		var found []string
		for _, a := range h.Addrs {
			found = append(found, a.String())
		}
		hops = append(hops, fmt.Sprintf("%s:%d %s", h.Host, h.Port, strings.Join(found, ",")))
	}
	return strings.Join(hops, "; ")
}

func TestPlanMX(t *testing.T) {
	for _, tc := range []struct{ domain, hops, err string }{
		{"two.test", "a.test:25 1.1.1.1; b.test:25 1.1.1.2,2606:4700::2", ""},
		{"equal.test", "a.test:25 1.1.1.1; b.test:25 1.1.1.2,2606:4700::2; six.test:25 2606:4700::6", ""},
		{"bare.test", "bare.test:25 1.1.1.3", ""},
		{"self.test", "a.test:25 1.1.1.1", ""},
		{"selfip.test", "a.test:25 1.1.1.1", ""},
		{"mixed.test", "half.test:25 1.1.1.4", ""},
		{"partly.test", "a.test:25 1.1.1.1", ""},
		{"loop.test", "", "550 5.4.6"},
		{"bareself.test", "", "550 5.4.6"},
		{"null.test", "", "556 5.1.10"},
		{"nx.test", "", "550 5.1.2"},
		{"nothing.test", "", "550 5.4.4"},
		{"[127.0.0.1]", "", "550 5.1.2"},
		{"1.1.1.1", "", "550 5.1.2"},
		{"2606:4700::1", "", "550 5.1.2"},
		{"servfail.test", "", "451 4.4.3 look up MX of servfail.test: SERVFAIL"},
		{"bareslow.test", "", "451 4.4.3"},
		{"private.test", "", "451 4.4.0 inside.test[10.0.0.1]: not a public address, and mx.allowCIDRs does not hold it"},
		{"gone.test", "", "451 4.4.4"},
		{"broken.test", "", "451 4.4.3"},
	} {
		t.Run(tc.domain, func(t *testing.T) {
			p, err := newRouter(t, config.Relay{}, "").Plan(t.Context(), &envelope.Envelope{Domain: tc.domain})
			if got := show(p); got != tc.hops {
				t.Errorf("hops %q, want %q", got, tc.hops)
			}
			var r reply.Reply
			if tc.err == "" != (err == nil) || err != nil && !errors.As(err, &r) || !strings.HasPrefix(r.String(), tc.err) {
				t.Errorf("error %v, want %q", err, tc.err)
			}
			if err == nil && (p.Route != "mx" || p.Hops[0].TLS != config.HopOpportunistic) {
				t.Errorf("plan %+v", p)
			}
		})
	}
}

// What strangers write into their DNS must not make us connect to our own network (RFC 5321 §5.1 knows no such bound;
// metadata services do).
func TestAnMXMayNotPointInside(t *testing.T) {
	for _, address := range []string{
		"127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
		"255.255.255.255", "224.0.0.1", "::1", "::", "fe80::1", "fc00::1", "fd00::1", "ff02::1", "::ffff:127.0.0.1",
		"::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2001:db8::1",
	} {
		lie := zone{
			mx:    map[string][]dns.MX{"liar.test": {{Host: "mx.liar.test", Preference: 10}}},
			addrs: map[string][]netip.Addr{"mx.liar.test": addrs(address), "bare.test": addrs(address, "1.1.1.1")},
		}
		r, err := New(Options{Config: &config.Config{Relay: config.Relay{Hostname: "relay.test"}}, Resolver: lie})
		if err != nil {
			t.Fatal(err)
		}
		p, err := r.Plan(t.Context(), &envelope.Envelope{Domain: "liar.test"})
		if err == nil || !strings.HasPrefix(err.Error(), "451 4.4.0 mx.liar.test["+address+"]: not a public address") {
			t.Errorf("%s: %s, %v", address, show(p), err)
		}
		if p, err := r.Plan(t.Context(), &envelope.Envelope{Domain: "bare.test"}); err != nil || show(p) != "bare.test:25 1.1.1.1" {
			t.Errorf("%s beside a public address: %s, %v", address, show(p), err)
		}
	}
}

func TestEqualPreferencesAreShuffledAndOthersAreNot(t *testing.T) {
	r := newRouter(t, config.Relay{}, "")
	r.shuffle = func(n int, swap func(i, j int)) { // reverses
		for i := range n / 2 {
			swap(i, n-1-i)
		}
	}
	p, err := r.Plan(t.Context(), &envelope.Envelope{Domain: "equal.test"})
	if want := "b.test:25 1.1.1.2,2606:4700::2; a.test:25 1.1.1.1; six.test:25 2606:4700::6"; err != nil || show(p) != want {
		t.Errorf("%s, %v", show(p), err)
	}
}

func TestEgressFamiliesLimitWhatIsDialled(t *testing.T) {
	six := newRouter(t, config.Relay{Egress: config.Egress{Addresses: []string{"2606:4700::1"}}}, "")
	p, err := six.Plan(t.Context(), &envelope.Envelope{Domain: "two.test"})
	if err != nil || show(p) != "b.test:25 2606:4700::2" {
		t.Errorf("%s, %v", show(p), err)
	}
	four := newRouter(t, config.Relay{Egress: config.Egress{Addresses: []string{"8.8.8.8"}}}, "")
	if _, err := four.Plan(t.Context(), &envelope.Envelope{Domain: "six.test"}); err == nil ||
		err.Error() != "451 4.4.0 six.test[2606:4700::6]: no egress address of this family" {
		t.Error(err)
	}
}

func TestRoutes(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"user": "u\n", "pass": "p w\r\n", "ca.pem": string(smtptest.NewCA().PEM())} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	smart := []config.SmartHost{
		{Host: "servfail.test", Port: 587, TLS: config.HopRequired},
		{Host: "Smart.test", Port: 587, TLS: config.HopRequired, UsernameFile: "user", PasswordFile: "pass", CAFile: "ca.pem"},
		{Host: "10.0.0.9", Port: 25, TLS: config.HopNone},
	}
	r := newRouter(t, config.Relay{Routes: []config.Route{
		{Name: "inside", Match: config.Match{RecipientDomains: []string{"Inside.test"}}, SmartHosts: smart},
		{Name: "from", Match: config.Match{SenderDomains: []string{"sender.test"}, RecipientDomains: []string{"x.test"}}, SmartHosts: smart[2:]},
		{Name: "lan", Match: config.Match{RecipientDomains: []string{"private.test"}}, MX: &config.MX{Port: 2525, AllowCIDRs: []string{"10.0.0.0/8"}}},
		{Name: "from2", Match: config.Match{SenderDomains: []string{"sender.test"}}, SmartHosts: smart[:1]},
	}}, dir)
	for _, tc := range []struct{ from, domain, route, hops, site string }{
		{"a@b.test", "inside.test", "inside", "smart.test:587 10.96.0.7; 10.0.0.9:25 10.0.0.9", "10.0.0.9:25+2~"},
		{"a@Sender.test", "x.test", "from", "10.0.0.9:25 10.0.0.9", "10.0.0.9:25"},
		{"", "private.test", "lan", "inside.test:2525 10.0.0.1", "inside.test"},
		{"a@b.test", "one.test", "mx", "a.test:25 1.1.1.1", "a.test"},
	} {
		e := &envelope.Envelope{ReversePath: tc.from, Domain: tc.domain}
		p, err := r.Plan(t.Context(), e)
		if err != nil || p.Route != tc.route || show(p) != tc.hops {
			t.Errorf("%s: %s by %s, %v", tc.domain, show(p), p.Route, err)
		}
		if site, _ := r.Site(t.Context(), e.SenderDomain(), e.Domain); site != p.Site || !strings.HasPrefix(site, tc.site) {
			t.Errorf("%s: site %s, plan says %s", tc.domain, site, p.Site)
		}
	}
	p, _ := r.Plan(t.Context(), &envelope.Envelope{Domain: "inside.test"})
	if h := p.Hops[0]; h.Username != "u" || h.Password != "p w" || h.RootCAs == nil || h.TLS != config.HopRequired {
		t.Errorf("smart host %+v", h)
	}
	if _, err := r.Plan(t.Context(), &envelope.Envelope{ReversePath: "a@sender.test", Domain: "one.test"}); err == nil ||
		!strings.HasPrefix(err.Error(), "451 4.4.3") {
		t.Errorf("smart host whose look-up fails: %v", err)
	}
	for domain, want := range map[string]bool{"inside.TEST": true, "x.test": false, "private.test": false, "other.test": false, "": false} {
		if got := r.RelaysTo(domain); got != want {
			t.Errorf("RelaysTo(%q) = %v", domain, got)
		}
	}
}

func TestARouteThatCannotBeUsedTakesNoOtherDown(t *testing.T) {
	mx, lmtp := &config.MX{Port: 25}, &config.LMTP{Host: "10.0.0.9", Port: 24}
	for want, bad := range map[string]config.Route{
		"exactly one of mx, smartHosts, lmtp and backup must be set":         {},
		"exactly one of mx, smartHosts, lmtp and backup must be set (again)": {MX: mx, LMTP: lmtp},
		"mx.allowCIDRs": {MX: &config.MX{AllowCIDRs: []string{"10.0.0.0"}}},
	} {
		want, _, _ = strings.Cut(want, " (")
		bad.Name, bad.Match.RecipientDomains = "bad", []string{"bad.test"}
		good := config.Route{Name: "good", Match: config.Match{RecipientDomains: []string{"good.test"}}, LMTP: lmtp}
		r := newRouter(t, config.Relay{Routes: []config.Route{bad, good}}, "")
		var refused reply.Reply
		_, err := r.Plan(t.Context(), &envelope.Envelope{Domain: "bad.test"})
		if !errors.As(err, &refused) || refused.Code != 451 || refused.Enhanced != "4.3.5" || !strings.Contains(refused.Text, want) {
			t.Errorf("%v, want 451 with %q", err, want)
		}
		if _, err := r.Plan(t.Context(), &envelope.Envelope{Domain: "good.test"}); err != nil {
			t.Errorf("the other route: %v", err)
		}
		if found := r.Problems(); len(found) != 1 || !strings.HasPrefix(found[0].Error(), "route bad: ") || !strings.Contains(found[0].Error(), want) {
			t.Errorf("problems %v, want %q", found, want)
		}
	}
	config := config.Config{Relay: config.Relay{Egress: config.Egress{Addresses: []string{"x"}}}}
	if _, err := New(Options{Config: &config, Resolver: testZone}); err == nil {
		t.Error("an egress address that is none was taken")
	}
}

func TestSmartHostsWithoutTheirFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "empty"), []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := config.SmartHost{Host: "192.0.2.1", Port: 25}
	for want, host := range map[string]config.SmartHost{
		"no such file":         {Host: "192.0.2.2", UsernameFile: "none"},
		"empty is empty":       {Host: "192.0.2.2", PasswordFile: "empty"},
		"holds no certificate": {Host: "192.0.2.2", CAFile: "empty"},
	} {
		plan := func(hosts ...config.SmartHost) (Plan, error) {
			routes := []config.Route{{Name: "up", SmartHosts: hosts}}
			r := newRouter(t, config.Relay{Routes: routes}, dir)
			if problems := r.Problems(); len(problems) != 1 || !strings.HasPrefix(problems[0].Error(), "route up: 192.0.2.2:0: ") {
				t.Errorf("problems %v", problems)
			}
			return r.Plan(t.Context(), &envelope.Envelope{Domain: "example.com"})
		}
		var refused reply.Reply
		if _, err := plan(host); !errors.As(err, &refused) || refused.Code != 451 || !strings.Contains(refused.Text, want) {
			t.Errorf("%v, want 451 with %q", err, want)
		}
		if p, err := plan(host, good); err != nil || len(p.Hops) != 1 || p.Hops[0].Host != "192.0.2.1" {
			t.Errorf("with another host: %+v, %v", p, err)
		}
	}
}

func TestSite(t *testing.T) {
	r := newRouter(t, config.Relay{}, "")
	site := func(domain string) string { s, _ := r.Site(t.Context(), "", domain); return s }
	if a, b := site("two.test"), site("owt.test"); a != b || !strings.HasPrefix(a, "a.test+1~") {
		t.Errorf("the same hosts are %s and %s", a, b)
	}
	if a, b := siteName([]string{"a", "b"}), siteName([]string{"a", "c"}); a == b {
		t.Errorf("two sets share the name %s", a)
	}
	for domain, want := range map[string]string{"one.test": "a.test", "null.test": "null.test", "bare.test": "bare.test",
		"nx.test": "nx.test", "servfail.test": "servfail.test"} {
		if got := site(domain); got != want {
			t.Errorf("%s is site %s", domain, got)
		}
	}
}

// Policies whose suffixes overlap are about one provider, and every MX host must be its own, on a label's boundary.
func TestProviderIsOneSite(t *testing.T) {
	policies := []config.RatePolicy{
		{MXSuffixes: []string{"googlemail.test", "google.test"}},
		{MXSuffixes: []string{"google.test"}},
		{MXSuffixes: []string{"protection.outlook.test", "mx.microsoft"}},
		{MXSuffixes: []string{"eu.protection.outlook.test", "hotmail.test"}},
		{MXSuffixes: []string{"google.test", "hotmail.test"}, SenderDomains: []string{"tenant.test"}},
		{DestinationDomains: []string{"a.test"}},
	}
	for name, tc := range map[string]struct {
		hosts []string
		site  string
	}{
		"its own name":        {[]string{"google.test"}, "*.google.test"},
		"below":               {[]string{"a.l.google.test", "b.google.test"}, "*.google.test"},
		"two suffixes":        {[]string{"a.google.test", "b.googlemail.test"}, "*.google.test"},
		"not on a label":      {[]string{"mygoogle.test"}, ""},
		"a stranger among":    {[]string{"a.google.test", "mx.backup.test"}, ""},
		"a stranger first":    {[]string{"mx.backup.test", "a.google.test"}, ""},
		"a name per domain":   {[]string{"acme-test.mail.protection.outlook.test"}, "*.eu.protection.outlook.test"},
		"and another":         {[]string{"x.y.mx.microsoft"}, "*.eu.protection.outlook.test"},
		"joined by a part":    {[]string{"mx.hotmail.test"}, "*.eu.protection.outlook.test"},
		"of no one policy":    {[]string{"mx.hotmail.test", "x.mx.microsoft"}, ""},
		"of two providers":    {[]string{"a.google.test", "x.mx.microsoft"}, ""},
		"no host is nobody's": {nil, ""},
	} {
		for range 4 {
			p := newProviders(policies)
			if site, known := p.of(tc.hosts); known != (tc.site != "") || known && site != tc.site {
				t.Errorf("%s: %q, %v", name, site, known)
			}
			rand.Shuffle(len(policies), func(i, j int) { policies[i], policies[j] = policies[j], policies[i] })
		}
	}
	r := newRouter(t, config.Relay{Policies: []config.RatePolicy{{MXSuffixes: []string{"test"}}}}, "")
	for _, domain := range []string{"one.test", "two.test"} {
		if site, hosts := r.Site(t.Context(), "", domain); site != "*.test" || len(hosts) == 0 {
			t.Errorf("%s is at %s, %v", domain, site, hosts)
		}
	}
	if site, hosts := r.Site(t.Context(), "", "bare.test"); site != "bare.test" || hosts != nil {
		t.Errorf("a domain without MX is at %s, %v", site, hosts)
	}
}

func TestPublic(t *testing.T) {
	for text, want := range map[string]bool{
		"1.1.1.1": true, "172.32.0.1": true, "100.128.0.1": true, "2606:4700::1": true, "64:ff9b::101:101": true,
		"0.0.0.0": false, "10.1.2.3": false, "100.64.0.1": false, "127.0.0.1": false, "169.254.169.254": false,
		"172.31.255.255": false, "192.168.0.1": false, "192.0.2.1": false, "198.51.100.1": false, "203.0.113.1": false,
		"198.19.0.1": false, "224.0.0.1": false, "255.255.255.255": false, "192.88.99.1": false,
		"::": false, "::1": false, "::ffff:1.1.1.1": false, "::ffff:127.0.0.1": false, "64:ff9b::7f00:1": false,
		"fe80::1": false, "fc00::1": false, "fd12::1": false, "ff02::1": false, "2001:db8::1": false, "2002:7f00:1::": false,
		"2001::1": false, "::7f00:1": false, "3fff::1": false, "64:ff9b:1::101:101": false,
	} {
		if got := Public(netip.MustParseAddr(text)); got != want {
			t.Errorf("Public(%s) = %v", text, got)
		}
	}
}
