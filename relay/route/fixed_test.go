package route

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/health"
	"github.com/postrider/postrider/relay/reply"
)

// fixedRoutes has one route of each kind whose next hops the admin names.
var fixedRoutes = []config.Route{
	{Name: "boxes", Match: config.Match{RecipientDomains: []string{"Boxes.test"}}, LMTP: &config.LMTP{Host: "inside.test", Port: 24},
		VerifyRecipients: config.VerifyProbe},
	{Name: "customer", Match: config.Match{RecipientDomains: []string{"loop.test"}},
		Backup: &config.Backup{Host: "a.test", Port: 25, ProbeSeconds: 30}, VerifyRecipients: config.VerifyProbe},
	{Name: "up", Match: config.Match{RecipientDomains: []string{"up.test"}}, SmartHosts: []config.SmartHost{
		{Host: "a.test", Port: 587, TLS: config.HopNone}, {Host: "b.test", Port: 587, TLS: config.HopNone}}},
	{Name: "from", Match: config.Match{SenderDomains: []string{"sender.test"}}, LMTP: &config.LMTP{Host: "127.0.0.1", Port: 24}},
}

func TestRoutesToMailboxesAndPrimaries(t *testing.T) {
	r := newRouter(t, config.Relay{Routes: fixedRoutes}, "")
	for _, tc := range []struct {
		domain, hops, site string
		lmtp               bool
	}{
		{"boxes.test", "inside.test:24 10.0.0.1", "inside.test:24", true},
		// The primary is the domain's own MX, and so are we: that is what a backup is for.
		{"loop.test", "a.test:25 1.1.1.1", "a.test:25", false},
		{"up.test", "a.test:587 1.1.1.1; b.test:587 1.1.1.2,2606:4700::2", "a.test:587+1~", false},
	} {
		p, err := r.Plan(t.Context(), &envelope.Envelope{Domain: tc.domain})
		if err != nil || show(p) != tc.hops || p.Hops[0].LMTP != tc.lmtp || !strings.HasPrefix(p.Site, tc.site) {
			t.Errorf("%s: %s at %s, %v", tc.domain, show(p), p.Site, err)
			continue
		}
		if tc.domain != "up.test" && p.Hops[0].TLS != config.HopOpportunistic {
			t.Errorf("%s: TLS %s", tc.domain, p.Hops[0].TLS)
		}
		if site, _ := r.Site(t.Context(), "", tc.domain); site != p.Site {
			t.Errorf("%s: site %s, plan says %s", tc.domain, site, p.Site)
		}
	}
	for domain, want := range map[string]bool{"BOXES.test": true, "loop.test": true, "up.test": true, "other.test": false} {
		if got := r.RelaysTo(domain); got != want {
			t.Errorf("RelaysTo(%q) = %v", domain, got)
		}
	}
	for domain, want := range map[string]Verification{
		"boxes.test": {Site: "inside.test:24"}, "loop.test": {Site: "a.test:25", Backup: true}, "up.test": {}, "other.test": {},
	} {
		if got, ok := r.Verify(domain); ok != (want != Verification{}) || ok && got != want {
			t.Errorf("Verify(%q) = %+v, %v", domain, got, ok)
		}
	}
}

