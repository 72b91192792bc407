package spool

import (
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// fullDisk is a disk on which no table can be written.
type fullDisk struct {
	is     atomic.Bool
	failed chan struct{}
}

// MaybeError implements errorfs.Injector.
func (f *fullDisk) MaybeError(op errorfs.Op) error {
	if !f.is.Load() || op.Kind.ReadOrWrite() == errorfs.OpIsRead || !strings.HasSuffix(op.Path, ".sst") {
		return nil
	}
	select {
	case f.failed <- struct{}{}:
	default:
	}
	return syscall.ENOSPC
}

func (f *fullDisk) String() string { return "full" }

// TestFullDiskIsSurvived: while no table can be written, mail is taken until the memtables are full, and then waits. When
// there is space again all of it goes on by itself; and a Close that comes before that returns.
func TestFullDiskIsSurvived(t *testing.T) {
	for _, freed := range []bool{true, false} {
		f := &fullDisk{failed: make(chan struct{}, 1)}
		o := small(errorfs.Wrap(vfs.NewMem(), f))
		o.pause = time.Millisecond
		if !freed {
			o.patience = 50 * time.Millisecond
		}
		s := open(t, o)
		f.is.Store(true)
		const messages = 60
		done, progress := make(chan error, 1), make(chan struct{}, messages)
		go func() {
			var err error
			for i := 0; i < messages && err == nil; i++ {
				_, err = accept(s, 60<<10, to(fmt.Sprintf("u%d@one.test", i)))
				progress <- struct{}{}
			}
			done <- err
		}()
		<-f.failed
		for stalled := false; !stalled; {
			select {
			case <-progress:
			case err := <-done:
				t.Fatalf("nothing waits: the test proves nothing: %v", err)
			case <-time.After(500 * time.Millisecond):
				stalled = true
			}
		}
		if !freed {
			if err := s.Close(); err == nil || !strings.Contains(err.Error(), "still wait") {
				t.Errorf("closed: %v", err)
			}
		}
		f.is.Store(false)
		select {
		case err := <-done:
			if err != nil && freed {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("there is space again, and mail still waits")
		}
		if freed {
			if l := s.Ledger(); l.Queued != messages {
				t.Errorf("%+v", l)
			}
			must(t, s.Close())
		}
	}
}
