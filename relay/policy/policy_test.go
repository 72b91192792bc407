package policy

import (
	"crypto/tls"
	"errors"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/rate"
	"github.com/postrider/postrider/relay/reply"
)

// limiter refuses one sender and remembers whom it was asked about.
type limiter struct{ asked []rate.Subject }

func (l *limiter) Accept(s rate.Subject) (string, bool) {
	l.asked = append(l.asked, s)
	return "shop/bulk", s.Sender != "bulk"
}

func newPolicy(t *testing.T, change func(o *Options)) *Policy {
	t.Helper()
	key := []config.DKIMKey{{Selector: "s1"}}
	o := Options{
		Relay: config.Relay{
			Hostname: "mx.example.com", Postmaster: "ops@example.com",
			Access: config.Access{TrustedCIDRs: []string{"10.0.0.0/8", "2001:db8::/32"}, UndeclaredSenders: config.SendersReject},
		},
		Domains: []config.Domain{
			{Name: "example.com", Users: []string{"alice", "bob"}, Sign: true, Keys: key},
			{Name: "news.example", Users: []string{"alice"}},
			{Name: "xn--bcher-kva.example", Users: []string{"alice"}, Sign: true, Keys: key},
			{Name: "keyless.example", Users: []string{"alice"}, Sign: true},
			{Name: "theirs.example", Users: []string{"bob"}},
		},
		RelaysTo: func(domain string) bool { return domain == "hosted.example" },
		Limiter:  &limiter{},
	}
	if change != nil {
		change(&o)
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var (
	alice   = ClientOf("alice", false)
	mallory = ClientOf("mallory", true)
	trusted = ClientOf("", true)
	anyone  = ClientOf("", false)
)

// outcome is how a decision looks in a table: "ok", or code and enhanced code.
func outcome(err error) string {
	var r reply.Reply
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &r):
		return r.String()[:len("550 5.7.1")]
	default:
		return err.Error()
	}
}

func acceptUndeclared(o *Options) { o.Relay.Access.UndeclaredSenders = config.SendersAccept }

func TestClientOf(t *testing.T) {
	for want, got := range map[envelope.Origin]Client{
		envelope.Submitted: ClientOf("alice", true), envelope.Trusted: ClientOf("", true), envelope.Relayed: ClientOf("", false),
	} {
		if got.Origin != want {
			t.Errorf("origin %s, want %s", got.Origin, want)
		}
	}
}

func TestTrusted(t *testing.T) {
	p := newPolicy(t, nil)
	for addr, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "11.0.0.1": false, "2001:db8::1": true, "2001:db9::1": false, "127.0.0.1": false,
		"2001:db8::1%eth0": true,
	} {
		if got := p.Trusted(netip.MustParseAddr(addr)); got != want {
			t.Errorf("Trusted(%s) = %v", addr, got)
		}
	}
	if p.Trusted(netip.Addr{}) {
		t.Error("an address that is not known is trusted")
	}
}

func TestNewRefuses(t *testing.T) {
	for name, relay := range map[string]config.Relay{
		"postmaster": {Postmaster: "ops"},
		"CIDR":       {Postmaster: "ops@example.com", Access: config.Access{TrustedCIDRs: []string{"10.0.0.1"}}},
	} {
		if _, err := New(Options{Relay: relay}); err == nil {
			t.Errorf("a bad %s was taken", name)
		}
	}
}

func TestReversePath(t *testing.T) {
	strict, open := newPolicy(t, nil), newPolicy(t, acceptUndeclared)
	for _, test := range []struct {
		client             Client
		path, want, opened string
	}{
		{alice, "x@example.com", "ok", "ok"},
		{alice, "x@sub.example.com", "550 5.7.1", "550 5.7.1"},
		{alice, "x@other.example", "550 5.7.1", "550 5.7.1"},
		{alice, "", "550 5.7.1", "550 5.7.1"},
		{mallory, "x@example.com", "550 5.7.1", "550 5.7.1"},
		{trusted, "x@example.com", "ok", "ok"},
		{trusted, "x@other.example", "550 5.7.1", "ok"},
		{trusted, "", "ok", "ok"},
		{anyone, "x@anywhere.example", "ok", "ok"},
		{anyone, "", "ok", "ok"},
	} {
		if got := outcome(strict.ReversePath(test.client, test.path)); got != test.want {
			t.Errorf("%+v as <%s>: %s, want %s", test.client, test.path, got, test.want)
		}
		if got := outcome(open.ReversePath(test.client, test.path)); got != test.opened {
			t.Errorf("%+v as <%s> with undeclared senders: %s, want %s", test.client, test.path, got, test.opened)
		}
	}
}

