package spool

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/postrider/postrider/relay/envelope"
)

func TestHeldEntriesAreNotDue(t *testing.T) {
	s := fresh(t)
	keys := put(t, s, to("a@one.test", "b@one.test"))
	must(t, hold(s, keys[0], "looks odd"))
	if items := due(t, s, epoch.AddDate(1, 0, 0), 10); len(items) != 0 {
		t.Errorf("due: %v", items)
	}
	if _, err := s.Begin(keys[0], epoch); !errors.Is(err, ErrHeld) {
		t.Errorf("begun: %v", err)
	}
	if c := s.Totals(); c != (Counts{Queued: 2, Held: 2}) {
		t.Errorf("%+v", c)
	}
	must(t, hold(s, keys[0], ""))
	if items := due(t, s, epoch, 10); len(items) != 1 || items[0].Key != keys[0] || items[0].SenderDomain != "sender.test" {
		t.Errorf("due: %v", items)
	}
	if c := s.Totals(); c != (Counts{Queued: 2}) {
		t.Errorf("%+v", c)
	}
}

func TestBeginCountsAndMoves(t *testing.T) {
	s := fresh(t)
	keys := put(t, s, to("a@one.test", "b@one.test"))
	e, err := s.Begin(keys[0], epoch)
	must(t, err)
	if e.Recipients[0].Attempts != 1 || e.Recipients[1].Attempts != 1 {
		t.Errorf("%+v", e.Recipients)
	}
	if items := due(t, s, epoch.Add(envelope.AttemptLease-1), 10); len(items) != 0 {
		t.Errorf("due during the lease: %v", items)
	}
	if items := due(t, s, epoch.Add(envelope.AttemptLease), 10); len(items) != 1 {
		t.Errorf("due after the lease: %v", items)
	}
	if c := s.Totals(); c != (Counts{Queued: 2, Deferred: 2}) {
		t.Errorf("%+v", c)
	}
	if _, err := s.Begin(envelope.Key{ID: "GONE", Domain: "one.test"}, epoch); !errors.Is(err, ErrNotFound) {
		t.Errorf("an unknown one: %v", err)
	}
}

// An attempt that is forgotten when the process dies lets a crash loop hammer a receiver: the record must leave the
// process without another write that takes it along.
func TestBeginReachesTheDiskByItself(t *testing.T) {
	mem := newCrashable()
	synced := make(chan struct{}, 1000)
	s := open(t, small(errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSyncData && strings.HasSuffix(op.Path, ".log") {
			synced <- struct{}{}
		}
		return nil
	}))))
	defer s.Close()
	key := put(t, s, to("a@one.test"))[0]
	for len(synced) > 0 {
		<-synced
	}
	_, err := s.Begin(key, epoch)
	must(t, err)
	select {
	case <-synced:
	case <-time.After(5 * time.Second):
		t.Fatal("not written")
	}
	survivor := open(t, small(mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: newRand()})))
	defer survivor.Close()
	e, err := survivor.Get(key)
	must(t, err)
	if e.Recipients[0].Attempts != 1 {
		t.Errorf("%+v", e.Recipients)
	}
}

// A DSN that were delivered before the failure it reports is stored would be made and sent again after a crash.
func TestWhatIsNotSyncedIsNotDue(t *testing.T) {
	syncing, release := make(chan struct{}), make(chan struct{})
	var blocked atomic.Bool
	s := open(t, small(errorfs.Wrap(newCrashable(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSyncData && strings.HasSuffix(op.Path, ".log") && blocked.CompareAndSwap(true, false) {
			close(syncing)
			<-release
		}
		return nil
	}))))
	defer s.Close()
	key := put(t, s, to("a@one.test"))[0]
	blocked.Store(true)
	var created []envelope.Envelope
	changed := make(chan error)
	go func() {
		var err error
		_, created, err = s.Change(key, func(e *envelope.Envelope) ([]Draft, error) {
			e.Recipients[0].State = envelope.Failed
			return []Draft{{Content: []byte("x"), Entries: []envelope.Envelope{to("dsn@two.test")}}}, nil
		})
		changed <- err
	}()
	<-syncing
	for _, item := range due(t, s, epoch, 10) {
		if item.Key.Domain == "two.test" {
			t.Error("a DSN is due before it is stored")
		}
	}
	close(release)
	must(t, <-changed)
	if items := due(t, s, epoch, 10); len(items) != 1 || items[0].Key != created[0].Key() || len(s.fronts[envelope.Normal].created) != 0 {
		t.Errorf("due: %v", items)
	}
}

