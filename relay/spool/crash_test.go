package spool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/postrider/postrider/relay/envelope"
)

var quiet = slog.New(slog.DiscardHandler)

// small is a store whose memtable is a few messages long, so that a short script rotates WALs, flushes and compacts, and
// fills segments.
func small(fs vfs.FS) Options {
	return Options{
		FS: fs, Logger: quiet, CacheBytes: 1 << 20, MemtableBytes: 256 << 10, VerifyTime: time.Hour, segmentBytes: 2 << 20,
	}
}

func open(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open("spool", o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func to(addresses ...string) envelope.Envelope {
	e := envelope.Envelope{ReversePath: "s@sender.test", Origin: envelope.Submitted}
	for _, a := range addresses {
		e.Domain = envelope.DomainOf(a)
		e.Recipients = append(e.Recipients, envelope.Recipient{Address: a, State: envelope.Queued, Due: epoch})
	}
	return e
}

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

// accept stores a message of size octets.
func accept(s *Store, size int, entries ...envelope.Envelope) ([]envelope.Envelope, error) {
	w := s.Create()
	defer w.Abort()
	if _, err := w.Write(octets(size)); err != nil {
		return nil, err
	}
	return w.Commit([]byte("Received: here\r\n"), entries)
}

// newRand is chance that is the same in every run.
func newRand() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// octets that do not compress, so that sizes on disk are what they seem.
func octets(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(b) // it never fails
	return b
}

// end brings recipients of an entry to a state, the others to a later attempt.
func end(s *Store, k envelope.Key, states map[string]envelope.Disposition, drafts ...Draft) error {
	_, _, err := s.Change(k, func(e *envelope.Envelope) ([]Draft, error) {
		for i := range e.Recipients {
			if d, ok := states[e.Recipients[i].Address]; ok {
				e.Recipients[i].State = d
			} else {
				e.Recipients[i].Due = epoch.Add(time.Hour)
			}
		}
		return drafts, nil
	})
	return err
}

// dump is all that a user of the store can see of it.
func dump(s *Store) (string, error) {
	var b bytes.Buffer
	entries, err := s.List(Filter{}, envelope.Key{}, 1<<20)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		text, _ := json.Marshal(e)
		fmt.Fprintf(&b, "%s %s\n", text, content(s, e.ID))
	}
	items, _, err := s.Due(envelope.Normal, Cursor{}, epoch.AddDate(100, 0, 0), 1<<20)
	for _, i := range items {
		fmt.Fprintln(&b, i.Due.UnixNano(), i.Key, i.SenderDomain)
	}
	fmt.Fprintf(&b, "%+v %+v %+v", s.Totals(), s.Ledger(), s.Destinations())
	return b.String(), errors.Join(err, s.Check())
}

func content(s *Store, id envelope.ID) string {
	m, err := s.Message(id)
	if err != nil {
		return err.Error()
	}
	defer m.Close()
	sum := crc32.NewIEEE()
	n, err := io.Copy(sum, m)
	return fmt.Sprint(n, sum.Sum32(), err)
}

// crash is what a crash at some operation of the disk would have left, and which states may be found in it.
type crash struct {
	fs        *vfs.MemFS
	at        string
	low, high int
}

// crashable is a memory file system that may be cloned while it is used. Link and ReuseForWrite of vfs.MemFS take its
// lock twice, and so hang when a clone begins in between.
type crashable struct {
	*vfs.MemFS
	mu *sync.Mutex
}

func newCrashable() crashable { return crashable{vfs.NewCrashableMem(), new(sync.Mutex)} }

func (c crashable) Link(from, to string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.MemFS.Link(from, to)
}

func (c crashable) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.MemFS.ReuseForWrite(from, to, category)
}

func (c crashable) CrashClone(cfg vfs.CrashCloneCfg) *vfs.MemFS {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.MemFS.CrashClone(cfg)
}

// lab runs a script on a store and crashes it before every operation of the disk.
type lab struct {
	t   *testing.T
	mem crashable
	s   *Store

	mu      sync.Mutex
	rng     *rand.Rand
	states  []string // as seen after each step
	synced  int      // the last state that a crash must not undo
	started int      // the step that runs
	crashes []crash
	checked int
}

func newLab(t *testing.T) *lab {
	l := &lab{t: t, mem: newCrashable(), rng: newRand()}
	l.s = open(t, small(errorfs.Wrap(l.mem, errorfs.InjectorFunc(l.before))))
	l.states = []string{l.dump()}
	return l
}

func (l *lab) dump() string {
	text, err := dump(l.s)
	if err != nil {
		l.t.Fatal(err)
	}
	return text
}

