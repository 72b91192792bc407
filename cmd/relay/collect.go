package main

import (
	"context"
	"os"
	runtimedebug "runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// heapGoal is how large the heap may grow before it is collected, however little of it is in use. The runtime's own
	// rule, twice what is in use, has it collect a relay's 6 MB ten times a second, for an eighth of all its processor
	// time.
	heapGoal = 32 << 20
	// defaultPercent is the runtime's own GOGC, and mostPercent what a nearly empty heap gets.
	defaultPercent = 100
	mostPercent    = 500
)

// spaceCollections keeps the garbage collector from running for small heaps, until ctx is done. It leaves alone what
// the environment sets by GOGC, and GOMEMLIMIT binds as ever.
func spaceCollections(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for percent := defaultPercent; ; {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		if want := collectPercent(live[0].Value.Uint64()); want != percent {
			percent = want
			runtimedebug.SetGCPercent(percent)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// collectPercent is the GOGC for a heap of which so many octets are in use: a multiple of 100, so that it seldom changes.
func collectPercent(live uint64) int {
	if live == 0 {
		return mostPercent
	}
	return min(max(defaultPercent, int(heapGoal/live-1)*100), mostPercent)
}