func TestPullInOnlyMovesWhatIsTooFarAway(t *testing.T) {
	s := fresh(t)
	e := to("a@one.test", "b@one.test")
	e.Recipients[0].Due, e.Recipients[1].Due = epoch.Add(time.Hour), epoch.Add(25*time.Hour)
	far := to("c@two.test")
	far.Recipients[0].Due = epoch.Add(24 * time.Hour)
	keys := append(put(t, s, e), put(t, s, far)...)
	limit := epoch.Add(2 * time.Hour)
	items, _, err := s.Due(envelope.Normal, After(envelope.Normal, limit), time.Unix(0, math.MaxInt64), 10)
	must(t, err)
	if len(items) != 1 || items[0].Key != keys[1] { // the first is due in an hour
		t.Errorf("after the limit: %v", items)
	}
	latest := func(attempts int) time.Time { return limit.Add(time.Duration(attempts) * time.Hour) }
	moved, err := s.PullIn(append(keys, envelope.Key{ID: "GONE", Domain: "one.test"}), latest, epoch)
	if err != nil || moved != 2 {
		t.Errorf("moved %d: %v", moved, err)
	}
	if moved, err = s.PullIn(keys, latest, epoch); err != nil || moved != 0 {
		t.Errorf("moved %d again: %v", moved, err)
	}
	if items := due(t, s, epoch, 10); len(items) != 2 {
		t.Errorf("due: %v", items)
	}
	got, err := s.Get(keys[0])
	must(t, err)
	if !got.Recipients[0].Due.Equal(epoch.Add(time.Hour)) || !got.Recipients[1].Due.Equal(epoch) {
		t.Errorf("%+v", got.Recipients)
	}
}

func TestPostponeOnlyMovesLater(t *testing.T) {
	s := fresh(t)
	e := to("a@one.test", "b@one.test")
	e.Recipients[1].Due = epoch.Add(time.Hour)
	keys := append(put(t, s, e), envelope.Key{ID: "GONE", Domain: "one.test"})
	must(t, s.Postpone(keys, func() time.Time { return epoch.Add(time.Minute) }))
	got, err := s.Get(keys[0])
	must(t, err)
	if !got.Recipients[0].Due.Equal(epoch.Add(time.Minute)) || !got.Recipients[1].Due.Equal(epoch.Add(time.Hour)) {
		t.Errorf("%+v", got.Recipients)
	}
	if items := due(t, s, epoch.Add(time.Hour), 10); len(items) != 1 || !items[0].Due.Equal(epoch.Add(time.Minute)) {
		t.Errorf("due: %v", items)
	}
}

func due(t *testing.T, s *Store, until time.Time, limit int) []Item {
	t.Helper()
	items, _, err := s.Due(envelope.Normal, Cursor{}, until, limit)
	must(t, err)
	return items
}