// TestAccounts: an account that authenticates with a token sends as the domains that name it or its namespace, while
// it is there. A domain that names neither is not for it.
func TestAccounts(t *testing.T) {
	const checkout, billing, other = "system:serviceaccount:shop:checkout", "system:serviceaccount:shop:billing", "system:serviceaccount:shop2:checkout"
	p := newPolicy(t, func(o *Options) {
		o.Domains[0].Accounts = []string{checkout, other}
		o.Domains[1].AccountsOf = "system:serviceaccount:shop:"
		o.Accounts = map[string]string{checkout: "u1", billing: "u2", "system:serviceaccount:shop2:mail": "u3"}
	})
	for _, test := range []struct{ user, uid, path, want string }{
		{checkout, "u1", "x@example.com", "ok"},
		{checkout, "u1", "x@news.example", "ok"},
		{checkout, "u1", "x@keyless.example", "550 5.7.1"},
		{checkout, "u0", "x@example.com", "550 5.7.1"}, // deleted, and made again
		{checkout, "", "x@example.com", "550 5.7.1"},
		{billing, "u2", "x@example.com", "550 5.7.1"},
		{billing, "u2", "x@news.example", "ok"},
		{other, "u4", "x@example.com", "550 5.7.1"}, // named, and deleted
		{other, "", "x@example.com", "550 5.7.1"},
		{"system:serviceaccount:shop2:mail", "u3", "x@news.example", "550 5.7.1"},
		{"system:serviceaccount:shop:gone", "u5", "x@news.example", "550 5.7.1"},
		{"alice", "", "x@news.example", "ok"},
	} {
		client := ClientOf(test.user, false)
		client.UID = test.uid
		if got := outcome(p.ReversePath(client, test.path)); got != test.want {
			t.Errorf("%s, %q, as <%s>: %s, want %s", test.user, test.uid, test.path, got, test.want)
		}
	}
}

func TestRecipient(t *testing.T) {
	p := newPolicy(t, nil)
	for _, test := range []struct {
		client   Client
		to, want string
	}{
		{alice, "x@anywhere.example", "x@anywhere.example"},
		{trusted, `"a@b"@anywhere.example`, `"a@b"@anywhere.example`},
		{trusted, "a%b@anywhere.example", "a%b@anywhere.example"},
		{alice, "x@[192.0.2.1]", "550 5.1.2"},
		{anyone, "x@hosted.example", "x@hosted.example"},
		{anyone, "\u00f6@hosted.example", "\u00f6@hosted.example"},
		{anyone, "\u00f6@elsewhere.example", "550 5.7.1"},
		{anyone, "postmaster@hosted.example", "postmaster@hosted.example"},
		{anyone, "postmaster", "ops@example.com"},
		{anyone, "POSTMASTER@mx.example.com", "ops@example.com"},
		{alice, "Abuse@mx.example.com", "ops@example.com"},
		{anyone, "abuse@mx.example.com", "ops@example.com"},
		{anyone, "abuse", "553 5.1.3"},
		{alice, "x", "553 5.1.3"},
	} {
		got, err := p.Recipient(test.client, test.to)
		if err != nil {
			got = outcome(err)
		}
		if got != test.want {
			t.Errorf("%s to <%s>: %s, want %s", test.client.Origin, test.to, got, test.want)
		}
	}
}

// TestNotAnOpenRelay: attacks, row 10, and every other way we know to ask a stranger's question. Most that are
// malformed are refused by the listener before; they are refused here too.
func TestNotAnOpenRelay(t *testing.T) {
	p := newPolicy(t, acceptUndeclared)
	for _, to := range openRelayProbes() {
		if got, err := p.Recipient(anyone, to); err == nil || !strings.HasPrefix(outcome(err), "55") {
			t.Errorf("<%s>: accepted as %q (%v)", to, got, err)
		}
	}
}

// openRelayProbes are recipients that would make mail for elsewhere leave through us.
func openRelayProbes() []string {
	return []string{
		"victim@victim.example", "victim@VICTIM.example", "victim@sub.hosted.example", "victim@nothosted.example",
		"victim@hosted.example.victim.example", "victim@hosted.example@victim.example", "victim@victim.example@hosted.example",
		"victim%victim.example@hosted.example", "victim%victim.example@mx.example.com", "victim%victim.example",
		"victim.example!victim@hosted.example", "victim.example!victim", "@hosted.example:victim@victim.example",
		"@mx.example.com,@hosted.example:victim@victim.example", `"victim@victim.example"@hosted.example`,
		`"victim%victim.example"@hosted.example`, `"victim@victim.example"`, `"victim.example!victim"@hosted.example`,
		"victim@[127.0.0.1]", "victim@[10.0.0.1]", "victim@[IPv6:::1]", "victim@[hosted.example]", "victim@localhost",
		"victim@mx.example.com", "victim@example.com", "victim@hosted.example.", "victim@", "victim",
		"postmaster@victim.example", "abuse@victim.example", "postmaster%victim.example@mx.example.com",
		`postmaster"@victim.example`, "victim@hosted.example\x00@victim.example", "victim@hosted.example>,<victim@victim.example",
	}
}

