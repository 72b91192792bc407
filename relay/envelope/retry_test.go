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

// TestEveryStateMeetsEveryOutcome is the whole of the state machine: what becomes of a recipient in each state by each
// class of reply, before, at and after its end, tried before or not.
func TestEveryStateMeetsEveryOutcome(t *testing.T) {
	end := time.Unix(1_800_000_000, 0)
	p := Retry{Initial: time.Minute, Max: time.Hour, Expires: end, Jitter: 0.5}
	replies := map[reply.Class]int{reply.Success: 250, reply.Permanent: 550, reply.Transient: 450}
	before := map[string]*Outcome{
		"never": nil, "long ago": {At: end.Add(-10 * time.Hour)}, "lately": {At: end.Add(-time.Hour)}, "after its end": {At: end.Add(time.Second)},
	}
	nows := map[string]time.Time{"early": end.Add(-5 * time.Hour), "just before": end.Add(-time.Second), "at the end": end, "late": end.Add(24 * time.Hour)}
	for _, state := range []Disposition{Queued, Delivered, Failed, Suppressed, Removed} {
		for class, code := range replies {
			for tried, last := range before {
				for when, now := range nows {
					r := Recipient{Address: "a@x.test", State: state, Attempts: 1, Due: now, Last: last}
					got := r.After(Outcome{Reply: reply.Reply{Code: code}, At: now}, now, p)
					want := state
					switch over := !now.Before(end) && (tried == "lately" || tried == "after its end"); {
					case state != Queued:
					case class == reply.Success:
						want = Delivered
					case class == reply.Permanent || over:
						want = Failed
					}
					if got.State != want {
						t.Errorf("%s, %s, tried %s, %s: %s, want %s", state, class, tried, when, got.State, want)
					}
					if state != Queued && (got.Last != last || !got.Due.Equal(r.Due)) {
						t.Errorf("%s changed: %+v", state, got)
					}
					if got.State == Queued && (!got.Due.After(now) || now.Before(end) && got.Due.After(end)) {
						t.Errorf("%s, tried %s: due %v at %v", when, tried, got.Due, now)
					}
				}
			}
		}
	}
}

// TestOverWhenTakenUp: what was tried after its end is given up for that; all else has an attempt.
func TestOverWhenTakenUp(t *testing.T) {
	end := time.Unix(1_800_000_000, 0)
	p := Retry{Initial: time.Minute, Max: time.Hour, Expires: end}
	tried := func(at time.Time) Recipient {
		return Recipient{State: Queued, Last: &Outcome{Reply: reply.Reply{Code: 450}, At: at}}
	}
	for name, tc := range map[string]struct {
		recipients []Recipient
		now        time.Time
		want       int
	}{
		"tried after its end":    {[]Recipient{tried(end), tried(end.Add(time.Hour))}, end.Add(2 * time.Hour), 2},
		"tried before its end":   {[]Recipient{tried(end.Add(-time.Second))}, end.Add(2 * time.Hour), 0},
		"one of them before":     {[]Recipient{tried(end), tried(end.Add(-1))}, end.Add(2 * time.Hour), 0},
		"never tried":            {[]Recipient{{State: Queued}}, end.Add(100 * time.Hour), 0},
		"tried by a clock ahead": {[]Recipient{tried(end.Add(time.Hour))}, end.Add(-time.Second), 0},
		"nobody":                 {nil, end.Add(time.Hour), 0},
	} {
		e := Envelope{Recipients: tc.recipients}
		over := e.Over(tc.now, p)
		if len(over) != tc.want {
			t.Errorf("%s: %v", name, over)
		}
		for i := range over {
			if r := tc.recipients[i].After(over[i], tc.now, p); r.State != Failed {
				t.Errorf("%s: became %s", name, r.State)
			}
		}
	}
}
