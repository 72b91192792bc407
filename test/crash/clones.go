package crash

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"golang.org/x/sync/errgroup"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/spool"
)

// Clones takes n copies of what a crash of the machine would leave of a spool under load, each before some operation
// of the disk, with none, half or all of what was not synced, and audits each against what the spool had answered by
// then.
func Clones(n int, seed uint64) (Ledger, error) {
	var all Ledger
	for taken := 0; taken < n; seed++ {
		r := newCloning(min(n-taken, 25), seed)
		clones, err := r.run()
		if err != nil {
			return all, err
		}
		for _, c := range clones {
			l, err := c.audit()
			all.add(l)
			if err != nil {
				return all, err
			}
		}
		taken += len(clones)
	}
	return all, nil
}

// Stages of a recipient, as its owner knows them. They only grow.
const (
	offered  = iota + 1
	accepted // Commit returned nil
	ending   // Change was called
	ended    // Change returned nil
)

// fate is a recipient's stage and, from ending on, what it ends as.
type fate struct {
	stage int
	as    envelope.Disposition
}

// clone is a crash, and what was known just before and just after it.
type clone struct {
	fs            *vfs.MemFS
	before, after map[string]fate
}

// cloning is a spool under load that is cloned.
type cloning struct {
	mem  cloneable
	seed uint64

	mu     sync.Mutex
	dice   *rand.Rand
	want   int
	clones []clone

	// tidying is held by the one goroutine that calls Tidy.
	tidying sync.Mutex

	fates struct {
		sync.Mutex
		of map[string]fate
	}
}

func newCloning(want int, seed uint64) *cloning {
	c := &cloning{mem: cloneable{vfs.NewCrashableMem(), new(sync.Mutex)}, seed: seed, want: want, dice: rand.New(rand.NewPCG(seed, 1))}
	c.fates.of = map[string]fate{}
	return c
}

// small is a spool whose memtable holds a few messages, so that logs rotate and tables are written and merged, and whose
// clock hastens, so that segments are rewritten as soon as little of them is live.
func small(fs vfs.FS) spool.Options {
	began := time.Now()
	hastens := func() time.Time { return began.Add(10_000 * time.Since(began)) }
	return spool.Options{FS: fs, Now: hastens, Logger: slog.New(slog.DiscardHandler), CacheBytes: 1 << 20, MemtableBytes: 256 << 10}
}