func TestAccept(t *testing.T) {
	l := &limiter{}
	p := newPolicy(t, func(o *Options) { o.Limiter = l })
	for _, test := range []struct {
		client             Client
		path, tenant, want string
	}{
		{alice, "x@example.com", "news.example", "ok"},
		{trusted, "x@example.com", "", "ok"},
		{anyone, "", "", "ok"},
		{anyone, "alice@example.com", "", "ok"},
		{ClientOf("bulk", false), "x@example.com", "example.com", "451 4.7.1"},
	} {
		if got := outcome(p.Accept(test.client, test.path, test.tenant)); got != test.want {
			t.Errorf("%+v: %s, want %s", test.client, got, test.want)
		}
	}
	want := []rate.Subject{
		{Sender: "alice", SenderDomain: "news.example"}, {Sender: "x@example.com", SenderDomain: "example.com"},
		{Sender: "<>"}, {Sender: "<alice@example.com>"}, // neither counts against alice or her domain
		{Sender: "bulk", SenderDomain: "example.com"},
	}
	if diff := cmp.Diff(want, l.asked); diff != "" {
		t.Error(diff)
	}
}

func TestHeader(t *testing.T) {
	full := "Date: x\r\nMessage-ID: <x@y>\r\n"
	loop := strings.Repeat("received: x\r\n", maxReceived)
	plain := Verdict{NoDate: true, NoMessageID: true}
	signed := Verdict{Tenant: "example.com", Sign: true, NoDate: true, NoMessageID: true}
	for _, test := range []struct {
		name    string
		clients []Client
		header  string
		verdict Verdict
		want    string
	}{
		{"all there", []Client{alice, trusted}, full + "From: x@example.com\r\n\r\n", Verdict{Tenant: "example.com", Sign: true}, "ok"},
		{"date missing", []Client{alice}, "From: x@example.com\r\n\r\n", signed, "ok"},
		{"display name", []Client{alice}, "from: =?utf-8?q?J=C3=B6rg?= <x@EXAMPLE.com>\r\n\r\n", signed, "ok"},
		{"any character set", []Client{alice}, "From: =?windows-1252?Q?J=F6rg?= <x@example.com>\r\n\r\n", signed, "ok"},
		{"unknown character set", []Client{alice}, "From: =?x-none?B?/////w==?= <x@example.com>\r\n\r\n", signed, "ok"},
		{"name in clear UTF-8", []Client{alice}, "From: J\u00f6rg <x@example.com>\r\n\r\n", signed, "ok"},
		{"comment and fold", []Client{alice}, "From:\r\n \"a, b\" <x@example.com>\r\n (evil@other.example)\r\n\r\n", signed, "ok"},
		{"two authors", []Client{alice}, "From: x@example.com, y@news.example\r\n\r\n", signed, "ok"},
		{"signing author behind another", []Client{alice}, "From: y@news.example, x@example.com\r\n\r\n", signed, "ok"},
		{"not signing", []Client{alice}, "From: y@news.example\r\n\r\n", Verdict{Tenant: "news.example", NoDate: true, NoMessageID: true}, "ok"},
		{"U-labels", []Client{alice}, "From: x@b\u00fccher.example\r\n\r\n", Verdict{Tenant: "xn--bcher-kva.example", Sign: true, NoDate: true, NoMessageID: true}, "ok"},
		{"no key", []Client{alice, trusted}, "From: x@keyless.example\r\n\r\n", Verdict{}, "451 4.7.5"},
		{"foreign author", []Client{alice, mallory, trusted}, "From: x@other.example\r\n\r\n", Verdict{}, "550 5.7.1"},
		{"one foreign author of two", []Client{alice, trusted}, "From: x@example.com, y@other.example\r\n\r\n", Verdict{}, "550 5.7.1"},
		{"sub-domain", []Client{alice, trusted}, "From: x@sub.example.com\r\n\r\n", Verdict{}, "550 5.7.1"},
		{"foreign tenant", []Client{mallory}, "From: x@example.com\r\n\r\n", Verdict{}, "550 5.7.1"},
		{"name that looks like an address", []Client{alice}, "From: \"x@example.com\" <y@other.example>\r\n\r\n", Verdict{}, "550 5.7.1"},
		{"no From", []Client{alice, trusted}, "Subject: x\r\n\r\n", Verdict{}, "550 5.7.1"},
		{"two From", []Client{alice, trusted}, "From: x@example.com\r\nFrom : x@example.com\r\n\r\n", Verdict{}, "550 5.7.1"},
		{"empty From", []Client{alice}, "From:\r\n\r\n", Verdict{}, "550 5.7.1"},
		{"empty group", []Client{alice}, "From: nobody:;\r\n\r\n", Verdict{}, "550 5.7.1"},
		{"malformed From", []Client{alice}, "From: x@example.com <\r\n\r\n", Verdict{}, "550 5.7.1"},
		{"From with a literal", []Client{alice}, "From: x@[192.0.2.1]\r\n\r\n", Verdict{}, "550 5.7.1"},
		{"malformed header", []Client{alice, trusted}, "From: x@example.com\r\njunk\r\n\r\n", Verdict{}, "550 5.6.0"},
		{"loop", []Client{alice, trusted, anyone}, loop + "From: x@example.com\r\n\r\n", Verdict{}, "554 5.4.6"},
		{"almost a loop", []Client{anyone}, loop[len("received: x\r\n"):] + "X-Received: y\r\n\r\n", Verdict{}, "ok"},
		{"from anyone", []Client{anyone}, "From: x@example.com\r\n\r\n", Verdict{}, "ok"},
		{"malformed from anyone", []Client{anyone}, "junk\r\n\r\n", Verdict{}, "ok"},
		{"Sender of one's own", []Client{alice, trusted}, full + "From: x@example.com\r\nSender: y@news.example\r\n\r\n", Verdict{Tenant: "example.com", Sign: true}, "ok"},
		{"Sender elsewhere", []Client{alice, trusted}, full + "From: x@example.com\r\nSender: y@other.example\r\n\r\n", Verdict{Tenant: "example.com", Sign: true}, "ok"},
		{"Sender that nobody can read", []Client{alice}, full + "From: x@example.com\r\nSender: root\r\n\r\n", Verdict{Tenant: "example.com", Sign: true}, "ok"},
		{"Sender of another tenant", []Client{alice}, "From: x@example.com\r\nSender: ceo@theirs.example\r\n\r\n", Verdict{}, "550 5.7.1"},
		{"Sender twice", []Client{alice}, "From: x@example.com\r\nSender: x@example.com\r\nSENDER : ceo@THEIRS.example\r\n\r\n", Verdict{}, "550 5.7.1"},
		{"Sender behind what nobody can read", []Client{alice}, "From: x@example.com\r\nSender: root\r\nSender: ceo@theirs.example\r\n\r\n", Verdict{}, "550 5.7.1"},
		{"resent from another tenant", []Client{alice}, "From: x@example.com\r\nResent-From: x@example.com, ceo@theirs.example\r\n\r\n", Verdict{}, "550 5.7.1"},
		{"resent by another tenant", []Client{alice}, "From: x@example.com\r\nResent-Sender: <ceo@theirs.example>\r\n\r\n", Verdict{}, "550 5.7.1"},
		{"Sender of another tenant, trusted", []Client{trusted}, full + "From: x@example.com\r\nSender: ceo@theirs.example\r\n\r\n", Verdict{Tenant: "example.com", Sign: true}, "ok"},
		{"comments without end", []Client{alice}, "From: " + strings.Repeat("(", 100_000) + "\r\n\r\n", Verdict{}, "550 5.7.1"},
	} {
		p := newPolicy(t, nil)
		for _, c := range test.clients {
			v, err := p.Header(c, []byte(test.header))
			if got := outcome(err); got != test.want {
				t.Errorf("%s, %s: %s, want %s", test.name, c.Origin, got, test.want)
			} else if err == nil && v != test.verdict {
				t.Errorf("%s, %s: %+v, want %+v", test.name, c.Origin, v, test.verdict)
			}
		}
	}
	v, err := newPolicy(t, acceptUndeclared).Header(trusted, []byte("From: x@other.example\r\n\r\n"))
	if err != nil || v != plain {
		t.Errorf("an undeclared sender: %+v, %v, want %+v", v, err, plain)
	}
}