// before is called by whichever goroutine is about to use the disk.
func (l *lab) before(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, percent := range []int{0, 50, 100} {
		cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: l.rng}
		l.crashes = append(l.crashes, crash{
			fs: l.mem.CrashClone(cfg), low: l.synced, high: l.started,
			at: fmt.Sprintf("before %v of %s in step %d, %d %% of what was not synced", op.Kind, op.Path, l.started, percent),
		})
	}
	return nil
}

// step runs one call. durable says that its effect must survive when it returns nil.
func (l *lab) step(durable bool, f func() error) {
	l.t.Helper()
	l.mu.Lock()
	l.started++
	l.mu.Unlock()
	if err := f(); err != nil {
		l.t.Fatal(err)
	}
	l.mu.Lock()
	if durable {
		l.synced = l.started
	}
	l.mu.Unlock()
	l.states = append(l.states, l.dump())
	l.verify()
}

// verify opens what the crashes so far left: each must be a state that the store was really in.
func (l *lab) verify() {
	l.t.Helper()
	l.mu.Lock()
	crashes := l.crashes
	l.crashes = nil
	l.mu.Unlock()
	for _, c := range crashes {
		l.checked++
		l.survives(c)
	}
}

func (l *lab) survives(c crash) {
	l.t.Helper()
	if _, err := c.fs.Stat("spool"); err != nil && c.low == 0 {
		return // before the directory was made
	}
	s, err := Open("spool", small(c.fs))
	if err != nil {
		l.t.Fatalf("%s: %v", c.at, err)
	}
	defer s.Close()
	got, err := dump(s)
	if err != nil {
		l.t.Fatalf("%s: %v", c.at, err)
	}
	for _, state := range l.states[c.low : c.high+1] {
		if got == state {
			return
		}
	}
	l.t.Fatalf("%s: a state that never was:\n%s\nit was:\n%v", c.at, got, l.states[c.low:c.high+1])
}

func TestEveryCrashLeavesAStateThatWas(t *testing.T) {
	l := newLab(t)
	s := l.s
	take := func(size int, entries ...envelope.Envelope) (created []envelope.Envelope) {
		l.step(true, func() (err error) {
			created, err = accept(s, size, entries...)
			return err
		})
		return created
	}
	one := take(4000, to("u@one.test"))
	two := take(4000, to("a@two.test", "b@two.test"), to("c@three.test"))
	large := take(400<<10, to("x@one.test"), to("y@two.test"), to("z@three.test"))
	stays := take(130<<10, to("stays@one.test"))
	l.step(true, func() error { return s.db.Flush() })
	l.step(false, func() error { _, err := s.Begin(one[0].Key(), epoch); return err })
	l.step(true, func() error {
		return end(s, two[0].Key(), map[string]envelope.Disposition{"a@two.test": envelope.Delivered})
	})
	dsn := Draft{Content: octets(3000), Entries: []envelope.Envelope{to("s@sender.test")}}
	l.step(true, func() error {
		return end(s, two[1].Key(), map[string]envelope.Disposition{"c@three.test": envelope.Failed}, dsn)
	})
	l.step(true, func() error { return hold(s, large[1].Key(), "spam?") })
	l.step(false, func() error {
		return s.Postpone([]envelope.Key{large[2].Key()}, func() time.Time { return epoch.Add(time.Minute) })
	})
	l.step(true, func() error { return hold(s, large[1].Key(), "") })
	l.step(true, func() error { return abandon(s, 300<<10) })
	for i, d := range []envelope.Disposition{envelope.Delivered, envelope.Removed, envelope.Suppressed} {
		l.step(true, func() error {
			return end(s, large[i].Key(), map[string]envelope.Disposition{large[i].Recipients[0].Address: d})
		})
	}
	tidied(t, s, stays[0].ID, func(tidy func() error) { l.step(true, tidy) })
	l.step(true, func() error {
		return end(s, stays[0].Key(), map[string]envelope.Disposition{"stays@one.test": envelope.Delivered})
	})
	tidied(t, s, "", func(tidy func() error) { l.step(true, tidy) })
	l.step(true, func() error { return s.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false) })
	many := append(take(4000, to("p@one.test"), to("q@two.test")), take(4000, to("r@two.test"), to("s@three.test"))...)
	l.step(true, func() error {
		_, err := s.ChangeMany([]envelope.Key{many[0].Key(), many[1].Key(), many[2].Key()}, remove)
		return err
	})
	take(4000, to("last@one.test"))
	t.Logf("%d crashes", l.checked)
}

func hold(s *Store, k envelope.Key, reason string) error {
	_, _, err := s.Change(k, func(e *envelope.Envelope) ([]Draft, error) {
		e.Held = reason
		return nil, nil
	})
	return err
}

// abandon begins a message and drops it.
func abandon(s *Store, size int) error {
	w := s.Create()
	_, err := w.Write(octets(size))
	w.Abort()
	return err
}
