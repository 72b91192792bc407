package main

import (
	"os"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	got, err := parseStat("4711 (a (b) c) S 42 4711 4711 0 -1 4194560 100 0 0 0 150 50 7 3 20 0 1 0 12345 1000 10 184467")
	if want := (stat{parent: 42, own: 2 * time.Second, children: 100 * time.Millisecond}); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for _, line := range []string{"", "4711 (a) S 42", "4711 (a) S x 1 1 0 -1 1 1 0 0 0 150 50 7 3 20 0 1 0 1 1 1 1"} {
		if _, err := parseStat(line); err == nil {
			t.Errorf("%q has been read", line)
		}
	}
}

func TestUsageOfOurselves(t *testing.T) {
	u, err := usageOf(os.Getpid())
	if err != nil || u.RSS == 0 || u.PSS == 0 || u.Peak < u.RSS/2 {
		t.Errorf("%+v, %v", u, err)
	}
	if _, err := usageOf(1 << 30); err == nil {
		t.Error("a process that is not there has been measured")
	}
}
