// Package heat owns the map of a queue: how many messages of which age wait for which destination, over all processes of a
// relay. It refuses to know how they are asked and where it is drawn.
package heat

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/status"
)

// Map is what all processes of a relay say together.
type Map struct {
	// Bounds divide the counts, in seconds, as in admin.Ages.
	Bounds []int64 `json:"bounds"`
	// Queue is that of all destinations, in recipients.
	Queue status.Queue `json:"queue"`
	// Destinations are those whose mail has waited longest, the longest first.
	Destinations []admin.DestinationAges `json:"destinations"`
}

// Add joins what one more process says. Of a destination, the process with the oldest message says why it waits.
func (m *Map) Add(one admin.Ages) {
	m.Bounds = one.Bounds
	m.Queue = sum(m.Queue, one.Queue)
	for _, d := range one.Destinations {
		i := slices.IndexFunc(m.Destinations, func(have admin.DestinationAges) bool { return have.Domain == d.Domain })
		if i < 0 {
			m.Destinations = append(m.Destinations, d)
			continue
		}
		m.Destinations[i] = join(m.Destinations[i], d)
	}
	slices.SortStableFunc(m.Destinations, func(x, y admin.DestinationAges) int {
		return cmp.Or(when(x.Oldest).Compare(when(y.Oldest)), cmp.Compare(x.Domain, y.Domain))
	})
}

// Cut leaves at most so many destinations.
func (m *Map) Cut(most int) { m.Destinations = m.Destinations[:min(len(m.Destinations), most)] }

// join adds two processes' views of a destination.
func join(a, b admin.DestinationAges) admin.DestinationAges {
	if older(b.Oldest, a.Oldest) {
		a, b = b, a
	}
	a.Queue, a.Partial = sum(a.Queue, b.Queue), a.Partial || b.Partial
	a.Messages = slices.Clone(a.Messages)
	for i := range min(len(a.Messages), len(b.Messages)) {
		a.Messages[i] += b.Messages[i]
	}
	return a
}

func sum(a, b status.Queue) status.Queue {
	if older(b.Oldest, a.Oldest) {
		a.Oldest = b.Oldest
	}
	a.Queued, a.Deferred, a.Held, a.Damaged = a.Queued+b.Queued, a.Deferred+b.Deferred, a.Held+b.Held, a.Damaged+b.Damaged
	return a
}

func older(a, b *time.Time) bool { return a != nil && (b == nil || a.Before(*b)) }

// when is a time to order by; none comes last.
func when(t *time.Time) time.Time {
	if t == nil {
		return time.Unix(1<<40, 0)
	}
	return *t
}

// Headings name the columns: "<1m", "<5m" and so on, and "2d+".
func (m *Map) Headings() []string {
	var names []string
	for _, b := range m.Bounds {
		names = append(names, "<"+bound(b))
	}
	if n := len(m.Bounds); n > 0 {
		names = append(names, bound(m.Bounds[n-1])+"+")
	}
	return names
}

// bound names an age: 60 is 1m.
func bound(seconds int64) string {
	switch {
	case seconds >= 86400:
		return strconv.FormatInt(seconds/86400, 10) + "d"
	case seconds >= 3600:
		return strconv.FormatInt(seconds/3600, 10) + "h"
	default:
		return strconv.FormatInt(seconds/60, 10) + "m"
	}
}

// Cell is one count.
type Cell struct {
	Messages int64
	// More says that there may be more than were counted.
	More bool
	// Level is from 0 for none to 5 for as many as the fullest cell, by magnitudes.
	Level int
}

// String is the count; "." for none, so that the others stand out.
func (c Cell) String() string {
	switch {
	case c.More:
		return strconv.FormatInt(c.Messages, 10) + "+"
	case c.Messages == 0:
		return "."
	default:
		return strconv.FormatInt(c.Messages, 10)
	}
}

// Cells are the counts of a destination. What was not counted is no older than the youngest that was.
func (m *Map) Cells(d admin.DestinationAges) []Cell {
	youngest := slices.IndexFunc(d.Messages, func(n int64) bool { return n > 0 })
	fullest := m.fullest()
	cells := make([]Cell, len(d.Messages))
	for i, n := range d.Messages {
		cells[i] = Cell{Messages: n, More: d.Partial && i <= youngest, Level: level(n, fullest)}
	}
	return cells
}

func (m *Map) fullest() int64 {
	var most int64
	for _, d := range m.Destinations {
		most = max(most, slices.Max(append([]int64{0}, d.Messages...)))
	}
	return most
}

// levels are those of cells that are not empty.
const levels = 5

// level is the count's number of digits in base 2, on a scale to that of the fullest.
func level(n, fullest int64) int {
	if n == 0 {
		return 0
	}
	bits := func(n int64) int { return len(strconv.FormatInt(n, 2)) }
	return max(1, levels*bits(n)/bits(fullest))
}
