package spool

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/postrider/postrider/relay/envelope"
)

// oracle knows of every recipient what its owner was told. Stages only grow: offered, accepted, ending, ended.
type oracle struct {
	mu    sync.Mutex
	stage map[string]int
}

const (
	offered = iota + 1
	accepted
	ending
	ended
)

func (o *oracle) set(stage int, recipients ...envelope.Recipient) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range recipients {
		o.stage[r.Address] = stage
	}
}

func (o *oracle) now() map[string]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.stage)
}

// plunge is a crash at a random moment of the load, and what was known just before and just after.
type plunge struct {
	fs            *vfs.MemFS
	before, after map[string]int
}

func TestCrashesUnderLoad(t *testing.T) {
	mem := newCrashable()
	o := &oracle{stage: map[string]int{}}
	var mu sync.Mutex
	var crashes []plunge
	rng := newRand()
	options := small(errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && rng.IntN(12) == 0 {
			before := o.now()
			fs := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50 * rng.IntN(3), RNG: rng})
			crashes = append(crashes, plunge{fs, before, o.now()})
		}
		return nil
	})))
	began := time.Now()
	options.Now = func() time.Time { return began.Add(10_000 * time.Since(began)) } // segments are calm soon
	s := open(t, options)
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() { load(t, s, o, n) })
	}
	wg.Wait()
	books := s.Ledger()
	if err := errors.Join(s.Check(), s.Close()); err != nil {
		t.Fatal(err)
	}
	for _, c := range crashes {
		recovered(t, c)
	}
	if len(crashes) < 20 || books.Queued == 0 || books.Delivered == 0 {
		t.Errorf("%d crashes, %+v: the test proves little", len(crashes), books)
	}
	t.Logf("%d crashes, %+v", len(crashes), books)
	reopened(t, mem, books)
}

// reopened: after an orderly end the books in memory were those on disk.
func reopened(t *testing.T, fs vfs.FS, books Ledger) {
	t.Helper()
	s := open(t, small(fs))
	defer s.Close()
	if l := s.Ledger(); l != books {
		t.Errorf("%+v became %+v", books, l)
	}
}

// load accepts, attempts and ends mail as a relay does.
func load(t *testing.T, s *Store, o *oracle, n int) {
	rng := rand.New(rand.NewPCG(uint64(n), 7))
	for i := range 25 {
		if n == 0 {
			if err := s.Tidy(t.Context()); err != nil {
				t.Error(err)
			}
		}
		a, b := to(fmt.Sprintf("a%d.%d@one.test", n, i)), to(fmt.Sprintf("b%d.%d@two.test", n, i))
		recipients := append(a.Recipients[:1:1], b.Recipients...)
		o.set(offered, recipients...)
		created, err := accept(s, rng.IntN(8)*rng.IntN(8)*2000, a, b)
		if err != nil {
			t.Error(err)
			return
		}
		o.set(accepted, recipients...)
		for _, e := range created {
			if err := work(s, o, e, rng); err != nil {
				t.Error(err)
			}
		}
	}
}

func work(s *Store, o *oracle, e envelope.Envelope, rng *rand.Rand) error {
	if rng.IntN(4) == 0 {
		return s.Postpone([]envelope.Key{e.Key()}, func() time.Time { return epoch.Add(time.Hour) })
	}
	if _, err := s.Begin(e.Key(), epoch); err != nil {
		return err
	}
	if rng.IntN(4) == 0 {
		return nil
	}
	o.set(ending, e.Recipients...)
	states := map[string]envelope.Disposition{}
	for _, r := range e.Recipients {
		states[r.Address] = []envelope.Disposition{envelope.Delivered, envelope.Failed}[rng.IntN(2)]
	}
	if err := end(s, e.Key(), states); err != nil {
		return err
	}
	o.set(ended, e.Recipients...)
	return nil
}

// recovered: nobody who was told "accepted" is missing, nobody who was told "ended" is back.
func recovered(t *testing.T, c plunge) {
	t.Helper()
	s := open(t, small(c.fs))
	defer s.Close()
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	entries, err := s.List(Filter{}, envelope.Key{}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	queued := map[string]bool{}
	for _, e := range entries {
		for _, r := range e.Recipients {
			queued[r.Address] = true
		}
	}
	for address, stage := range c.before {
		if stage >= accepted && c.after[address] <= accepted && !queued[address] {
			t.Errorf("%s was accepted and is lost", address)
		}
		if stage == ended && queued[address] {
			t.Errorf("%s was ended and is back", address)
		}
	}
	for address := range queued {
		if c.after[address] == 0 {
			t.Errorf("%s was never offered", address)
		}
	}
	if n := int64(len(queued)); n != s.Totals().Queued || n != s.Ledger().Queued {
		t.Errorf("%d recipients, totals %+v, ledger %+v", n, s.Totals(), s.Ledger())
	}
}
