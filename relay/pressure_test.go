package relay

import (
	"errors"
	"log/slog"
	"runtime"
	"testing"
)

func TestPressure(t *testing.T) {
	var free, used uint64
	var diskErr error
	paused := false
	p := &pressure{
		free:   func() (uint64, error) { return free, diskErr },
		memory: func() (uint64, uint64) { return used, 1200 },
		pause:  func(now bool) { paused = now },
		log:    slog.New(slog.DiscardHandler),
	}
	for _, step := range []struct {
		name       string
		free, used uint64
		diskErr    error
		low, short bool
	}{
		{"plenty", diskReserve, 100, nil, false, false},
		{"below the reserve", diskReserve - 1, 100, nil, true, false},
		{"free space unknown", 0, 100, errors.New("no such device"), false, false},
		{"almost short", diskReserve, 899, nil, false, false},
		{"short", diskReserve, 900, nil, false, true},
		{"still short", diskReserve, 800, nil, false, true},
		{"both", 0, 800, nil, true, true},
		{"recovered", diskReserve, 799, nil, false, false},
		{"not short again at once", diskReserve, 800, nil, false, false},
	} {
		free, used, diskErr = step.free, step.used, step.diskErr
		if p.check(); p.lowDisk.Load() != step.low || paused != step.short {
			t.Errorf("%s: low disk %v, paused %v; want %v, %v", step.name, p.lowDisk.Load(), paused, step.low, step.short)
		}
	}
}

func TestMemoryInUse(t *testing.T) {
	held := make([]byte, 64<<20)
	runtime.GC()
	used, limit := memoryInUse()
	if used < uint64(len(held)) || used > 1<<30 || limit <= used {
		t.Errorf("%d octets of %d in use, with %d held", used, limit, len(held))
	}
	runtime.KeepAlive(held)
}
