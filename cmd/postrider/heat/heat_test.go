package heat

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/status"
)

var now = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) *time.Time { return new(now.Add(-d)) }

func destination(domain string, oldest time.Duration, reason status.Reason, messages ...int64) admin.DestinationAges {
	return admin.DestinationAges{
		Destination: status.Destination{Domain: domain, Queue: status.Queue{Queued: 2, Oldest: ago(oldest)}, Reason: reason}, Messages: messages,
	}
}

func TestMap(t *testing.T) {
	var m Map
	m.Add(admin.Ages{Bounds: []int64{60, 14400, 86400}, Queue: status.Queue{Queued: 4, Oldest: ago(time.Hour)}, Destinations: []admin.DestinationAges{
		destination("a.example", time.Hour, status.Deferred, 0, 3, 0, 0), destination("b.example", time.Minute, status.Ready, 1, 0, 0, 0),
	}})
	second := destination("a.example", 48*time.Hour, status.Held, 1, 0, 0, 900)
	second.Partial = true
	m.Add(admin.Ages{Bounds: []int64{60, 14400, 86400}, Queue: status.Queue{Queued: 2, Held: 1, Oldest: ago(48 * time.Hour)}, Destinations: []admin.DestinationAges{second}})

	if got := m.Headings(); !slices.Equal(got, []string{"<1m", "<4h", "<1d", "1d+"}) {
		t.Errorf("headings %v", got)
	}
	if m.Queue.Queued != 6 || m.Queue.Held != 1 || !m.Queue.Oldest.Equal(*ago(48 * time.Hour)) {
		t.Errorf("queue %+v", m.Queue)
	}
	a := m.Destinations[0]
	if a.Domain != "a.example" || a.Reason != status.Held || a.Queued != 4 || !slices.Equal(a.Messages, []int64{1, 3, 0, 900}) {
		t.Errorf("joined %+v", a)
	}
	if got := fmt.Sprint(m.Cells(a)); got != "[1+ 3 . 900]" {
		t.Errorf("cells %s", got)
	}
	var levels []int
	for _, c := range m.Cells(a) {
		levels = append(levels, c.Level)
	}
	if !slices.Equal(levels, []int{1, 1, 0, 5}) {
		t.Errorf("levels %v", levels)
	}
	if m.Cut(1); len(m.Destinations) != 1 {
		t.Errorf("cut to %d", len(m.Destinations))
	}
}

func TestAnEmptyMap(t *testing.T) {
	var m Map
	if m.Headings() != nil || m.fullest() != 0 {
		t.Error("there is something in it")
	}
	m.Cut(5)
}