// Each class has its part of the index: what is urgent is found without a walk over what is not, also after the class
// has changed, a restart, and when the index was made anew.
func TestDueByClass(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, small(fs))
	var keys []envelope.Key
	for i, priority := range []int{0, -3, 4, 9, -9} {
		e := to("a@one.test")
		e.Priority, e.Recipients[0].Due = priority, epoch.Add(-time.Duration(i)*time.Second)
		keys = append(keys, put(t, s, e)...)
	}
	check := func(want ...[]envelope.Key) {
		t.Helper()
		for c, keys := range want {
			items, _, err := s.Due(envelope.Class(c), Cursor{}, epoch.AddDate(300, 0, 0), 10)
			must(t, err)
			var got []envelope.Key
			for _, i := range items {
				got = append(got, i.Key)
			}
			if !slices.Equal(got, keys) {
				t.Errorf("%s: %v, want %v", envelope.Class(c), got, keys)
			}
		}
		must(t, s.Check())
	}
	check([]envelope.Key{keys[3], keys[2]}, keys[:1], []envelope.Key{keys[4], keys[1]})
	_, _, err := s.Change(keys[1], func(e *envelope.Envelope) ([]Draft, error) { e.Priority = 1; return nil, nil })
	must(t, err)
	check([]envelope.Key{keys[3], keys[2], keys[1]}, keys[:1], keys[4:])
	must(t, s.db.Delete(dueKey(envelope.Urgent, nanos(epoch.Add(-2*time.Second)), keys[2]), nil))
	must(t, s.db.Set(dueKey(envelope.Urgent, nanos(epoch), keys[0]), nil, nil))
	must(t, s.Close())
	s = open(t, small(fs))
	defer s.Close()
	must(t, s.Verify(t.Context())) // and mends it
	check([]envelope.Key{keys[3], keys[2], keys[1]}, keys[:1], keys[4:])
}

func TestDuePages(t *testing.T) {
	s := fresh(t)
	for i := range 25 {
		e := to(fmt.Sprintf("u@d%d.test", i))
		e.Recipients[0].Due = epoch.Add(time.Duration(24-i) * time.Second)
		put(t, s, e)
	}
	var seen []Item
	for c := (Cursor{}); ; {
		items, next, err := s.Due(envelope.Normal, c, epoch.Add(19*time.Second), 7)
		must(t, err)
		if seen = append(seen, items...); len(items) == 0 {
			break
		}
		c = next
	}
	if len(seen) != 20 || !slices.IsSortedFunc(seen, func(a, b Item) int { return a.Due.Compare(b.Due) }) {
		t.Errorf("%d: %v", len(seen), seen)
	}
	if items := due(t, s, epoch, 0); len(items) != 0 {
		t.Errorf("a limit of nothing gave %v", items)
	}
	if items := due(t, s, epoch, 10); len(items) != 1 {
		t.Errorf("then: %v", items)
	}
}

func TestDueFindsWhatComesBeforeTheFront(t *testing.T) {
	s := fresh(t)
	late := to("a@one.test")
	late.Recipients[0].Due = epoch.Add(time.Hour)
	put(t, s, late)
	for range 3 {
		due(t, s, epoch.Add(2*time.Hour), 10) // moves the front
	}
	for i, at := range []time.Time{epoch.Add(time.Minute), epoch, {}, time.Unix(-5, 0)} {
		e := to(fmt.Sprintf("b%d@two.test", i))
		e.Recipients[0].Due = at
		key := put(t, s, e)[0]
		if items := due(t, s, epoch.Add(time.Hour), 10); len(items) != 2 || items[0].Key != key {
			t.Errorf("due at %v: %v", at, items)
		}
		must(t, end(s, key, map[string]envelope.Disposition{e.Recipients[0].Address: envelope.Removed}))
	}
}

// A search must not move the front past a batch that is on its way when the search reads.
func TestFrontWaitsForWhatIsComing(t *testing.T) {
	var f front
	done := f.arrive(10)
	first, watched := f.search()
	if first != 0 || !watched {
		t.Fatal(first, watched)
	}
	if _, again := f.search(); again {
		t.Error("two searches are watched")
	}
	f.arrive(20)() // came and was stored while the search ran
	f.searched(100)
	if first, _ := f.search(); first != 10 {
		t.Errorf("the front moved to %d over a batch at 10", first)
	}
	done()
	f.searched(100) // begun before done
	if first, _ := f.search(); first != 10 {
		t.Errorf("the front moved to %d", first)
	}
	f.searched(100)
	if first, _ := f.search(); first != 100 {
		t.Errorf("the front stays at %d", first)
	}
	f.arrive(50)()
	f.searched(200)
	if first, _ := f.search(); first != 50 {
		t.Errorf("the front moved to %d over a batch at 50", first)
	}
}
