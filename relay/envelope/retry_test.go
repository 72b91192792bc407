package envelope

import (
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/reply"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func retry(expires time.Time) Retry {
	return Retry{Initial: 5 * time.Minute, Max: 4 * time.Hour, Jitter: 0.5, Expires: expires}
}

func TestAfter(t *testing.T) {
	late := now.Add(24 * time.Hour)
	never := time.Time{}
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, c := range []struct {
		name    string
		code    int
		before  time.Time // when the attempt before ended
		expires time.Time
		state   Disposition
		due     time.Time
	}{
		{"delivered", 250, never, late, Delivered, now},
		{"delivered at the very end", 250, ago(time.Hour), now, Delivered, now},
		{"refused for good", 550, never, late, Failed, now},
		{"refused for now", 451, never, late, Queued, now.Add(10 * time.Minute)},
		{"no reply at all", 0, never, late, Queued, now.Add(10 * time.Minute)},
		{"an intermediate reply is no answer", 354, never, late, Queued, now.Add(10 * time.Minute)},
		{"a code that does not exist", 999, never, late, Queued, now.Add(10 * time.Minute)},
		{"one last attempt when the next would be too late", 451, never, now.Add(time.Minute), Queued, now.Add(time.Minute)},
		{"expired", 451, ago(4 * time.Hour), now, Failed, now.Add(10 * time.Minute)},
		{"expired after the longest wait", 451, ago(5 * time.Hour), now, Failed, now.Add(10 * time.Minute)},
		{"long expired, and tried since", 421, ago(time.Minute), ago(time.Hour), Failed, now.Add(10 * time.Minute)},
		{"expired on a clock that was set back meanwhile", 421, now.Add(48 * time.Hour), now, Failed, now.Add(10 * time.Minute)},
		{"the clock leapt: one more attempt", 421, ago(25 * time.Hour), ago(time.Hour), Queued, now.Add(10 * time.Minute)},
		{"nothing was tried for long: one more attempt", 421, ago(5*time.Hour + 1), now, Queued, now.Add(10 * time.Minute)},
		{"never tried in all its life: one more attempt", 421, never, ago(time.Hour), Queued, now.Add(10 * time.Minute)},
	} {
		o := Outcome{Reply: reply.Reply{Code: c.code}, At: now}
		before := Recipient{Address: "a@b.test", State: Queued, Attempts: 2, Due: now}
		if !c.before.IsZero() {
			before.Last = &Outcome{Reply: reply.Reply{Code: 451}, At: c.before}
		}
		want := before
		want.State, want.Due, want.Last = c.state, c.due, &o
		if got := before.After(o, now, retry(c.expires)); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, not %+v", c.name, got, want)
		}
	}
}

// TestNoLeapEndsMailAtOnce: a clock that leaps over the end of all mail, and is right again after one attempt.
func TestNoLeapEndsMailAtOnce(t *testing.T) {
	p := retry(now.Add(5 * 24 * time.Hour))
	r := Recipient{State: Queued}.Begin(now).After(Outcome{Reply: reply.Reply{Code: 451}, At: now}, now, p)
	leapt := now.Add(365 * 24 * time.Hour)
	r = r.Begin(leapt).After(Outcome{Reply: reply.Reply{Code: 451}, At: leapt}, leapt, p)
	if r.State != Queued {
		t.Fatal("the leap ended it")
	}
	right := now.Add(time.Hour)
	if r = r.Begin(right).After(Outcome{Reply: reply.Reply{Code: 451}, At: right}, right, p); r.State != Queued || r.Due.After(right.Add(time.Hour)) {
		t.Errorf("after the clock was set right: %+v", r)
	}
}

func TestFinalStatesStay(t *testing.T) {
	for _, state := range []Disposition{Delivered, Failed, Suppressed, Removed} {
		r := Recipient{State: state, Attempts: 1, Due: now}
		for _, code := range []int{250, 451, 550} {
			o := Outcome{Reply: reply.Reply{Code: code}}
			if got := r.After(o, now, retry(now)); !reflect.DeepEqual(got, r) {
				t.Errorf("%s after %d: %+v", state, code, got)
			}
		}
		if got := r.Begin(now.Add(time.Hour)); !reflect.DeepEqual(got, r) {
			t.Errorf("%s begun: %+v", state, got)
		}
	}
}

func TestBegin(t *testing.T) {
	got := Recipient{State: Queued, Attempts: 3, Due: now}.Begin(now)
	want := Recipient{State: Queued, Attempts: 4, Due: now.Add(AttemptLease)}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, not %+v", got, want)
	}
}

func TestWait(t *testing.T) {
	for _, c := range []struct {
		attempts int
		jitter   float64
		want     time.Duration
	}{
		{0, 0.5, 5 * time.Minute},
		{1, 0.5, 5 * time.Minute},
		{2, 0.5, 10 * time.Minute},
		{6, 0.5, 160 * time.Minute},
		{7, 0.5, 4 * time.Hour},
		{math.MaxInt, 0.5, 4 * time.Hour},
		{1, 0, 225 * time.Second},
		{7, 0, 3 * time.Hour},
	} {
		p := retry(now)
		p.Jitter = c.jitter
		if got := p.Wait(c.attempts); got != c.want {
			t.Errorf("after attempt %d with jitter %v: %v, not %v", c.attempts, c.jitter, got, c.want)
		}
	}
	p := retry(now)
	p.Jitter = math.Nextafter(1, 0)
	if got := p.Wait(1); got <= 6*time.Minute || got > 375*time.Second {
		t.Errorf("most jitter: %v", got)
	}
}

func TestDueAndAttempts(t *testing.T) {
	e := Envelope{Recipients: []Recipient{
		{State: Delivered, Due: now.Add(-time.Hour), Attempts: 1},
		{State: Queued, Due: now.Add(time.Hour), Attempts: 2},
		{State: Queued, Due: now.Add(time.Minute)},
	}}
	if due := e.Due(); !due.Equal(now.Add(time.Minute)) {
		t.Errorf("due %v", due)
	}
	if n := e.Attempts(); n != 2 {
		t.Errorf("%d attempts", n)
	}
	if due := (&Envelope{}).Due(); !due.IsZero() {
		t.Errorf("nothing is due at %v", due)
	}
}

func TestSenderDomain(t *testing.T) {
	for _, c := range []struct{ tenant, from, want string }{
		{"tenant.test", "a@other.test", "tenant.test"},
		{"", "a@Sender.Test", "sender.test"},
		{"", `"a@b"@sender.test`, "sender.test"},
		{"", "", ""},
	} {
		if got := (&Envelope{Tenant: c.tenant, ReversePath: c.from}).SenderDomain(); got != c.want {
			t.Errorf("%q of %q: %q, not %q", c.from, c.tenant, got, c.want)
		}
	}
}
