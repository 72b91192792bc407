package handoff

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestEveryCrashOfEitherSide crashes both sides before every write of either, and the sender alone, brings them up
// again in several ways, and counts.
func TestEveryCrashOfEitherSide(t *testing.T) {
	for _, size := range []int{2000, 300 << 10} {
		w := newWreckage(t, size)
		w.run()
		w.check()
	}
}

// wreckage is a hand-off of one message and what crashes would have left of it.
type wreckage struct {
	t     *testing.T
	size  int
	mem   [2]crashable // of the sender, of the receiver
	mu    sync.Mutex
	armed bool
	pairs []pair
	given int // pairs before the message was given to the receiver
}

type pair struct {
	from, to *vfs.MemFS
	at       string
}

// crashable may be cloned while it is used: two methods of MemFS take its lock twice.
type crashable struct {
	*vfs.MemFS
	mu *sync.Mutex
}

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

func (c crashable) clone(percent int) *vfs.MemFS {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(1, 2))})
}

func newWreckage(t *testing.T, size int) *wreckage {
	w := &wreckage{t: t, size: size}
	for i := range w.mem {
		w.mem[i] = crashable{vfs.NewCrashableMem(), new(sync.Mutex)}
	}
	return w
}

// watched is a disk before whose writes both are cloned.
func (w *wreckage) watched(i int) vfs.FS {
	return errorfs.Wrap(w.mem[i], errorfs.InjectorFunc(func(op errorfs.Op) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.armed && op.Kind.ReadOrWrite() != errorfs.OpIsRead {
			for _, percent := range []int{0, 100} {
				w.pairs = append(w.pairs, pair{w.mem[0].clone(percent), w.mem[1].clone(percent), fmt.Sprintf("before %v of %s at side %d, %d %%", op.Kind, op.Path, i, percent)})
			}
		}
		return nil
	}))
}

func (w *wreckage) arm(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = on
}

func (w *wreckage) run() {
	var n network
	from, to := n.add(w.t, "out-1", openSpool(w.t, w.watched(0))), n.add(w.t, "out-0", openSpool(w.t, w.watched(1)))
	accept(w.t, from.store, w.size, "a@one.test", "b@two.test")
	n.fate = func(path string, deliver func()) bool {
		w.mu.Lock()
		switch path {
		case pathMessage:
			w.given = len(w.pairs)
		case pathForget: // until here the receiver goes on by itself when the sender alone crashes
			for _, p := range w.pairs[w.given:] {
				w.pairs = append(w.pairs, pair{p.from, w.mem[1].clone(100), "the sender alone, " + p.at})
			}
		}
		w.mu.Unlock()
		deliver()
		return true
	}
	w.arm(true)
	from.finish(w.t, planFor("out-1", "out-0"))
	w.arm(false)
	expectOnce(w.t, "without a crash", whereabouts(w.t, nil, from, to), "a@one.test", "b@two.test")
	w.t.Logf("%d octets: %d crashes", w.size, len(w.pairs))
}

// check brings up what crashes left: all of it, or of a large message, whose chunks are many writes, forty evenly spread.
func (w *wreckage) check() {
	for i := 0; i < len(w.pairs); i += 1 + len(w.pairs)/40 {
		p := w.pairs[i]
		for _, after := range []string{"goes on", "delivered meanwhile", "stays after all", "another peer"} {
			w.recovers(p, after)
		}
	}
}

// recovers brings both sides up again.
func (w *wreckage) recovers(p pair, after string) {
	w.t.Helper()
	var n network
	from := n.add(w.t, "out-1", openSpool(w.t, copied(w.t, p.from)))
	to, third := n.add(w.t, "out-0", openSpool(w.t, copied(w.t, p.to))), n.add(w.t, "out-2", openSpool(w.t, vfs.NewMem()))
	delivered := map[string]int{}
	switch after {
	case "goes on":
		from.finish(w.t, planFor("out-1", "out-0"))
	case "delivered meanwhile":
		deliverAll(w.t, to, delivered)
		from.finish(w.t, planFor("out-1", "out-0"))
	case "stays after all":
		from.sender.Step(context.Background())
		if ids, _ := from.store.Messages("", 1); len(ids) > 0 && from.sender.Leaving(ids[0]) {
			w.t.Fatalf("%s, %s: it is bound", p.at, after)
		}
	case "another peer":
		from.finish(w.t, planFor("out-1", "out-2"))
	}
	expectOnce(w.t, p.at+", "+after, whereabouts(w.t, delivered, from, to, third), "a@one.test", "b@two.test")
	for _, side := range []*pod{from, to, third} {
		if err := side.store.Close(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// copied is a clone of a clone: opening one changes it.
func copied(t *testing.T, fs *vfs.MemFS) *vfs.MemFS {
	t.Helper()
	c := vfs.NewMem()
	if _, err := vfs.Clone(fs, c, "spool", "spool"); err != nil {
		t.Fatal(err)
	}
	return c
}
