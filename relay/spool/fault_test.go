package spool

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/postrider/postrider/relay/envelope"
)

// breaker fails the n-th write of the disk that comes after it is armed and those that follow, as many as lasts says.
type breaker struct {
	armed atomic.Bool
	left  atomic.Int64
	lasts int64
	err   error
}

func (b *breaker) MaybeError(op errorfs.Op) error {
	if !b.armed.Load() || op.Kind.ReadOrWrite() == errorfs.OpIsRead {
		return nil
	}
	if left := b.left.Add(-1); left >= 0 || left < -b.lasts {
		return nil
	}
	return b.err
}

func (b *breaker) String() string { return "breaker" }

func TestFailingDiskIsNeverAcknowledged(t *testing.T) {
	for _, err := range []error{syscall.EIO, syscall.ENOSPC} {
		for name, size := range map[string]int{"small": 4000, "large": 400 << 10} {
			broke := 0
			for n := range 60 {
				if !fails(t, err, size, n) {
					broke++
				}
			}
			t.Logf("%v, %s: %d operations failed", err, name, broke)
			if broke < 2 || broke > 50 {
				t.Errorf("%v, %s: %d of the first 60 operations failed", err, name, broke)
			}
		}
	}
}

// fails accepts a message on a disk that breaks at its n-th write for a while, and looks at what is left. It reports
// that the message was accepted nevertheless.
func fails(t *testing.T, cause error, size, n int) (accepted bool) {
	t.Helper()
	mem := newCrashable()
	b := &breaker{err: cause, lasts: 3}
	b.left.Store(int64(n))
	dead := make(chan struct{})
	var once sync.Once
	o := small(errorfs.Wrap(mem, b))
	o.pause = time.Microsecond
	o.Fatal = func(error) { once.Do(func() { close(dead) }); select {} }
	s := open(t, o)
	if _, err := accept(s, 100, to("before@one.test")); err != nil {
		t.Fatal(err)
	}
	b.armed.Store(true)
	result := make(chan error, 1)
	go func() {
		_, err := accept(s, size, to("u@one.test"), to("v@two.test"))
		result <- err
	}()
	select {
	case err := <-result:
		// The process may be ending in another goroutine.
		if accepted = err == nil; !accepted && !errors.Is(err, ErrFailed) {
			t.Errorf("an error, not the end of the process: %v", err)
		}
	case <-dead: // its goroutines stand still from here on
	}
	for _, percent := range []int{0, 100} {
		left(t, fmt.Sprintf("%v at write %d of a message of %d", cause, n, size), mem.CrashClone(vfs.CrashCloneCfg{
			UnsyncedDataPercent: percent, RNG: newRand(),
		}), accepted)
	}
	return accepted
}

// left opens what a dead process left: all that was acknowledged, nothing by halves.
func left(t *testing.T, what string, fs *vfs.MemFS, acked bool) {
	t.Helper()
	s := open(t, small(fs))
	defer s.Close()
	if err := s.Check(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	l := s.Ledger()
	if l.Queued != 1 && l.Queued != 3 || acked && l.Queued != 3 {
		t.Fatalf("%s: acknowledged %v, ledger %+v", what, acked, l)
	}
}

func TestFatalThatReturnsStillAcknowledgesNothing(t *testing.T) {
	b := &breaker{err: syscall.EIO, lasts: 100}
	o := small(errorfs.Wrap(vfs.NewMem(), b))
	reported := make(chan error, 100)
	o.Fatal = func(err error) { reported <- err }
	s := open(t, o)
	b.armed.Store(true)
	result := make(chan error, 1)
	go func() {
		_, err := accept(s, 100, to("u@one.test"))
		result <- err
	}()
	select {
	case err := <-result:
		if !errors.Is(err, ErrFailed) {
			t.Errorf("answered %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("no answer")
	}
	if err := <-reported; !strings.Contains(err.Error(), syscall.EIO.Error()) {
		t.Errorf("reported %v", err)
	}
	if _, err := accept(s, 100, to("v@one.test")); !errors.Is(err, ErrFailed) {
		t.Errorf("the next one was answered %v", err)
	}
	if _, err := s.Begin(envelope.Key{ID: "I", Domain: "one.test"}, epoch); err == nil {
		t.Error("an attempt began")
	}
}
