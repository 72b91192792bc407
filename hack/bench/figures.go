package main

import (
	"fmt"
	"slices"
)

// series are measurements of one thing in the rounds of a run.
type series struct {
	// Name is what was measured: an engine, or something that it is compared with.
	Name   string    `json:"name"`
	Values []float64 `json:"values"`
}

// spread is the median, the least and the most of some measurements.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func (s series) spread() spread {
	if len(s.Values) == 0 {
		return spread{}
	}
	values := slices.Sorted(slices.Values(s.Values))
	middle := len(values) / 2
	median := values[middle]
	if len(values)%2 == 0 {
		median = (values[middle-1] + values[middle]) / 2
	}
	return spread{Median: median, Min: values[0], Max: values[len(values)-1]}
}

// String is "median (least–most)", or the value alone when there is one.
func (s series) String() string {
	of := s.spread()
	switch len(s.Values) {
	case 0:
		return "–"
	case 1:
		return short(of.Median)
	default:
		return fmt.Sprintf("%s (%s–%s)", short(of.Median), short(of.Min), short(of.Max))
	}
}

// short writes a number with about three digits that count.
func short(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// goal is what is asked of a figure; the zero value asks nothing.
type goal struct {
	// Ratio says that it is asked of ours over the peer's, both medians; else of our median.
	Ratio bool `json:"ratio,omitempty"`
	// Least and Most are bounds; 0 for none.
	Least float64 `json:"least,omitempty"`
	Most  float64 `json:"most,omitempty"`
}

// atLeast asks for so many times what the peer does.
func atLeast(times float64) goal { return goal{Ratio: true, Least: times} }

// atMost asks for no more than so much, in the row's unit.
func atMost(value float64) goal { return goal{Most: value} }

// verdict is how a row stands to its goal.
type verdict string

const (
	met       verdict = "met"
	fellShort verdict = "short"
	// notAsked is for a row that has no goal, notKnown for one that has no measurement.
	notAsked verdict = "–"
	notKnown verdict = "not measured"
)

// row is a line of the table.
type row struct {
	Scenario string `json:"scenario"`
	Figure   string `json:"figure"`
	Unit     string `json:"unit"`
	Goal     goal   `json:"goal"`
	Ours     series `json:"ours"`
	// Peer is what ours is held against; nil when that is nothing but the goal.
	Peer *series `json:"peer,omitempty"`
	// Note says what the numbers do not.
	Note string `json:"note,omitempty"`
}

// ratio is ours over the peer's, medians; 0 when there is no peer.
func (r *row) ratio() float64 {
	if r.Peer == nil || r.Peer.spread().Median == 0 {
		return 0
	}
	return r.Ours.spread().Median / r.Peer.spread().Median
}

// judge holds a row against its goal.
func (r *row) judge() verdict {
	if r.Goal == (goal{}) {
		return notAsked
	}
	if len(r.Ours.Values) == 0 || r.Goal.Ratio && r.ratio() == 0 {
		return notKnown
	}
	value := r.Ours.spread().Median
	if r.Goal.Ratio {
		value = r.ratio()
	}
	if value < r.Goal.Least || r.Goal.Most > 0 && value > r.Goal.Most {
		return fellShort
	}
	return met
}

// asked writes the goal.
func (r *row) asked() string {
	unit := r.Unit
	if r.Goal.Ratio {
		unit = "×"
	}
	switch {
	case r.Goal.Least > 0:
		return fmt.Sprintf("≥ %g %s", r.Goal.Least, unit)
	case r.Goal.Most > 0:
		return fmt.Sprintf("≤ %g %s", r.Goal.Most, unit)
	default:
		return "–"
	}
}

// cells are the columns of the table.
func (r *row) cells() []string {
	peer, ratio := "–", "–"
	if r.Peer != nil {
		peer = r.Peer.Name + " " + r.Peer.String()
		ratio = short(r.ratio())
	}
	return []string{r.Figure, r.asked(), r.Ours.String() + " " + r.Unit, peer, ratio, string(r.judge()), r.Note}
}

// columns are the heads of cells.
func columns() []string {
	return []string{"figure", "goal", "postrider", "beside it", "ratio", "verdict", "note"}
}