func TestHostsThatAreDownArePassedOver(t *testing.T) {
	since := time.Date(2026, 11, 2, 10, 0, 0, 0, time.FixedZone("", 3600))
	down := map[string]health.State{}
	r, err := New(Options{
		Config: &config.Config{Relay: config.Relay{Routes: fixedRoutes}}, Resolver: testZone,
		Health: func(k health.Key) health.State { return down[k.String()] },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ down, hops, err string }{
		{"", "a.test:587 1.1.1.1; b.test:587 1.1.1.2,2606:4700::2", ""},
		{"a.test:587", "b.test:587 1.1.1.2,2606:4700::2", ""},
		{"b.test:587", "", "451 4.4.1 a.test:587 has been down since 2026-11-02T09:00:00Z: refused; b.test:587 has been down since 2026-11-02T09:00:00Z: refused"},
	} {
		down[step.down] = health.State{Down: true, Since: since, Last: "refused"}
		r.shuffle = func(int, func(i, j int)) {}
		p, err := r.Plan(t.Context(), &envelope.Envelope{Domain: "up.test"})
		if state := r.Down("", "up.test"); state.Down != (step.err != "") || state.Down && state.Since != since {
			t.Errorf("with %s down: %+v", step.down, state)
		}
		if show(p) != step.hops || (err == nil) != (step.err == "") || err != nil && err.Error() != step.err {
			t.Errorf("with %s down: %s, %v", step.down, show(p), err)
		}
	}
	if r.Down("", "other.test").Down {
		t.Error("a route by MX is down")
	}
	_, err = r.Plan(t.Context(), &envelope.Envelope{Domain: "up.test"})
	if !NextHopDown(err.(reply.Reply)) {
		t.Error("the reply is not known again")
	}
	for _, other := range []reply.Reply{
		{Code: 421, Enhanced: "4.4.1", Text: "connect to a.test: refused"}, {Code: 451, Enhanced: "4.4.1", Text: "busy"},
		{Code: 450, Enhanced: "4.2.1", Text: "user has been down since monday"},
	} {
		if NextHopDown(other) {
			t.Errorf("%v is taken for ours", other)
		}
	}
}

func TestWhatIsWatched(t *testing.T) {
	routes := append(slices.Clone(fixedRoutes),
		config.Route{Name: "other", SmartHosts: []config.SmartHost{{Host: "a.test", Port: 25, TLS: config.HopOpportunistic}}})
	r := newRouter(t, config.Relay{Routes: routes}, "")
	primary := health.Key{Host: "a.test", Port: 25, TLS: config.HopOpportunistic}
	first := health.Key{Host: "a.test", Port: 587, TLS: config.HopNone}
	watched := r.Watched()
	if every, ok := watched[first]; len(watched) != 5 || watched[primary] != 30*time.Second || !ok || every != 0 {
		t.Errorf("watched %v", watched)
	}
	if hop, err := r.Resolve(t.Context(), primary); err != nil || hop.Key() != primary || hop.Addrs[0].String() != "1.1.1.1" {
		t.Errorf("%+v, %v", hop, err)
	}
	if _, err := r.Resolve(t.Context(), health.Key{Host: "gone.test"}); err == nil {
		t.Error("a hop of no route was found")
	}
	if behind := r.Behind("Up.test"); !slices.Contains(behind, first) || len(behind) != 4 {
		t.Errorf("behind up.test: %v", behind)
	}
	for _, tc := range []struct {
		sender, domain string
		want           bool
	}{
		{"", "loop.test", true}, {"", "up.test", false}, {"", "any.test", true}, {"sender.test", "any.test", false},
	} {
		if got := r.MayUse(primary, tc.sender, tc.domain); got != tc.want {
			t.Errorf("mail of %q for %s may use the primary: %v", tc.sender, tc.domain, got)
		}
	}
	if sites := r.Sites(primary); !slices.Equal(sites, []string{"a.test:25", "a.test:25"}) {
		t.Errorf("sites %v", sites)
	}
}

func TestAddressesInThePlaceOfNames(t *testing.T) {
	for configured, want := range map[string]string{
		"192.0.2.7": "192.0.2.7:24 192.0.2.7", "2001:db8::1": "2001:db8::1:24 2001:db8::1", "[2001:DB8::1]": "2001:db8::1:24 2001:db8::1",
		"::1": "::1:24 ::1", "fe80::1%eth0": "fe80::1%eth0:24 fe80::1%eth0", "SIX.test.": "six.test:24 2606:4700::6",
	} {
		routes := []config.Route{{Name: "six", LMTP: &config.LMTP{Host: configured, Port: 24}}}
		p, err := newRouter(t, config.Relay{Routes: routes}, "").Plan(t.Context(), &envelope.Envelope{Domain: "x.test"})
		if err != nil || show(p) != want {
			t.Errorf("%s: %s, %v", configured, show(p), err)
		}
		if strings.Count(configured, ":") > 1 && !strings.HasPrefix(p.Site, "[") {
			t.Errorf("%s: site %s", configured, p.Site)
		}
	}
}

func TestTokenSourcesSurviveAReconfiguration(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("user", "u@x.test\n")
	write("id", "client\n")
	write("refresh", "r1\n")
	up := config.SmartHost{Host: "192.0.2.1", Port: 587, UsernameFile: "user", OAuth2: &config.OAuth2{
		TokenURL: server.URL, Scopes: []string{"a", "b"}, ClientIDFile: "id", RefreshTokenFile: "refresh",
	}}
	c := &config.Config{Dir: dir, Relay: config.Relay{Routes: []config.Route{{Name: "up", SmartHosts: []config.SmartHost{up, up}}}}}
	var before *Router
	source := func() TokenSource {
		r, err := New(Options{Config: c, Resolver: testZone, Before: before})
		if err != nil || len(r.Problems()) > 0 {
			t.Fatal(err, r.Problems())
		}
		before = r
		p, err := r.Plan(t.Context(), &envelope.Envelope{Domain: "x.test"})
		if err != nil || p.Hops[0].Username != "u@x.test" || p.Hops[0].Tokens == nil || p.Hops[0].Tokens != p.Hops[1].Tokens {
			t.Fatalf("%+v, %v", p, err)
		}
		return p.Hops[0].Tokens
	}
	first := source()
	for range 2 {
		if source() != first {
			t.Error("a new source, though nothing changed")
		}
	}
	write("refresh", "r2\n")
	if source() == first {
		t.Error("the old source, though its refresh token changed")
	}
	up.OAuth2.TokenURL = "http://192.0.2.1/token"
	r, err := New(Options{Config: c, Resolver: testZone, Before: before})
	if err != nil || len(r.Problems()) != 2 || !strings.Contains(r.Problems()[0].Error(), "not https") {
		t.Error(err, r.Problems())
	}
}

// TestAHostThatCannotBeAskedIsSkipped: only what may come back, and only where it goes before the first hop.
func TestAHostThatCannotBeAskedIsSkipped(t *testing.T) {
	for _, tc := range []struct {
		domain, down string
		want         bool
	}{
		{"two.test", "", false}, {"partly.test", "", true}, {"mixed.test", "", false}, {"six.test", "", false},
		{"up.test", "", false}, {"up.test", "a.test:587", true}, {"up.test", "b.test:587", false},
	} {
		r, err := New(Options{
			Config: &config.Config{Relay: config.Relay{Routes: fixedRoutes}}, Resolver: testZone,
			Health: func(k health.Key) health.State { return health.State{Down: k.String() == tc.down} },
		})
		if err != nil {
			t.Fatal(err)
		}
		p, err := r.Plan(t.Context(), &envelope.Envelope{Domain: tc.domain})
		if err != nil || p.Skipped != tc.want {
			t.Errorf("%s without %q: skipped %v, %v", tc.domain, tc.down, p.Skipped, err)
		}
	}
}
