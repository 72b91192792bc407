package spool

import (
	"fmt"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// beforeWrites calls a function with the number of each operation that writes, before it.
type beforeWrites struct {
	f func(n int) error

	mu sync.Mutex
	n  int
}

func (*beforeWrites) String() string { return "before writes" }

// MaybeError implements errorfs.Injector.
func (b *beforeWrites) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n++
	return b.f(b.n)
}

// opens checks that a spool can be opened and is what it was.
func (l *library) opens(t *testing.T, at string, fs vfs.FS) {
	t.Helper()
	s, err := Open("spool", small(fs))
	if err != nil {
		t.Errorf("%s: %v", at, err)
		return
	}
	defer s.Close()
	if got, err := dump(s); err != nil || got != l.dump {
		t.Errorf("%s: changed: %v", at, err)
	}
}

// TestOpeningIsBrokenOff: the machine may crash at any moment while a spool is opened after a crash. Opened again, all is
// there: it is never taken for damaged.
func TestOpeningIsBrokenOff(t *testing.T) {
	l := newLibrary(t, false, 0)
	mem := crashable{l.fs.CrashClone(vfs.CrashCloneCfg{}), new(sync.Mutex)}
	rng := newRand()
	crashes := map[string]*vfs.MemFS{}
	l.opens(t, "undisturbed", errorfs.Wrap(mem, &beforeWrites{f: func(n int) error {
		for _, percent := range []int{0, 50, 100} {
			crashes[fmt.Sprintf("crash before write %d, %d %% of what was not synced", n, percent)] =
				mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
		}
		return nil
	}}))
	if len(crashes) < 100 {
		t.Errorf("only %d crashes: the test would prove nothing", len(crashes))
	}
	for at, fs := range crashes {
		l.opens(t, at, fs)
	}
}

// TestADiskThatOnlyFailsEndsTheOpening: pebble tries a flush again without end, and Open waits for it.
func TestADiskThatOnlyFailsEndsTheOpening(t *testing.T) {
	ended := 0
	o := Options{FS: vfs.NewMem(), Fatal: func(error) { ended++ }}.withDefaults()
	g := &guarded{name: "000007.sst", kind: tableFile, disk: disk{FS: o.FS, l: newLogger(o)}}
	for n := 1; n <= maxFailures; n++ {
		if err := g.check("write", syscall.ENOSPC); !diskFull(err) || ended != n/maxFailures {
			t.Fatalf("failure %d: %v, ended %d times", n, err, ended)
		}
	}
}