// TestHeaderBombs: attacks, row 22. A header of the longest kind costs a bounded time and memory, whatever is in it.
func TestHeaderBombs(t *testing.T) {
	const size = 256 << 10
	fill := func(s string) string { return strings.Repeat(s, size/len(s)) }
	p := newPolicy(t, nil)
	for name, header := range map[string]string{
		"fields": fill("a:\r\n"), "one field": "Subject: " + fill("x") + "\r\n", "folds": "Subject: x\r\n" + fill(" x\r\n"),
		"addresses": "From: " + fill("x@example.com,") + "x@example.com\r\n", "comments": "From: x@example.com " + fill("(x)") + "\r\n",
		"nested comments": "From: x@example.com " + fill("(") + fill(")") + "\r\n", "groups": "From: " + fill("g:;,") + "\r\n",
		"words": "From: " + fill("=?utf-8?q?x?= ") + "<x@example.com>\r\n", "quotes": "From: \"" + fill("\\x") + "\" <x@example.com>\r\n",
		"colons": fill(":") + "\r\n", "dots": "From: " + fill("a.") + "@example.com\r\n", "From": fill("From: x@example.com\r\n"),
	} {
		for _, c := range []Client{alice, anyone} {
			before, start := allocated(), time.Now()
			_, _ = p.Header(c, []byte(header+"\r\n"))
			if grown, took := allocated()-before, time.Since(start); grown > 200*size || took > 5*time.Second {
				t.Errorf("%s from %s: %d octets, %s", name, c.Origin, grown, took)
			}
		}
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func TestMissing(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.FixedZone("", 3600))
	v := Verdict{NoDate: true, NoMessageID: true}
	want := "Date: Wed, 04 Mar 2026 04:06:07 +0000\r\nMessage-ID: <0abc@mx.example.com>\r\n"
	if got := string(v.Missing(config.ModeSubmission, "0abc", "mx.example.com", now)); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := v.Missing(config.ModeRelay, "0abc", "mx.example.com", now); len(got) > 0 {
		t.Errorf("a relay listener adds %q", got)
	}
	if got := (Verdict{}).Missing(config.ModeSubmission, "0abc", "mx.example.com", now); len(got) > 0 {
		t.Errorf("nothing is missing, and %q was added", got)
	}
}

func TestReceived(t *testing.T) {
	secured := envelope.NewTLS(tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256})
	full := Trace{
		ID: "0abc", Hostname: "mx.example.com", Helo: "client.example.net", Remote: netip.MustParseAddr("192.0.2.1"),
		ESMTP: true, User: "alice", TLS: secured, Recipients: []envelope.Recipient{{Address: "b@example.org"}},
		Now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.FixedZone("", 3600)),
	}
	want := "Received: from client.example.net ([192.0.2.1])\r\n" +
		"\t(using TLS1.3 with cipher TLS_AES_128_GCM_SHA256)\r\n" +
		"\tby mx.example.com (Postrider)\r\n\twith ESMTPSA id 0abc\r\n\tfor <b@example.org>;\r\n\tWed, 04 Mar 2026 04:06:07 +0000\r\n"
	if diff := cmp.Diff(want, string(full.Received())); diff != "" {
		t.Error(diff)
	}
	for want, change := range map[string]func(t *Trace){
		"\twith ESMTPS id ":      func(t *Trace) { t.User = "" },
		"\twith ESMTPA id ":      func(t *Trace) { t.TLS = nil },
		"\twith ESMTP id ":       func(t *Trace) { t.TLS, t.User = nil, "" },
		"\twith SMTP id ":        func(t *Trace) { t.ESMTP = false },
		"\twith UTF8SMTPSA id ":  func(t *Trace) { t.UTF8 = true },
		"\twith UTF8SMTPS id ":   func(t *Trace) { t.UTF8, t.User = true, "" },
		"\twith UTF8SMTP id ":    func(t *Trace) { t.UTF8, t.TLS, t.User = true, nil, "" },
		"org>\r\n\tPRIORITY -3;": func(t *Trace) { t.Priority = -3 },
		"([IPv6:::1])\r\n":       func(t *Trace) { t.Remote = netip.IPv6Loopback() },
		" id 0abc;\r\n": func(t *Trace) {
			t.Recipients = []envelope.Recipient{{Address: "b@example.org"}, {Address: "c@example.org"}}
		},
	} {
		changed := full
		change(&changed)
		if got := string(changed.Received()); !strings.Contains(got, want) {
			t.Errorf("%q holds no %q", got, want)
		}
	}
	full.HideClient = true
	if got := string(full.Received()); strings.Contains(got, "client") || strings.Contains(got, "192.0.2.1") || !strings.HasPrefix(got, "Received: (using TLS1.3") {
		t.Errorf("%q gives the client away", got)
	}
}
