package main

import "testing"

func TestCollectPercent(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{
		{0, 500}, {1 << 20, 500}, {5 << 20, 500}, {6 << 20, 400}, {8 << 20, 300}, {12 << 20, 100}, {16 << 20, 100},
		{40 << 20, 100}, {63 << 20, 100}, {64 << 20, 50}, {1 << 40, 50},
	} {
		if got := collectPercent(c.live); got != c.want {
			t.Errorf("%d MiB in use: %d, want %d", c.live>>20, got, c.want)
		}
		if goal := c.live * uint64(100+collectPercent(c.live)) / 100; goal > max(2*c.live, heapGoal) {
			t.Errorf("%d MiB in use may grow to %d MiB", c.live>>20, goal>>20)
		}
	}
}
