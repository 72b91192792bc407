package spool

import (
	"fmt"
	"path"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// clumsy is a disk on which a spool is opened while something goes wrong before an operation.
type clumsy struct {
	mem  crashable
	logs []string
	// before is called with the number of each operation that writes.
	before func(n int)

	mu sync.Mutex
	n  int
}

func (c *clumsy) String() string { return "clumsy" }

// MaybeError implements errorfs.Injector. What follows the replay of the logs waits until those are removed: that is done
// in another goroutine, which a crash may find anywhere.
func (c *clumsy) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
		return nil
	}
	if kind, _ := parseFile(path.Base(op.Path)); kind == logFile && op.Kind == errorfs.OpCreate {
		for patience := time.Now().Add(10 * time.Second); c.logsThere() && time.Now().Before(patience); {
			time.Sleep(time.Millisecond)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	c.before(c.n)
	return nil
}

func (c *clumsy) logsThere() bool {
	for _, name := range c.logs {
		if _, err := c.mem.Stat("spool/" + name); err == nil {
			return true
		}
	}
	return false
}

// TestOpeningIsBrokenOff: the machine may crash at any moment while a spool is opened after a crash. Opened again, all is
// there: it is never taken for damaged.
func TestOpeningIsBrokenOff(t *testing.T) {
	l := newLibrary(t, false, 0)
	opened := func(at string, fs vfs.FS) {
		t.Helper()
		s, err := Open("spool", small(fs))
		if err != nil {
			t.Fatalf("%s: %v", at, err)
		}
		defer s.Close()
		if got, err := dump(s); err != nil || got != l.dump {
			t.Fatalf("%s: changed: %v", at, err)
		}
	}
	c := &clumsy{mem: crashable{l.fs.CrashClone(vfs.CrashCloneCfg{}), new(sync.Mutex)}, logs: l.files(t)[".log"]}
	rng := newRand()
	crashes := map[string]*vfs.MemFS{}
	c.before = func(n int) {
		for _, percent := range []int{0, 50, 100} {
			crashes[fmt.Sprintf("crash before write %d, %d %% of what was not synced", n, percent)] =
				c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
		}
	}
	opened("undisturbed", errorfs.Wrap(c.mem, c))
	for at, fs := range crashes {
		opened(at, fs)
	}
	if len(crashes) < 30 {
		t.Errorf("only %d crashes: the test would prove nothing", len(crashes))
	}
}
