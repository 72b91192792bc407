package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/route"
)

func TestJudge(t *testing.T) {
	const at = "mx.test[192.0.2.1]:25"
	for _, tc := range []struct {
		name      string
		outcome   envelope.Outcome
		relay     string // what a stranger is told; "" accepts
		backup    string
		life      time.Duration
		wholeSite bool
	}{
		{name: "known", outcome: answered(at, 250, "2.1.5", "ok"), life: goodLife},
		{name: "unknown", outcome: answered(at, 550, "5.1.1", "no such user"), life: badLife,
			relay: "550 5.1.1 The recipient is refused: no such user", backup: "550 5.1.1 The recipient is refused: no such user"},
		{name: "unknown, in another way", outcome: answered(at, 553, "", "go\naway"), life: badLife,
			relay: "550 5.1.1 The recipient is refused: go; away", backup: "550 5.1.1 The recipient is refused: go; away"},
		{name: "no SMTPUTF8", outcome: answered(at, 550, "5.6.7", "needs SMTPUTF8"), life: badLife,
			relay: "550 5.6.7 The recipient is refused: needs SMTPUTF8", backup: "550 5.6.7 The recipient is refused: needs SMTPUTF8"},
		{name: "greylisted", outcome: answered(at, 450, "4.2.0", "later"),
			relay: "450 4.1.1 The recipient cannot be verified now: later", backup: "450 4.1.1 The recipient cannot be verified now: later"},
		{name: "not reached behind the hop", outcome: atRecipient(answered(at, 450, "4.4.1", "their host is away")),
			relay:  "450 4.1.1 The recipient cannot be verified now: their host is away",
			backup: "450 4.1.1 The recipient cannot be verified now: their host is away"},
		{name: "not reached", outcome: answered("", 421, "4.4.1", "connect to mx.test: refused"), life: troubleLife, wholeSite: true,
			relay: silence.String()},
		{name: "known to be down", outcome: answered("", 451, "4.4.1", "mx.test:25 has been down since"), life: troubleLife, wholeSite: true,
			relay: silence.String()},
		{name: "lost", outcome: answered(at, 421, "4.4.2", "connection lost"), life: troubleLife, wholeSite: true, relay: silence.String()},
		{name: "no slot", outcome: answered("site", busy.Code, busy.Enhanced, busy.Text), relay: busy.String(), backup: busy.String()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for backup, want := range map[bool]string{false: tc.relay, true: tc.backup} {
				got := judge(tc.outcome, backup)
				told := ""
				if err := got.asError(); err != nil {
					told = err.Error()
				}
				if told != want || got.life != tc.life || got.wholeSite != tc.wholeSite {
					t.Errorf("backup %v: %q for %v, whole site %v", backup, told, got.life, got.wholeSite)
				}
			}
		})
	}
}

func atRecipient(o envelope.Outcome) envelope.Outcome {
	o.AtRecipient = true
	return o
}

func answered(nextHop string, code int, enhanced, text string) envelope.Outcome {
	return envelope.Outcome{NextHop: nextHop, Reply: reply.Reply{Code: code, Enhanced: enhanced, Text: text}}
}

// hop is a next hop that knows everyone but "unknown", takes its time, and notes what it is asked.
type hop struct {
	mu       sync.Mutex
	takes    time.Duration
	asked    []string
	now, max int // questions at the same time
}

func (h *hop) Probe(ctx context.Context, ehlo string, plan route.Plan, address string, utf8 bool) envelope.Outcome {
	h.mu.Lock()
	h.asked = append(h.asked, fmt.Sprintf("%s %s %s %v", ehlo, plan.Site, address, utf8))
	h.now++
	h.max = max(h.max, h.now)
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.now--
		h.mu.Unlock()
	}()
	select {
	case <-time.After(h.takes):
	case <-ctx.Done():
		return answered("hop", 421, "4.3.2", "broken off")
	}
	if address == "unknown@x.test" {
		return answered("hop", 550, "5.1.1", "no")
	}
	return answered("hop", 250, "2.1.5", "ok")
}

func (h *hop) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.asked)
}

func question(address string) Question {
	return Question{
		Verification: route.Verification{Site: "hop:24"}, EHLO: "us.test", Address: address,
		Plan: func(context.Context) (route.Plan, error) { return route.Plan{Site: "planned"}, nil },
	}
}

func TestAnswersAreRememberedForATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hop{}
		v := New(Options{Prober: h})
		ask := func(address string, known bool, asked int) {
			t.Helper()
			if err := v.Verify(t.Context(), question(address)); (err == nil) != known || h.count() != asked {
				t.Errorf("%s: %v after %d questions, want %d", address, err, h.count(), asked)
			}
		}
		ask("ü@x.test", true, 1)
		ask("unknown@x.test", false, 2)
		time.Sleep(badLife - 1)
		ask("unknown@x.test", false, 2)
		time.Sleep(time.Nanosecond)
		ask("unknown@x.test", false, 3)
		time.Sleep(goodLife - badLife - 1)
		ask("ü@x.test", true, 3)
		time.Sleep(time.Nanosecond)
		ask("ü@x.test", true, 4)
		if want := "us.test planned ü@x.test true"; h.asked[0] != want {
			t.Errorf("asked %q, want %q", h.asked[0], want)
		}
	})
}

func TestEqualQuestionsShareOneAnswerAndASiteIsNotFlooded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hop{takes: time.Second}
		v := New(Options{Prober: h})
		gone, cancel := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		for i := range 2 * perSite {
			for range 3 {
				wait.Go(func() {
					if err := v.Verify(gone, question(fmt.Sprintf("u%d@x.test", i))); err != nil {
						t.Error(err)
					}
				})
			}
		}
		synctest.Wait()
		cancel() // the first who asked went away; the others wait for the same answer
		wait.Wait()
		if h.max != perSite || len(h.asked) != 2*perSite {
			t.Errorf("%d questions, %d at the same time", len(h.asked), h.max)
		}
		if len(v.sites.byName) != 0 {
			t.Errorf("slots are left: %v", v.sites.byName)
		}
	})
}

func TestAnAnswerTakesNoLongerThanItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hop{takes: time.Hour}
		v := New(Options{Prober: h})
		began := time.Now()
		var wait sync.WaitGroup
		for i := range 3 * perSite {
			wait.Go(func() {
				var told reply.Reply
				if err := v.Verify(t.Context(), question(fmt.Sprintf("u%d@x.test", i))); !errors.As(err, &told) || told.Class() != reply.Transient {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if took := time.Since(began); took != patience {
			t.Errorf("took %v", took)
		}
		asked := h.count()
		if err := v.Verify(t.Context(), question("other@x.test")); !errors.Is(err, silence) || h.count() != asked {
			t.Errorf("a site that said nothing is asked again at once: %v", err)
		}
		h.takes = 0
		time.Sleep(troubleLife)
		if err := v.Verify(t.Context(), question("other@x.test")); err != nil {
			t.Errorf("later: %v", err)
		}
	})
}

// TestTroubleWithOneIsNotThatOfAll: who is known is accepted, and who is not is refused, while the site says nothing
// about others.
func TestTroubleWithOneIsNotThatOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hop{}
		v := New(Options{Prober: h})
		refused := v.Verify(t.Context(), question("unknown@x.test"))
		if err := v.Verify(t.Context(), question("known@x.test")); err != nil {
			t.Fatal(err)
		}
		h.takes = time.Hour
		if err := v.Verify(t.Context(), question("slow@x.test")); !errors.Is(err, silence) {
			t.Errorf("slow: %v", err)
		}
		if err := v.Verify(t.Context(), question("known@x.test")); err != nil {
			t.Errorf("known: %v", err)
		}
		if err := v.Verify(t.Context(), question("unknown@x.test")); refused == nil || err != refused {
			t.Errorf("unknown: %v, before %v", err, refused)
		}
	})
}

func TestWithoutAPlan(t *testing.T) {
	v := New(Options{Prober: &hop{}})
	q := question("u@x.test")
	q.Plan = func(context.Context) (route.Plan, error) {
		return route.Plan{}, reply.Reply{Code: 451, Enhanced: "4.3.5", Text: "route x cannot be used"}
	}
	if err := v.Verify(t.Context(), q); !errors.Is(err, silence) {
		t.Error(err)
	}
	q.Site, q.Backup = "primary:25", true
	if err := v.Verify(t.Context(), q); err != nil {
		t.Errorf("backup: %v", err)
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	a := newAnswers(2)
	now := time.Unix(1e9, 0)
	for _, address := range []string{"a", "b", "a", "c"} {
		if _, ok := a.get(key{"s", address}, now); !ok {
			a.put(key{"s", address}, answer{}, now.Add(time.Hour))
		}
	}
	var left []string
	for _, address := range []string{"a", "b", "c"} {
		if _, ok := a.get(key{"s", address}, now); ok {
			left = append(left, address)
		}
	}
	if !slices.Equal(left, []string{"a", "c"}) || a.used.Len() != 2 {
		t.Errorf("left %v; want the one not used for longest, b, to go", left)
	}
	a.put(key{"s", "a"}, answer{}, now)
	if _, ok := a.get(key{"s", "a"}, now); ok || a.used.Len() != 2 {
		t.Error("an answer outlived its time")
	}
}
