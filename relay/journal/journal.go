// Package journal owns a bounded history of what happened to mail: events as JSON lines in a ring of files. It is for
// people who ask what became of a message. The truth about mail is in the spool; so nothing here is synced, a crash
// may take the last second with it, and what cannot be written is dropped and counted. It never makes mail wait.
package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postrider/postrider/relay/event"
)

// Options for New.
type Options struct {
	// Dir holds the files; it is made when the first is written.
	Dir string
	// FileBytes is the size at which a file is succeeded by the next, in octets; 16 MiB when 0.
	FileBytes int64
	// Files is how many are kept, the one being written included; 4 when 0.
	Files int
	// Log is told when the journal cannot be written, and when it can again; slog.Default() when nil.
	Log *slog.Logger
}

const (
	// flushEvery is how long an event may be in memory alone.
	flushEvery = time.Second
	// flushAt is how much may be, in octets, before the owner is asked to hurry.
	flushAt = 256 << 10
	// maxPending is how much there may be at all.
	maxPending = 2 << 20
)

// Journal is written by Record and Run and read by Find. Its methods are safe for concurrent use.
type Journal struct {
	o       Options
	hurry   chan struct{}
	dropped atomic.Int64

	mu      sync.Mutex
	pending bytes.Buffer // lines not yet in a file
	encoder *json.Encoder
	lines   int64 // in pending

	// write is held while files are written, before mu.
	write sync.Mutex
	spare bytes.Buffer // pending's next buffer
	file  *os.File
	size  int64
	// failing says that the last write failed, and that the log knows.
	failing bool
}

// New makes a journal. It touches nothing on disk.
func New(o Options) *Journal {
	if o.FileBytes == 0 {
		o.FileBytes = 16 << 20
	}
	if o.Files == 0 {
		o.Files = 4
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	j := &Journal{o: o, hurry: make(chan struct{}, 1)}
	j.encoder = json.NewEncoder(&j.pending)
	j.encoder.SetEscapeHTML(false)
	return j
}

// Record takes an event, or drops it when too much is pending. It never waits for the disk.
func (j *Journal) Record(e event.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.pending.Len() >= maxPending || j.encoder.Encode(&e) != nil {
		j.dropped.Add(1)
		return
	}
	j.lines++
	if j.pending.Len() >= flushAt {
		select {
		case j.hurry <- struct{}{}:
		default: // it was told
		}
	}
}

// Dropped is how many events were not written.
func (j *Journal) Dropped() int64 { return j.dropped.Load() }

// Run writes what Record took, each second and when ctx is done; then it closes the file. It is to outlive all who
// record.
func (j *Journal) Run(ctx context.Context) {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			j.flush()
		case <-j.hurry:
			j.flush()
		}
	}
	j.flush()
	j.write.Lock()
	defer j.write.Unlock()
	if j.file != nil {
		_ = j.file.Close() // nothing depends on what it held
		j.file = nil
	}
}

// flush writes what is pending.
func (j *Journal) flush() {
	j.write.Lock()
	defer j.write.Unlock()
	lines := j.swap()
	if lines == 0 {
		return
	}
	err := j.append(j.spare.Bytes())
	if err != nil {
		j.dropped.Add(lines)
	}
	if failing := err != nil; failing != j.failing {
		j.failing = failing
		if failing {
			j.o.Log.Warn("the journal cannot be written; trace will lack what happens now, mail is not affected", "error", err)
		} else {
			j.o.Log.Info("the journal is written again", "dropped", j.Dropped())
		}
	}
}

// swap takes what is pending into spare, and says how many lines that is.
func (j *Journal) swap() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	lines := j.lines
	j.lines = 0
	j.spare.Reset()
	_, _ = j.spare.Write(j.pending.Bytes()) // a Buffer's Write does not fail
	j.pending.Reset()
	return lines
}

// append writes lines to the newest file, or to the next one when it is full.
func (j *Journal) append(lines []byte) error {
	if j.file != nil && j.size+int64(len(lines)) > j.o.FileBytes {
		_ = j.file.Close() // nothing depends on what it held
		j.file = nil
		if err := j.succeed(); err != nil {
			return err
		}
	}
	if j.file == nil {
		if err := j.open(); err != nil {
			return err
		}
	}
	n, err := j.file.Write(lines)
	if err != nil {
		// Half a line would spoil the next one.
		return errors.Join(fmt.Errorf("write the journal: %w", err), j.file.Truncate(j.size))
	}
	j.size += int64(n)
	return nil
}

// open goes on with the newest file, or makes the first. What a crash left of a last line is ended.
func (j *Journal) open() error {
	names, err := j.files()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return j.create(1)
	}
	f, err := os.OpenFile(names[len(names)-1], os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the journal: %w", err)
	}
	j.file = f
	return j.endLine()
}

// endLine takes up the size of the file, and ends a line that was cut short.
func (j *Journal) endLine() error {
	info, err := j.file.Stat()
	if err != nil {
		return fmt.Errorf("open the journal: %w", err)
	}
	j.size = info.Size()
	last := []byte{'\n'}
	if j.size > 0 {
		if _, err := j.file.ReadAt(last, j.size-1); err != nil {
			return fmt.Errorf("open the journal: %w", err)
		}
	}
	if last[0] == '\n' {
		return nil
	}
	n, err := j.file.Write([]byte{'\n'})
	j.size += int64(n)
	return err
}

// succeed makes room in the ring and begins the next file.
func (j *Journal) succeed() error {
	names, err := j.files()
	if err != nil {
		return err
	}
	for len(names) >= j.o.Files {
		if err := os.Remove(names[0]); err != nil {
			return fmt.Errorf("drop the oldest of the journal: %w", err)
		}
		names = names[1:]
	}
	next := 1
	if len(names) > 0 {
		next = number(names[len(names)-1]) + 1
	}
	return j.create(next)
}

func (j *Journal) create(n int) error {
	if err := os.MkdirAll(j.o.Dir, 0o700); err != nil {
		return fmt.Errorf("make the journal's directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(j.o.Dir, fmt.Sprintf(pattern, n)), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the journal: %w", err)
	}
	j.file = f
	return j.endLine()
}

// pattern is the name of a file. Names sort by number.
const pattern = "%012d.jsonl"

func number(path string) int {
	var n int
	_, _ = fmt.Sscanf(filepath.Base(path), pattern, &n) // 0 when it is no number
	return n
}

// files are the paths of all files, the oldest first.
func (j *Journal) files() ([]string, error) {
	entries, err := os.ReadDir(j.o.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the journal: %w", err)
	}
	var paths []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".jsonl") && number(e.Name()) > 0 {
			paths = append(paths, filepath.Join(j.o.Dir, e.Name()))
		}
	}
	slices.Sort(paths)
	return paths, nil
}
