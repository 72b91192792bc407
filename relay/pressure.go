package relay

import (
	"context"
	"log/slog"
	"math"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"sync/atomic"
	"time"
)

// diskReserve is how many free octets the spool's file system keeps for finishing what was accepted: deliveries
// write too. Below it new mail is answered 452 4.3.1.
const diskReserve = 256 << 20

// pressure watches what a relay may run out of. Above a mark new work is refused for the time being; what was
// accepted goes on, and makes room.
type pressure struct {
	// free is how much of the disk is left for the spool.
	free func() (uint64, error)
	// memory is what is in use, and what may be.
	memory func() (used, limit uint64)
	// pause tells the listeners to take no new connections.
	pause func(bool)
	log   *slog.Logger

	lowDisk atomic.Bool
	short   bool // of memory
}

// check looks once.
func (p *pressure) check() {
	free, err := p.free()
	p.lowDisk.Store(err == nil && free < diskReserve)
	used, limit := p.memory()
	if short := shortOf(used, limit, p.short); short != p.short {
		p.short = short
		p.pause(short)
		p.log.Warn("memory", "short", short, "used", used, "limit", limit)
	}
}

// shortOf says whether memory is short: from three quarters of the limit on, until it is below two thirds again.
func shortOf(used, limit uint64, was bool) bool {
	if was {
		return used >= limit/3*2
	}
	return used >= limit/4*3
}

func (p *pressure) watch(ctx context.Context) {
	ticker := time.NewTicker(time.Second / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			p.check()
		}
	}
}

// memoryInUse is what the last collection left and the stacks, and the limit: GOMEMLIMIT, which the operator sets
// from the container's. Garbage does not count: nearing the limit, the runtime collects it.
func memoryInUse() (used, limit uint64) {
	samples := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	runtimemetrics.Read(samples)
	for _, s := range samples {
		used += s.Value.Uint64()
	}
	if limit := debug.SetMemoryLimit(-1); limit > 0 {
		return used, uint64(limit)
	}
	return used, math.MaxInt64
}
