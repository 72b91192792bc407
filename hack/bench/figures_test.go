package main

import (
	"slices"
	"testing"
	"time"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   spread
		text   string
	}{
		{nil, spread{}, "–"},
		{[]float64{3}, spread{3, 3, 3}, "3.00"},
		{[]float64{9, 1, 2}, spread{2, 1, 9}, "2.00 (1.00–9.00)"},
		{[]float64{400, 100, 23.45, 900}, spread{250, 23.45, 900}, "250 (23.4–900)"},
	} {
		before := slices.Clone(c.values)
		s := series{Values: c.values}
		if got := s.spread(); got != c.want || s.String() != c.text {
			t.Errorf("%v: %+v, %q", c.values, got, s)
		}
		if !slices.Equal(before, c.values) {
			t.Errorf("the rounds %v are in another order: %v", before, c.values)
		}
	}
}

func TestJudge(t *testing.T) {
	peer := func(values ...float64) *series { return &series{"postfix", values} }
	for _, c := range []struct {
		name  string
		goal  goal
		ours  []float64
		peer  *series
		asked string
		want  verdict
	}{
		{"no goal", goal{}, []float64{1}, peer(5), "–", notAsked},
		{"as many times as asked", atLeast(6), []float64{590, 600, 700}, peer(100), "≥ 6 ×", met},
		{"not so many times", atLeast(6), []float64{590, 599, 700}, peer(100), "≥ 6 ×", fellShort},
		{"the peer's median counts", atLeast(6), []float64{600}, peer(90, 110, 100), "≥ 6 ×", met},
		{"no peer to hold it against", atLeast(6), []float64{600}, nil, "≥ 6 ×", notKnown},
		{"a peer that did nothing", atLeast(6), []float64{600}, peer(0), "≥ 6 ×", notKnown},
		{"at most", atMost(100), []float64{100}, nil, "≤ 100 MiB", met},
		{"more", atMost(100), []float64{100.1}, nil, "≤ 100 MiB", fellShort},
		{"more, but the peer still more", atMost(100), []float64{101}, peer(500), "≤ 100 MiB", fellShort},
		{"nothing measured", atMost(100), nil, nil, "≤ 100 MiB", notKnown},
	} {
		r := row{Unit: "MiB", Goal: c.goal, Ours: series{"postrider", c.ours}, Peer: c.peer}
		if r.asked() != c.asked || r.judge() != c.want {
			t.Errorf("%s: %s, %s", c.name, r.asked(), r.judge())
		}
	}
}

func TestProbesThatAreMissingCountAsLate(t *testing.T) {
	p := probed{latencies: make([]time.Duration, 98), missing: 2}
	if p.at(0.5) != 0 || p.at(0.98) != 0 || p.at(0.99) != 30_000 {
		t.Errorf("p50 %v, p98 %v, p99 %v", p.at(0.5), p.at(0.98), p.at(0.99))
	}
	r := plight{"a", "", atMost(100)}.row(map[string]map[string]probed{nameRelay: {"a": {latencies: make([]time.Duration, 999), missing: 1}}})
	if r.judge() != fellShort {
		t.Errorf("one of 1,000 did not arrive, and the goal is %s", r.judge())
	}
}
