package tracing

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/event"
)

func newTracer() *Tracer {
	return New(Options{Pod: "out-0", Version: "v1", Log: slog.New(slog.DiscardHandler)})
}

var events = []event.Event{{Type: event.Delivered, SpoolID: "01M83WZ9Z94EQK3GM30Q", Attempt: 1, At: time.Unix(1_800_000_000, 0)}}

func TestNothingIsSpentWhereNothingIsTraced(t *testing.T) {
	tracer := newTracer()
	if n := testing.AllocsPerRun(1000, func() { tracer.Tell(events) }); n != 0 {
		t.Errorf("%v allocations for each event", n)
	}
}

// TestACollectorThatIsAwayHoldsUpNobody: the spans that it does not take are dropped, and the end does not wait for it.
func TestACollectorThatIsAwayHoldsUpNobody(t *testing.T) {
	tracer := newTracer()
	c := &config.Relay{Namespace: "mail", Name: "out", Traces: &config.Traces{Endpoint: "http://127.0.0.1:1", SamplingPercent: 100}}
	if err := tracer.Configure(c); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for range 10_000 {
		tracer.Tell(events)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("telling takes %v", took)
	}
	before := tracer.current.Load()
	if err := tracer.Configure(c); err != nil || tracer.current.Load() != before {
		t.Errorf("the same configuration begins anew, %v", err)
	}
	tracer.Close()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the end takes %v", took)
	}
}

func TestTogether(t *testing.T) {
	accepted := func(id string) event.Event { return event.Event{Type: event.Accepted, SpoolID: id} }
	tried := func(what event.Type, reply string) event.Event {
		return event.Event{Type: what, SpoolID: "a", Attempt: 1, Reply: reply}
	}
	all := []event.Event{
		accepted("a"), accepted("a"), accepted("b"),
		tried(event.Delivered, "250 2.0.0 ok"), tried(event.Delivered, "250 2.0.0 ok"), tried(event.Deferred, "451 4.7.1 later"),
		{Type: event.Bounced, SpoolID: "a"},
	}
	var runs []int
	for rest := all; len(rest) > 0; rest = rest[runs[len(runs)-1]:] {
		runs = append(runs, together(rest))
	}
	if !slices.Equal(runs, []int{2, 1, 2, 1, 1}) {
		t.Errorf("the spans are of %v events", runs)
	}
}

func TestReplyWithoutItsText(t *testing.T) {
	for line, want := range map[string]string{
		"550 5.1.1 no a@b.test here": "550 5.1.1", "451 later, a@b.test": "451", "250": "250", "": "", "554 a@b.c.d is bad": "554",
	} {
		if got := replyOf(&event.Event{Reply: line}); got != want {
			t.Errorf("%q is told as %q, want %q", line, got, want)
		}
	}
}

func TestEveryPodKnowsTheTrace(t *testing.T) {
	a, b := identityOf("01M83WZ9Z94EQK3GM30Q"), identityOf("01M83WZ9ZFBKC0SQXZH2")
	if a != identityOf("01M83WZ9Z94EQK3GM30Q") || a.trace == b.trace || !a.trace.IsValid() || !a.root.IsValid() {
		t.Errorf("%v and %v", a, b)
	}
}

func BenchmarkTell(b *testing.B) {
	for name, percent := range map[string]int{"off": 0, "1 in 100": 1, "all": 100} {
		b.Run(name, func(b *testing.B) {
			tracer := newTracer()
			if percent > 0 {
				c := &config.Relay{Traces: &config.Traces{Endpoint: "http://127.0.0.1:1", SamplingPercent: percent}}
				if err := tracer.Configure(c); err != nil {
					b.Fatal(err)
				}
				defer tracer.Close()
			}
			b.ReportAllocs()
			for b.Loop() {
				tracer.Tell(events)
			}
		})
	}
}
