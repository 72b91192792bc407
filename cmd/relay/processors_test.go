package main

import (
	"runtime"
	"testing"
)

func TestUseProcessors(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	t.Setenv("GOMAXPROCS", "1")
	useProcessors()
	if n := runtime.GOMAXPROCS(0); n != before {
		t.Errorf("%d, where the environment says how many", n)
	}
	t.Setenv("GOMAXPROCS", "")
	useProcessors()
	if n := runtime.GOMAXPROCS(0); n != processorsPerCore*before {
		t.Errorf("%d, want %d", n, processorsPerCore*before)
	}
}
