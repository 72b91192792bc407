package spool

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrFenced says that the spool belongs to another process, on another machine: one that was given a higher token, or
// the one that opened it last.
var ErrFenced = errors.New("fenced off")

// fenceFile says who may write to the spool. The lock of the directory keeps two processes of one machine apart; on
// storage that several machines share it may not, or not across a partition. So whoever opens the spool puts its own
// name into this file, and looks at it again before it writes: see fence.hold.
const fenceFile = "FENCE"

// fenceEvery is how old the last look at the file may be when something is written.
const fenceEvery = time.Second

// fenceMark is what stands in the file.
type fenceMark struct {
	// Token is the highest that anybody was given who opened the spool. It never falls.
	Token int64 `json:"token"`
	// Opener is a name that each Open makes for itself; Holder is the Options.Holder of the process.
	Opener string `json:"opener"`
	Holder string `json:"holder"`
	// Past are the holders before, the newest first: none of them gets the spool back, whatever its token.
	Past []string `json:"past,omitempty"`
	// Released says that the opener has closed the spool.
	Released bool `json:"released,omitempty"`
}

// maxPast is how many of them are remembered.
const maxPast = 32

// next is the mark of a process that may open the spool, given the one that is there.
func (m fenceMark) next(token int64, holder string) (fenceMark, error) {
	switch {
	case m.Token > token:
		return m, fmt.Errorf("it was opened with token %d, this process has %d: %w", m.Token, token, ErrFenced)
	case slices.Contains(m.Past, holder):
		return m, fmt.Errorf("%q has opened it since %q did, which is this process: %w", m.Holder, holder, ErrFenced)
	}
	past := m.Past
	if m.Holder != "" && m.Holder != holder {
		past = append([]string{m.Holder}, past...)
	}
	return fenceMark{Token: token, Opener: rand.Text(), Holder: holder, Past: past[:min(len(past), maxPast)]}, nil
}

// fence is the claim of this process to the spool. The nil fence lets everything pass.
type fence struct {
	fs    vfs.FS
	dir   string
	every time.Duration
	// mu is held while the file is read or written.
	mu   sync.Mutex
	mine fenceMark
	// seen is when the file was last seen to be ours.
	seen atomic.Pointer[time.Time]
}

// takeFence makes the spool ours, unless a higher token than ours was there before, or another holder after us. One that
// another holder did not close may still be open elsewhere: that one is given the time to see that it is over.
func takeFence(o Options, dir string) (*fence, error) {
	if o.Holder == "" {
		return nil, nil
	}
	f := &fence{fs: o.FS, dir: dir, every: o.fenceEvery}
	was, err := readFence(o.FS, dir)
	if err != nil {
		return nil, err
	}
	is, err := was.next(o.Token, o.Holder)
	if err != nil {
		return nil, fmt.Errorf("the spool in %s is another's: %w. Nothing was touched", dir, err)
	}
	began := time.Now()
	if err := f.write(is); err != nil {
		return nil, err
	}
	f.seen.Store(&began)
	if was.Opener != "" && !was.Released && was.Holder != o.Holder {
		o.Logger.Info("the spool was not closed by who had it: waiting until that one must have noticed", "holder", was.Holder)
		time.Sleep(2 * o.fenceEvery)
	}
	return f, f.hold()
}

// outranks says that a process has a higher token than whoever has the spool.
func outranks(o Options, dir string) bool {
	if o.Holder == "" {
		return false
	}
	was, err := readFence(o.FS, dir)
	return err == nil && was.Opener != "" && o.Token > was.Token
}

// readFence is the zero mark where there is no file.
func readFence(fs vfs.FS, dir string) (m fenceMark, err error) {
	path := fs.PathJoin(dir, fenceFile)
	text, err := readAll(fs, path)
	if errors.Is(err, os.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, fmt.Errorf("read who has the spool: %w", err)
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil || m.Opener == "" {
		return m, fmt.Errorf("%s does not say who has the spool: %w. Remove it when no other process has", path, ErrFenced)
	}
	return m, nil
}

// write puts a mark on stable storage. mu is held, or nobody else knows f.
func (f *fence) write(m fenceMark) error {
	text, err := json.Marshal(m)
	if err == nil {
		err = replaceFile(f.fs, f.dir, fenceFile, string(text)+"\n")
	}
	if err != nil {
		return fmt.Errorf("write who has the spool: %w", err)
	}
	f.mine = m
	return nil
}

// hold says whether the spool is still ours. It reads the file when the last look is older than fenceEvery, by either
// clock: that which stands still while a machine sleeps, and that which may be set. An error that is not ErrFenced means
// that it is not known.
func (f *fence) hold() error {
	if f == nil || f.fresh(time.Now()) {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if f.fresh(now) || f.mine.Released { // somebody else has looked meanwhile, or nothing is written any more
		return nil
	}
	err := f.look()
	if err == nil {
		f.seen.Store(&now)
	}
	return err
}

// look reads whether the spool is still ours. mu is held.
func (f *fence) look() error {
	is, err := readFence(f.fs, f.dir)
	if err == nil && is.Opener != f.mine.Opener {
		err = fmt.Errorf("the spool in %s was opened by %q, with token %d; ours is %d: %w", f.dir, is.Holder, is.Token, f.mine.Token, ErrFenced)
	}
	return err
}

func (f *fence) fresh(now time.Time) bool {
	seen := *f.seen.Load()
	wall := now.Round(0).Sub(seen.Round(0))
	return now.Sub(seen) < f.every && wall < f.every && wall > -f.every
}

// release notes that the spool is closed, so that who opens it next need not wait. What another has written stays, however
// lately that was.
func (f *fence) release() error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.look(); err != nil {
		return err
	}
	m := f.mine
	m.Released = true
	return f.write(m)
}

// Hold says whether the spool is still ours. It ends the process when it is not: what was written after that would
// come between the writes of another. Whoever has the spool open calls it once in a while, so that a process at rest
// notices, too; every write does by itself.
func (s *Store) Hold() error {
	err := s.fence.hold()
	if errors.Is(err, ErrFenced) {
		s.Abandon(err)
	}
	return err
}

// Abandon ends the process at once, with nothing more written, because the spool is another's.
func (s *Store) Abandon(why error) { s.logger.Fatalf("%w", why) }

// Raise stores a higher token while the spool is open; a lower or equal one changes nothing.
func (s *Store) Raise(token int64) error {
	if s.fence == nil {
		return nil
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := s.Hold(); err != nil {
		return err
	}
	f := s.fence
	f.mu.Lock()
	defer f.mu.Unlock()
	if token <= f.mine.Token {
		return nil
	}
	m := f.mine
	m.Token = token
	return f.write(m)
}