// run loads the spool until there are enough clones.
func (c *cloning) run() ([]clone, error) {
	s, err := spool.Open("spool", small(errorfs.Wrap(c.mem, errorfs.InjectorFunc(c.before))))
	if err != nil {
		return nil, err
	}
	var load errgroup.Group
	for g := range 8 {
		load.Go(func() error {
			dice := rand.New(rand.NewPCG(c.seed, uint64(g+2)))
			for i := 0; c.wanted(); i++ {
				if err := c.message(s, dice, fmt.Sprintf("%d.%d", g, i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return c.clones, errors.Join(load.Wait(), s.Close())
}

func (c *cloning) wanted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.clones) < c.want
}

// before is called by whichever goroutine is about to change the disk.
func (c *cloning) before(op errorfs.Op) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if op.Kind.ReadOrWrite() == errorfs.OpIsRead || len(c.clones) == c.want || c.dice.IntN(20) > 0 {
		return nil
	}
	before := c.known()
	fs := c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50 * c.dice.IntN(3), RNG: c.dice})
	c.clones = append(c.clones, clone{fs, before, c.known()})
	return nil
}

func (c *cloning) known() map[string]fate {
	c.fates.Lock()
	defer c.fates.Unlock()
	return maps.Clone(c.fates.of)
}

func (c *cloning) set(f fate, addresses ...string) {
	c.fates.Lock()
	defer c.fates.Unlock()
	for _, a := range addresses {
		c.fates.of[a] = f
	}
}

// message is one message's life, or a part of it: accepted, attempted, postponed, held, deleted, delivered, bounced.
func (c *cloning) message(s *spool.Store, dice *rand.Rand, name string) error {
	one, two := "a"+name+"@one.test", "b"+name+"@two.test"
	c.set(fate{stage: offered}, one, two)
	if dice.IntN(4) == 0 && c.tidying.TryLock() {
		err := s.Tidy(context.Background())
		c.tidying.Unlock()
		if err != nil {
			return err
		}
	}
	w := s.Create()
	defer w.Abort()
	body := strings.Repeat("a line of text\r\n", dice.IntN(12)*dice.IntN(12)*100)
	if _, err := w.Write([]byte(body)); err != nil {
		return err
	}
	created, err := w.Commit([]byte("Received: here\r\n"), []envelope.Envelope{entry(name, one), entry(name, two)})
	if err != nil {
		return err
	}
	c.set(fate{stage: accepted}, one, two)
	for _, e := range created {
		if err := c.work(s, dice, e.Key(), e.Recipients[0].Address); err != nil {
			return err
		}
	}
	return nil
}

func entry(name, to string) envelope.Envelope {
	return envelope.Envelope{
		ReversePath: "s" + name + "@sender.test", Origin: envelope.Submitted, Domain: envelope.DomainOf(to),
		Recipients: []envelope.Recipient{{Address: to, State: envelope.Queued, Due: time.Now()}},
	}
}

func (c *cloning) work(s *spool.Store, dice *rand.Rand, k envelope.Key, to string) error {
	later := func() time.Time { return time.Now().Add(time.Hour) }
	switch dice.IntN(6) {
	case 0:
		return s.Postpone([]envelope.Key{k}, later)
	case 1:
		_, _, err := s.Change(k, func(e *envelope.Envelope) ([]spool.Draft, error) { e.Held = "held"; return nil, nil })
		return err
	case 2:
		return c.end(s, k, to, envelope.Removed)
	}
	if _, err := s.Begin(k, time.Now()); err != nil {
		return err
	}
	return c.end(s, k, to, []envelope.Disposition{envelope.Delivered, envelope.Failed}[dice.IntN(2)])
}

// end brings a recipient to its end; a failure owes a DSN.
func (c *cloning) end(s *spool.Store, k envelope.Key, to string, as envelope.Disposition) error {
	c.set(fate{ending, as}, to)
	_, _, err := s.Change(k, func(e *envelope.Envelope) ([]spool.Draft, error) {
		e.Recipients[0].State = as
		if as != envelope.Failed {
			return nil, nil
		}
		dsn := entry("", "dsn+"+strings.ReplaceAll(to, "@", "=")+"@sender.test")
		return []spool.Draft{{Content: []byte("Subject: failure\r\n\r\n"), Entries: []envelope.Envelope{dsn}}}, nil
	})
	if err == nil {
		c.set(fate{ended, as}, to)
	}
	return err
}

// audit opens a clone: whoever was told "accepted" is queued or has ended, whoever was told "ended" is not queued any
// more, a failure has its DSN, once, and nothing is there by halves.
func (c *clone) audit() (Ledger, error) {
	var l Ledger
	if _, err := c.fs.Stat("spool"); err != nil {
		return l, nil //nolint:nilerr // before the directory was made
	}
	s, err := spool.Open("spool", small(c.fs))
	if err != nil {
		return l, err
	}
	queued, err := addresses(s)
	if err := errors.Join(err, s.Check(), s.Close()); err != nil {
		return l, err
	}
	for to, f := range c.before {
		l.reckon(f, c.after[to], queued[to], queued["dsn+"+strings.ReplaceAll(to, "@", "=")+"@sender.test"])
	}
	for to, n := range queued {
		l.Duplicated += n - 1
		if _, known := c.after[to]; !known && !strings.HasPrefix(to, "dsn+") {
			return l, fmt.Errorf("%s is in the spool and was never offered", to)
		}
	}
	return l, l.Err()
}

// reckon books one recipient: what was known before and after the crash, and how often it and its DSN are queued.
func (l *Ledger) reckon(before, after fate, queued, dsn int) {
	if before.stage < accepted {
		return
	}
	l.Accepted++
	gone := queued == 0
	switch {
	case gone && after.stage < ending, gone && after.as == envelope.Failed && dsn == 0:
		l.Lost++
	case !gone && before.stage == ended, !gone && dsn > 0:
		l.Duplicated++
	case !gone:
		l.Queued++
	case after.as == envelope.Failed:
		l.Bounced++
	default:
		l.Delivered++ // or removed
	}
}

// addresses counts how often each recipient is queued.
func addresses(s *spool.Store) (map[string]int, error) {
	entries, err := s.List(spool.Filter{}, envelope.Key{}, 1<<20)
	queued := map[string]int{}
	for _, e := range entries {
		for _, r := range e.Recipients {
			queued[r.Address]++
		}
	}
	return queued, err
}

// cloneable is a memory file system that may be cloned while it is used. Link and ReuseForWrite of vfs.MemFS take its
// lock twice, and so hang when a clone begins in between.
type cloneable struct {
	*vfs.MemFS
	mu *sync.Mutex
}

// Link implements vfs.FS.
func (c cloneable) Link(from, to string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.MemFS.Link(from, to)
}

// ReuseForWrite implements vfs.FS.
func (c cloneable) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.MemFS.ReuseForWrite(from, to, category)
}

// CrashClone is what a crash at this moment would leave.
func (c cloneable) CrashClone(cfg vfs.CrashCloneCfg) *vfs.MemFS {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.MemFS.CrashClone(cfg)
}
