package spool

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// EventKind is a kind of trouble with the disk.
type EventKind string

const (
	// DiskSlow: a write or sync takes seconds.
	DiskSlow EventKind = "DiskSlow"
	// RecordDamaged: a record of ours does not match its checksum; it is kept aside, and the others flow.
	RecordDamaged EventKind = "RecordDamaged"
	// DataCorruption: a block of the store does not match its checksum.
	DataCorruption EventKind = "DataCorruption"
	// BackgroundError: the store could not flush or compact, and tries again.
	BackgroundError EventKind = "BackgroundError"
	// WriteStall: writes wait until memtables are flushed or the top level is compacted.
	WriteStall EventKind = "WriteStall"
)

// Event is trouble with the disk.
type Event struct {
	Kind   EventKind
	Detail string
}

// logger is where pebble reports to. Its Fatalf ends the process: a write whose sync failed may be on disk or not,
// and trying again would report a success that is none.
type logger struct {
	out     *slog.Logger
	fatal   func(error)
	onEvent func(Event)
	failed  atomic.Bool
	// failures of the disk while the store is opened.
	failures atomic.Int64
	// serving says that Open has come to its end: before, an error is returned by it.
	serving atomic.Bool
}

func newLogger(o Options) *logger {
	l := &logger{out: o.Logger, fatal: o.Fatal, onEvent: o.OnEvent}
	if l.onEvent == nil {
		l.onEvent = func(Event) {}
	}
	return l
}

// Infof takes what the store does in its daily work.
func (l *logger) Infof(format string, args ...any) {
	l.out.Debug("spool", "detail", fmt.Sprintf(format, args...))
}

// Errorf takes what went wrong and is tried again.
func (l *logger) Errorf(format string, args ...any) {
	l.out.Warn("spool", "detail", fmt.Sprintf(format, args...))
}

// Fatalf takes what must not be survived.
func (l *logger) Fatalf(format string, args ...any) {
	l.failed.Store(true)
	err := fmt.Errorf(format, args...)
	told := make(chan struct{})
	go func() {
		defer close(told)
		l.out.Error("the spool cannot write: the process ends, nothing is acknowledged", "error", err)
	}()
	select {
	case <-told:
	case <-time.After(lastWords):
	}
	l.fatal(err)
}

// lastWords is how long the report of the end may take: on a node that is lost nobody may read the log any more, and who
// gets the spool waits for no more than twice fenceEvery.
const lastWords = time.Second / 2

// markFailed is told that the mark could not be written. A full disk passes; the mark is then older for a while.
func (l *logger) markFailed(err error) {
	if diskFull(err) {
		l.event(BackgroundError, err.Error())
		return
	}
	l.Fatalf("%w", err)
}

func (l *logger) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) { l.event(BackgroundError, err.Error()) },
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			l.event(DataCorruption, fmt.Sprintf("%s: %v", i.Path, i.Details))
		},
		DiskSlow:        func(i pebble.DiskSlowInfo) { l.event(DiskSlow, i.String()) },
		WriteStallBegin: func(i pebble.WriteStallBeginInfo) { l.event(WriteStall, i.Reason) },
	}
}

func (l *logger) event(kind EventKind, detail string) {
	l.out.Warn("spool: trouble with the disk", "kind", string(kind), "detail", detail)
	l.onEvent(Event{Kind: kind, Detail: detail})
}
