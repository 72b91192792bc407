package rate

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/config"
)

// clock is a clock that stands until it is moved.
type clock struct{ t time.Time }

func newClock() *clock                   { return &clock{time.Unix(1_800_000_000, 0)} }
func (c *clock) now() time.Time          { return c.t }
func (c *clock) advance(d time.Duration) { c.t = c.t.Add(d) }

func delivery(name string, key config.LimitKey) config.RatePolicy {
	return config.RatePolicy{Name: name, Stage: config.StageDelivery, Key: key}
}

func messages(name string, n, per, burst int) config.RatePolicy {
	p := delivery(name, config.KeySite)
	p.Messages, p.PerSeconds, p.Burst = n, per, burst
	return p
}

func connections(name string, n int) config.RatePolicy {
	p := delivery(name, config.KeySite)
	p.MaxConnections = n
	return p
}

func TestBurst(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy config.RatePolicy
		want   int
	}{
		{"as configured", config.RatePolicy{Stage: config.StageDelivery, Messages: 600, PerSeconds: 60, Burst: 50}, 50},
		{"a second's worth", config.RatePolicy{Stage: config.StageDelivery, Messages: 600, PerSeconds: 60}, 10},
		{"at least one", config.RatePolicy{Stage: config.StageDelivery, Messages: 10, PerSeconds: 3600}, 1},
		{"all when accepting", config.RatePolicy{Stage: config.StageAccept, Messages: 100, PerSeconds: 3600}, 100},
		{"no rate", config.RatePolicy{Stage: config.StageDelivery, MaxConnections: 3}, 1},
	} {
		if got := Burst(c.policy); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestMessagesFlowBackWithTime(t *testing.T) {
	c := newClock()
	l := New(c.now)
	l.Configure([]config.RatePolicy{messages("p", 10, 1, 3)})
	s := Subject{Site: "mx"}
	for i := range 3 {
		if _, w := l.Acquire(s); w != nil {
			t.Fatalf("message %d of the burst waits: %+v", i, w)
		}
	}
	_, w := l.Acquire(s)
	if w == nil || w.Policy != "p" || w.Key != "mx" || !w.Until.Equal(c.now().Add(100*time.Millisecond)) {
		t.Fatalf("after the burst: %+v, want a wait of 100ms", w)
	}
	c.advance(100*time.Millisecond - 1)
	if _, w := l.Acquire(s); w == nil {
		t.Error("went a nanosecond early")
	}
	c.advance(1)
	if _, w := l.Acquire(s); w != nil {
		t.Errorf("still waits when it is time: %+v", w)
	}
}

func TestConnectionsComeBackOnRelease(t *testing.T) {
	l := New(newClock().now)
	l.Configure([]config.RatePolicy{connections("p", 1)})
	s := Subject{Site: "mx"}
	lease, _ := l.Acquire(s)
	if got := slices.Collect(lease.Buckets()); len(got) != 1 || got[0] != (Bucket{"p", "mx"}) {
		t.Errorf("the lease counts in %v", got)
	}
	if _, w := l.Acquire(s); w == nil || !w.Until.IsZero() || w.Bucket != (Bucket{"p", "mx"}) {
		t.Fatalf("second connection: %+v, want a wait for a release", w)
	}
	if _, w := l.Acquire(Subject{Site: "elsewhere"}); w != nil {
		t.Errorf("another site waits too: %+v", w)
	}
	lease.Release()
	lease.Release()
	second, w := l.Acquire(s)
	if w != nil {
		t.Fatalf("after release: %+v", w)
	}
	if _, w := l.Acquire(s); w == nil {
		t.Error("a lease released twice freed two connections")
	}
	second.Release()
}

func TestRefusalTakesNothing(t *testing.T) {
	l := New(newClock().now)
	sender := delivery("sender", config.KeySenderDomain)
	sender.Messages, sender.PerSeconds, sender.Burst = 2, 60, 2
	l.Configure([]config.RatePolicy{sender, connections("site", 1)})
	lease, _ := l.Acquire(Subject{Site: "a", SenderDomain: "x"})
	for range 5 {
		if _, w := l.Acquire(Subject{Site: "a", SenderDomain: "x"}); w == nil || w.Policy != "site" {
			t.Fatalf("got %+v, want a wait for site", w)
		}
	}
	if _, w := l.Acquire(Subject{Site: "b", SenderDomain: "x"}); w != nil {
		t.Errorf("the refusals used up the sender's messages: %+v", w)
	}
	_, w := l.Acquire(Subject{Site: "c", SenderDomain: "x"})
	if w == nil || w.Policy != "sender" {
		t.Fatalf("got %+v, want a wait for sender", w)
	}
	lease.Release()
	if w := must(l.Acquire(Subject{Site: "a", SenderDomain: "y"})); w != nil {
		t.Errorf("the refused message kept a connection: %+v", w)
	}
}

func must(_ *Lease, w *Wait) *Wait { return w }

func TestStrictestBinds(t *testing.T) {
	slow, fast := messages("slow", 1, 60, 1), messages("fast", 1, 1, 1)
	for _, c := range []struct {
		policies []config.RatePolicy
		want     string
	}{
		{[]config.RatePolicy{slow, fast}, "slow"},
		{[]config.RatePolicy{fast, slow}, "slow"},
		{[]config.RatePolicy{slow, connections("conns", 1), fast}, "conns"},
		{[]config.RatePolicy{connections("conns", 1), slow}, "conns"},
	} {
		l := New(newClock().now)
		l.Configure(c.policies)
		l.Acquire(Subject{Site: "mx"})
		if w := must(l.Acquire(Subject{Site: "mx"})); w == nil || w.Policy != c.want {
			t.Errorf("%v: %+v, want %s", c.policies, w, c.want)
		}
	}
}

func TestFilters(t *testing.T) {
	p := connections("p", 1)
	p.SenderDomains = []string{"acme.example"}
	p.DestinationDomains = []string{"gmail.com", "googlemail.com", "gmail.com"}
	for _, c := range []struct {
		name    string
		s       Subject
		applies bool
	}{
		{"both match", Subject{Site: "g", SenderDomain: "acme.example", DestinationDomain: "googlemail.com"}, true},
		{"another sender", Subject{Site: "g", SenderDomain: "other.example", DestinationDomain: "gmail.com"}, false},
		{"another destination", Subject{Site: "g", SenderDomain: "acme.example", DestinationDomain: "example.org"}, false},
	} {
		l := New(newClock().now)
		l.Configure([]config.RatePolicy{p})
		l.Acquire(c.s)
		if w := must(l.Acquire(c.s)); (w != nil) != c.applies {
			t.Errorf("%s: %+v, want applies %v", c.name, w, c.applies)
		}
	}
}

func TestKeys(t *testing.T) {
	a := Subject{Site: "s1", SenderDomain: "d1", Sender: "u1"}
	for _, c := range []struct {
		key    config.LimitKey
		shares Subject
		apart  Subject
	}{
		{config.KeySite, Subject{Site: "s1"}, Subject{Site: "s2", SenderDomain: "d1", Sender: "u1"}},
		{config.KeySenderDomain, Subject{SenderDomain: "d1"}, Subject{Site: "s1", SenderDomain: "d2", Sender: "u1"}},
		{config.KeySender, Subject{Sender: "u1"}, Subject{Site: "s1", SenderDomain: "d1", Sender: "u2"}},
	} {
		l := New(newClock().now)
		p := delivery("p", c.key)
		p.MaxConnections = 1
		l.Configure([]config.RatePolicy{p})
		l.Acquire(a)
		if w := must(l.Acquire(c.shares)); w == nil {
			t.Errorf("%s: %+v is not counted with %+v", c.key, c.shares, a)
		}
		if w := must(l.Acquire(c.apart)); w != nil {
			t.Errorf("%s: %+v is counted with %+v", c.key, c.apart, a)
		}
	}
}

func TestAcceptStage(t *testing.T) {
	c := newClock()
	l := New(c.now)
	l.Configure([]config.RatePolicy{
		{Name: "in", Stage: config.StageAccept, Key: config.KeySender, Messages: 2, PerSeconds: 60},
		messages("out", 1, 60, 1),
	})
	s := Subject{Sender: "ann", Site: "mx"}
	for i := range 2 {
		if p, ok := l.Accept(s); !ok {
			t.Fatalf("message %d refused by %s", i, p)
		}
	}
	if p, ok := l.Accept(s); ok || p != "in" {
		t.Errorf("third message: %q, %v; want refused by in", p, ok)
	}
	if w := must(l.Acquire(s)); w != nil {
		t.Errorf("accepting used up what delivery may: %+v", w)
	}
	c.advance(30 * time.Second)
	if p, ok := l.Accept(s); !ok {
		t.Errorf("refused by %s after a message flowed back", p)
	}
}

func TestConfigureKeepsWhatWasCounted(t *testing.T) {
	c := newClock()
	l := New(c.now)
	s := Subject{Site: "mx"}
	both := messages("p", 4, 4, 4)
	both.MaxConnections = 2
	l.Configure([]config.RatePolicy{both})
	first, _ := l.Acquire(s)
	second, _ := l.Acquire(s)

	both.MaxConnections = 1
	l.Configure([]config.RatePolicy{both})
	first.Release()
	if w := must(l.Acquire(s)); w == nil || !w.Until.IsZero() {
		t.Errorf("a lease from before is forgotten: %+v", w)
	}
	both.MaxConnections = 0
	l.Configure([]config.RatePolicy{both})
	for i := range 2 {
		if w := must(l.Acquire(s)); w != nil {
			t.Fatalf("message %d: %+v", i, w)
		}
	}
	if w := must(l.Acquire(s)); w == nil {
		t.Error("messages from before are forgotten")
	}
	second.Release()
}

func TestConfigureScalesToTheNewLimit(t *testing.T) {
	c := newClock()
	l := New(c.now)
	s := Subject{Site: "mx"}
	l.Configure([]config.RatePolicy{messages("p", 1, 3600, 1)})
	l.Acquire(s)
	l.Configure([]config.RatePolicy{messages("p", 1, 1, 1)})
	if w := must(l.Acquire(s)); w == nil || w.Until.After(c.now().Add(time.Second)) {
		t.Errorf("after a relaxed limit: %+v, want at most the new second", w)
	}
}

func TestLeaseOutlivesItsPolicy(t *testing.T) {
	l := New(newClock().now)
	s := Subject{Site: "mx"}
	l.Configure([]config.RatePolicy{connections("p", 1)})
	stale, _ := l.Acquire(s)
	l.Configure(nil)
	l.Configure([]config.RatePolicy{connections("p", 1)})
	fresh, w := l.Acquire(s)
	if w != nil {
		t.Fatalf("a dropped policy's lease counts in its successor: %+v", w)
	}
	stale.Release()
	if w := must(l.Acquire(s)); w == nil {
		t.Error("releasing a stale lease freed a connection of the new policy")
	}
	fresh.Release()
	if n := openConnections(l); n != 0 {
		t.Errorf("%d connections left open", n)
	}
}

func openConnections(l *Limiter) int {
	open := 0
	for _, p := range l.delivery.byIdentity(nil) {
		for _, b := range p.buckets {
			open += b.open
		}
	}
	return open
}

func TestIdleKeysAreDropped(t *testing.T) {
	c := newClock()
	l := New(c.now)
	l.Configure([]config.RatePolicy{messages("p", 1, 1, 1)})
	busy, _ := l.Acquire(Subject{Site: "busy"})
	for i := range 100_000 {
		lease, _ := l.Acquire(Subject{Site: fmt.Sprint(i)})
		lease.Release()
		c.advance(100 * time.Millisecond)
	}
	buckets := l.delivery.everywhere[0].buckets
	if len(buckets) > 2*fewBuckets {
		t.Errorf("%d buckets kept where 10 are not full", len(buckets))
	}
	if buckets["busy"] == nil {
		t.Error("a bucket with a lease out was dropped")
	}
	busy.Release()
}

func TestExtremeLimitsDoNotOverflow(t *testing.T) {
	l := New(newClock().now)
	l.Configure([]config.RatePolicy{messages("p", 1, 1<<31-1, 1<<31-1)})
	for i := range 3 {
		if w := must(l.Acquire(Subject{Site: "mx"})); w != nil && i == 0 {
			t.Errorf("the first message waits: %+v", w)
		}
	}
}

func TestConnectionsGrantedBySitePolicies(t *testing.T) {
	l := New(newClock().now)
	filtered := connections("more", 50)
	filtered.DestinationDomains = []string{"big.example"}
	l.Configure([]config.RatePolicy{connections("few", 5), filtered, messages("rate", 1, 1, 1)})
	if n, ok := l.Connections(Subject{DestinationDomain: "big.example"}); n != 50 || !ok {
		t.Errorf("%d, %v; want 50", n, ok)
	}
	l.Configure(nil)
	if n, ok := l.Connections(Subject{}); n != 0 || ok {
		t.Errorf("without policies: %d, %v", n, ok)
	}
}

// A provider's rule is about a domain only if all of its MX hosts are the provider's, and has one bucket whatever their
// names.
func TestProviderIsOneBucket(t *testing.T) {
	l := New(time.Now)
	l.Configure([]config.RatePolicy{
		{Name: "ms", Stage: config.StageDelivery, Key: config.KeySite, MXSuffixes: []string{"outlook.test", "mail.outlook.test", "mx.ms"}, MaxConnections: 2},
		{Name: "eu", Stage: config.StageDelivery, Key: config.KeySite, MXSuffixes: []string{"mx.ms"}, DestinationDomains: []string{"eu.test"}, MaxConnections: 1},
		{Name: "per", Stage: config.StageDelivery, Key: config.KeySenderDomain, MXSuffixes: []string{"sender.test"}, MaxConnections: 1},
	})
	subject := func(destination, sender string, hosts ...string) Subject {
		return Subject{Site: destination, DestinationDomain: destination, SenderDomain: sender, MXHosts: hosts}
	}
	for i, step := range []struct {
		s    Subject
		want Bucket // that refuses
	}{
		{subject("a.test", "s", "a.mail.outlook.test"), Bucket{}},
		{subject("mixed.test", "s", "a.outlook.test", "mx.other.test"), Bucket{}},
		{subject("mixed.test", "s", "mx.other.test", "a.outlook.test"), Bucket{}},
		{subject("fake.test", "s", "myoutlook.test"), Bucket{}},
		{subject("none.test", "s"), Bucket{}},
		{subject("eu.test", "s", "eu.mx.ms"), Bucket{}},
		{subject("b.test", "s", "b.outlook.test", "mx.ms"), Bucket{"ms", "*.mail.outlook.test"}},
		{subject("eu.test", "s", "other.test"), Bucket{}},
		{subject("c.test", "s", "c.sender.test"), Bucket{}},
		{subject("d.test", "z", "d.sender.test"), Bucket{}},
		{subject("d.test", "s", "d.sender.test"), Bucket{"per", "s"}},
	} {
		_, wait := l.Acquire(step.s)
		if got := (Bucket{}); wait != nil {
			if got = wait.Bucket; got != step.want {
				t.Errorf("%d: %+v: refused by %+v, want %+v", i, step.s, got, step.want)
			}
		} else if step.want != got {
			t.Errorf("%d: %+v: let go, want %+v", i, step.s, step.want)
		}
	}
	if n, ok := l.Connections(subject("eu.test", "s", "eu.mx.ms")); n != 2 || !ok {
		t.Errorf("%d connections, %v", n, ok)
	}
	if _, ok := l.Connections(subject("a.test", "s", "a.test")); ok {
		t.Error("a limit for others")
	}
}

func TestSizesAreTheStrictest(t *testing.T) {
	l := New(time.Now)
	l.Configure([]config.RatePolicy{
		{Name: "all", Stage: config.StageDelivery, Key: config.KeySite, RecipientsPerMessage: 50, MessagesPerConnection: 10},
		{Name: "big", Stage: config.StageDelivery, Key: config.KeySite, DestinationDomains: []string{"big.test"}, RecipientsPerMessage: 20},
		{Name: "news", Stage: config.StageDelivery, Key: config.KeySenderDomain, SenderDomains: []string{"news.test"}, MessagesPerConnection: 99},
		{Name: "in", Stage: config.StageAccept, Key: config.KeySender, RecipientsPerMessage: 1},
	})
	for _, tc := range []struct {
		subject              Subject
		recipients, messages int
	}{
		{Subject{}, 50, 10},
		{Subject{DestinationDomain: "big.test"}, 20, 10},
		{Subject{SenderDomain: "news.test"}, 50, 10},
	} {
		if recipients, messages := l.Sizes(tc.subject); recipients != tc.recipients || messages != tc.messages {
			t.Errorf("%+v: %d recipients, %d messages", tc, recipients, messages)
		}
	}
	if recipients, messages := New(time.Now).Sizes(Subject{}); recipients != 0 || messages != 0 {
		t.Errorf("without policies: %d, %d", recipients, messages)
	}
}

// BenchmarkProviders is a message among policies for a hundred providers: it pays for its own.
func BenchmarkProviders(b *testing.B) {
	for name, hosts := range map[string][]string{
		"none": {"mx1.example.org", "mx2.example.org"}, "one": {"acme-com.mail.p50.example", "acme-com.backup.p50.example"},
	} {
		b.Run(name, func(b *testing.B) {
			var policies []config.RatePolicy
			for i := range 100 {
				policies = append(policies, config.RatePolicy{
					Name: fmt.Sprint("p", i), Stage: config.StageDelivery, Key: config.KeySite,
					MXSuffixes: []string{fmt.Sprintf("mail.p%d.example", i), fmt.Sprintf("backup.p%d.example", i)}, MaxConnections: 1 << 20,
				})
			}
			l := New(time.Now)
			l.Configure(policies)
			s := Subject{Site: "acme.example", DestinationDomain: "acme.example", MXHosts: hosts}
			b.ReportAllocs()
			for b.Loop() {
				lease, wait := l.Acquire(s)
				if wait != nil {
					b.Fatal(wait)
				}
				lease.Release()
			}
		})
	}
}

func TestAPodWithoutAShare(t *testing.T) {
	l := New(newClock().now)
	p := connections("p", 5)
	p.Shares = map[string]config.Share{"a": {MaxConnections: 3}, "b": {MaxConnections: 2}}
	l.Configure([]config.RatePolicy{p.For("a")})
	lease, _ := l.Acquire(Subject{Site: "mx"})
	if l.Exceeded() {
		t.Error("one of three is too many")
	}
	l.Configure([]config.RatePolicy{p.For("c"), connections("also", 1)})
	w := must(l.Acquire(Subject{Site: "mx"}))
	if w == nil || !w.Never || !w.Until.IsZero() || w.Policy != "p" {
		t.Errorf("it waits for %+v", w)
	}
	if !l.Exceeded() {
		t.Error("a connection from before is not too many")
	}
	lease.Release()
	if l.Exceeded() {
		t.Error("none is too many")
	}
}
