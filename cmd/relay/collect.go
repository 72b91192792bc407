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
	// A heap in use from largeHeap on may grow by largePercent before it is collected: what is in use then are the spool's
	// blocks and memtables, which hold no pointers and cost a collection nothing.
	largeHeap    = 64 << 20
	largePercent = 50
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

// collectPercent is the GOGC for a heap of which so many octets are in use: one of few, so that it seldom changes.
func collectPercent(live uint64) int {
	switch {
	case live == 0:
		return mostPercent
	case live >= largeHeap:
		return largePercent
	}
	return min(max(defaultPercent, int(heapGoal/live-1)*100), mostPercent)
}
