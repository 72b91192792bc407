package relay

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/envelope"
)

func TestAgeBuckets(t *testing.T) {
	for age, want := range map[time.Duration]int{
		-time.Second: 0, 59 * time.Second: 0, time.Minute: 1, 5 * time.Minute: 2, 48*time.Hour - 1: 7, 48 * time.Hour: 8, 5000 * time.Hour: 8,
	} {
		if got := admin.AgeBucket(age); got != want {
			t.Errorf("%v is in bucket %d, want %d", age, got, want)
		}
	}
}

// TestAges: what waits is counted by destination and age, as far as is looked.
func TestAges(t *testing.T) {
	r := opened(t)
	r.put(t, entry("", "one.test", "a", "b"), entry("", "two.test", "c"))
	r.put(t, entry("", "one.test", "a"))
	ages, err := r.Ages(10)
	if err != nil || len(ages.Destinations) != 2 || ages.Queue.Queued != 4 {
		t.Fatalf("ages %+v, %v", ages, err)
	}
	one := ages.Destinations[0]
	if one.Domain != "one.test" || one.Queued != 3 || one.Partial || !slices.Equal(one.Messages, []int64{2, 0, 0, 0, 0, 0, 0, 0, 0}) || one.Reason == "" {
		t.Errorf("of one.test: %+v", one)
	}
	if ages, err = r.Ages(1); err != nil || len(ages.Destinations) != 1 {
		t.Errorf("of one: %+v, %v", ages, err)
	}
}

// TestDryRun: an act that is only tried says what it would do, and changes nothing.
func TestDryRun(t *testing.T) {
	r := opened(t)
	held := entry("", "one.test", "h")
	held.Held = "audit"
	r.put(t, entry("", "one.test", "a", "b"), entry("", "two.test", "c"))
	r.put(t, held)
	for act, want := range map[admin.Act]admin.Result{
		admin.Delete: {Entries: 2, Recipients: 3}, admin.Release: {Entries: 1, Recipients: 1}, admin.Hold: {Entries: 2, Recipients: 3}, admin.Flush: {Entries: 2, Recipients: 3},
	} {
		if got, err := r.Act(act, admin.Selection{Domain: "One.test", DryRun: true}); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", act, got, err, want)
		}
	}
	page, err := r.List(admin.Query{Limit: 10})
	if err != nil || len(page.Entries) != 3 || slices.ContainsFunc(page.Entries, func(e envelope.Envelope) bool { return strings.Contains(e.Held, "admin") }) {
		t.Errorf("afterwards: %+v, %v", page, err)
	}
}
