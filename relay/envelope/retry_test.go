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
	for _, c := range []struct {
		name    string
		code    int
		expires time.Time
		state   Disposition
		due     time.Time
	}{
		{"delivered", 250, late, Delivered, now},
		{"delivered at the very end", 250, now, Delivered, now},
		{"refused for good", 550, late, Failed, now},
		{"refused for now", 451, late, Queued, now.Add(10 * time.Minute)},
		{"no reply at all", 0, late, Queued, now.Add(10 * time.Minute)},
		{"an intermediate reply is no answer", 354, late, Queued, now.Add(10 * time.Minute)},
		{"a code that does not exist", 999, late, Queued, now.Add(10 * time.Minute)},
		{"one last attempt when the next would be too late", 451, now.Add(time.Minute), Queued, now.Add(time.Minute)},
		{"expired", 451, now, Failed, now.Add(10 * time.Minute)},
		{"long expired", 421, now.Add(-time.Hour), Failed, now.Add(10 * time.Minute)},
	} {
		o := Outcome{Reply: reply.Reply{Code: c.code}, At: now}
		before := Recipient{Address: "a@b.test", State: Queued, Attempts: 2, Due: now}
		want := before
		want.State, want.Due, want.Last = c.state, c.due, &o
		if got := before.After(o, now, retry(c.expires)); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, not %+v", c.name, got, want)
		}
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
