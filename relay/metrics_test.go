package relay

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postrider/postrider/relay/event"
	"github.com/postrider/postrider/relay/schedule"
	"github.com/postrider/postrider/relay/spool"
	"github.com/postrider/postrider/test/metricdoc"
)

func TestEveryMetricIsListed(t *testing.T) {
	r := opened(t)
	metricdoc.Listed(t, "../docs/metrics.md", "relay", metricdoc.Of(t, r.metrics.registry))
}

func TestLabelsAreBounded(t *testing.T) {
	r, _ := recording(t, io.Discard)
	for range 20 {
		for i := range 3000 {
			r.metrics.count(&event.Event{Type: event.Accepted, Listener: "smtp", Tenant: fmt.Sprintf("d%d.example", i)})
			r.metrics.count(&event.Event{Type: event.Delivered, Attempt: 1, Site: fmt.Sprintf("mx%d.example", i%60), Reply: "250 ok"})
		}
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(r.metrics.accepted, r.metrics.attempts)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		total := 0.0
		for _, m := range f.Metric {
			total += m.GetCounter().GetValue()
		}
		if len(f.Metric) != labelled+1 || total != 60000 {
			t.Errorf("%s has %d series that count %v; want %d and 60000", f.GetName(), len(f.Metric), total, labelled+1)
		}
	}
}

func TestCapped(t *testing.T) {
	c := newCapped(3)
	for i, want := range []string{"other", "other", "a", "a"} {
		if got := c.label("a"); got != want {
			t.Errorf("a, for the %d. time: %s", i+1, got)
		}
	}
	if got := c.label(""); got != "" {
		t.Errorf("nothing is %q", got)
	}
	for i := range 10 * candidates {
		if got := c.label(fmt.Sprint("once", i)); got != otherLabel {
			t.Fatalf("a value that occurred once is %s", got)
		}
	}
	if len(c.seen) > candidates+1 || c.label("a") != "a" {
		t.Errorf("%d candidates are remembered, and a is %s", len(c.seen), c.label("a"))
	}
	for range 3 {
		c.label("\xff.example")
	}
	if got := c.label("\xff.example"); got != "?.example" {
		t.Errorf("what is no text is %q", got)
	}
}

func destination(domain string, queued, deferred, held int64, age time.Duration) spool.Destination {
	return spool.Destination{Domain: domain, Counts: spool.Counts{Queued: queued, Deferred: deferred, Held: held}, Oldest: time.Unix(1e9, 0).Add(-age)}
}

func TestDeliverable(t *testing.T) {
	all := []spool.Destination{
		destination("ready.example", 10, 3, 2, 0),
		destination("inflight.example", 1, 0, 0, 0),
		destination("limited.example", 1000, 0, 0, 0),
		destination("suspended.example", 100, 0, 0, 0), // not in memory
		destination("held.example", 7, 5, 5, 0),
	}
	waiting := map[string]schedule.Waiting{
		"ready.example": {Reason: schedule.Ready}, "inflight.example": {Reason: schedule.InFlight},
		"limited.example": {Reason: schedule.RateLimited}, "held.example": {Reason: schedule.Ready},
	}
	if got := deliverable(all, waiting); got != 6 {
		t.Errorf("%d are deliverable; want 5 and 1", got)
	}
}

func TestOldestAgeLeavesOutWhatIsHeld(t *testing.T) {
	now := time.Unix(1e9, 0)
	held, waits := destination("a.example", 2, 0, 2, time.Hour), destination("b.example", 2, 2, 1, time.Minute)
	for _, tc := range []struct {
		all  []spool.Destination
		want time.Duration
	}{
		{nil, 0}, {[]spool.Destination{held}, 0}, {[]spool.Destination{held, waits}, time.Minute},
	} {
		if got := oldestAge(tc.all, now); got != tc.want {
			t.Errorf("of %v: %v; want %v", tc.all, got, tc.want)
		}
	}
}

func TestBusiest(t *testing.T) {
	var all []spool.Destination
	for i := range 25 {
		all = append(all, destination(fmt.Sprintf("d%02d.example", i), int64(i), 0, 0, 0))
	}
	busy, rest := busiest(all)
	if len(busy) != shown || busy[0].Queued != 24 || busy[shown-1].Queued != 15 || rest != 14*15/2 {
		t.Errorf("%d, from %d to %d; %d for the rest", len(busy), busy[0].Queued, busy[shown-1].Queued, rest)
	}
	if busy, rest := busiest(all[:2]); len(busy) != 2 || rest != 0 {
		t.Errorf("of two: %d, rest %d", len(busy), rest)
	}
	if all[0].Queued != 0 {
		t.Error("the list was put in another order")
	}
}
