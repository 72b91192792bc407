package spool

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postrider/postrider/relay/envelope"
)

// harm changes one octet of a stored record, as a memory that errs does before the store computes its own checksum.
func harm(t *testing.T, s *Store, key []byte) {
	t.Helper()
	value, err := get(s.db, key)
	must(t, err)
	value[len(value)/2] ^= 4
	must(t, s.db.Set(key, value, nil))
}

// A record of ours that is damaged is kept aside, visible, and everything else flows: found while the store is open,
// and found when it is opened.
func TestDamagedRecordsAreKeptAside(t *testing.T) {
	for _, again := range []bool{false, true} {
		fs := vfs.NewMem()
		var told []Event
		o := small(fs)
		o.OnEvent = func(e Event) { told = append(told, e) }
		s := open(t, o)
		bad, good := put(t, s, to("a@one.test", "b@one.test"))[0], put(t, s, to("c@one.test"))[0]
		meta := put(t, s, to("d@two.test"))[0]
		harm(t, s, entryKey(bad))
		harm(t, s, metaKey(meta.ID))
		if again {
			must(t, s.Close())
			s = open(t, o)
		}
		if _, err := s.Begin(bad, epoch); !errors.Is(err, ErrDamaged) {
			t.Errorf("begun: %v", err)
		}
		page, err := s.List(Filter{}, envelope.Key{}, 10)
		if err != nil || len(page) != 2 || page[0].Key() != good {
			t.Errorf("listed: %v, %v", page, err)
		}
		if items := due(t, s, epoch, 10); len(items) != 2 {
			t.Errorf("due: %v", items)
		}
		if _, err := s.Message(meta.ID); !errors.Is(err, ErrDamaged) {
			t.Errorf("message: %v", err)
		}
		for k, a := range map[envelope.Key]string{good: "c@one.test", meta: "d@two.test"} {
			must(t, end(s, k, map[string]envelope.Disposition{a: envelope.Delivered}))
		}
		l, d := s.Ledger(), s.Destinations()
		if l != (Ledger{Accepted: 4, Delivered: 2, Queued: 2}) || s.Totals().Damaged != 1 || s.Totals().Queued != 2 {
			t.Errorf("%+v %+v", l, s.Totals())
		}
		if len(d) != 1 || d[0].Damaged != 1 {
			t.Errorf("%+v", d)
		}
		if len(told) != 2 || told[0].Kind != RecordDamaged {
			t.Errorf("told: %+v", told)
		}
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), string(bad.ID)) {
			t.Errorf("check: %v", err)
		}
		must(t, s.Close())
	}
}

// TestDueIndexIsMended: an entry that the index lacks is due again, and what it has too many goes.
func TestDueIndexIsMended(t *testing.T) {
	var told []Event
	o := small(vfs.NewMem())
	o.OnEvent = func(e Event) { told = append(told, e) }
	s := open(t, o)
	defer s.Close()
	lost, held := put(t, s, to("a@one.test"))[0], put(t, s, to("b@one.test"))[0]
	must(t, hold(s, held, "why not"))
	odd := append(dueBound(envelope.Normal, nanos(epoch)), "no zero octet"...)
	gone := envelope.Key{ID: "01", Domain: "gone.test"}
	must(t, errors.Join(s.db.Delete(dueKey(envelope.Normal, nanos(epoch), lost), nil), s.db.Set(odd, nil, nil),
		s.db.Set(dueKey(envelope.Normal, nanos(epoch), gone), nil, nil), s.db.Set(dueKey(envelope.Normal, nanos(epoch), held), nil, nil),
		s.db.Set(dueKey(envelope.Normal, nanos(epoch)+1, lost), nil, nil)))
	if s.Check() == nil {
		t.Fatal("nothing is wrong with the index")
	}
	for range 2 {
		must(t, s.Verify(t.Context()))
	}
	if items := due(t, s, epoch.Add(time.Hour), 10); len(items) != 1 || items[0].Key != lost || items[0].SenderDomain != "sender.test" {
		t.Errorf("due: %v", items)
	}
	if len(told) != 2 || told[0].Kind != RecordDamaged || told[1].Kind != RecordDamaged {
		t.Errorf("told %+v", told)
	}
	must(t, s.Check())
}

// TestVerifyFindsWhatNobodyReads: a damaged entry is counted, although nobody asked for it.
func TestVerifyFindsWhatNobodyReads(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, small(fs))
	bad := put(t, s, to("a@one.test"))[0]
	for i := range 3 * verifyPage {
		put(t, s, to("u@"+string(rune('a'+i%26))+".test"))
	}
	harm(t, s, entryKey(bad))
	must(t, s.Close())
	s = open(t, small(fs))
	defer s.Close()
	if n := s.Totals().Damaged; n != 0 {
		t.Fatalf("Open read the entries: %d damaged", n)
	}
	must(t, s.Verify(t.Context()))
	want := Counts{Queued: 3*verifyPage + 1, Damaged: 1}
	if s.Totals() != want || s.Ledger().Queued != want.Queued {
		t.Errorf("%+v %+v, want %+v", s.Totals(), s.Ledger(), want)
	}
}

// TestVerifyReadsTheTablesThatOpenLeft and says what is wrong with them.
func TestVerifyReadsTheTablesThatOpenLeft(t *testing.T) {
	l := newLibrary(t, true, 0)
	tables := l.files(t)[".sst"]
	rng, found := rand.New(rand.NewPCG(3, 4)), 0
	for range *flips {
		fs := l.fs.CrashClone(vfs.CrashCloneCfg{})
		what := flip(t, fs, tables[rng.IntN(len(tables))], rng)
		var mu sync.Mutex // pebble tells of what it reads by itself, too
		var told []Event
		o := small(fs)
		o.VerifyBytes = 1
		o.OnEvent = func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, e)
		}
		s, err := Open("spool", o)
		if errors.Is(err, ErrRefused) {
			continue
		}
		must(t, err)
		s.unverified = slices.DeleteFunc(s.unverified, func(n int64) bool { return !slices.Contains(tables, tableName(n)) })
		must(t, s.verifyTables(t.Context()))
		mu.Lock()
		if s.Totals().Damaged != 1 || !slices.ContainsFunc(told, func(e Event) bool { return e.Kind == DataCorruption }) {
			t.Errorf("%s: told %+v, %+v", what, told, s.Totals())
		}
		mu.Unlock()
		found++
		must(t, s.Close())
	}
	if found < *flips/2 {
		t.Errorf("only %d of %d were opened: the test proves little", found, *flips)
	}
}

// TestVerifyBesideEverythingElse finds nothing wrong while entries come, change and go.
func TestVerifyBesideEverythingElse(t *testing.T) {
	o := small(vfs.NewMem())
	o.OnEvent = func(e Event) {
		if e.Kind == RecordDamaged {
			t.Errorf("told %+v", e)
		}
	}
	s := open(t, o)
	defer s.Close()
	for range 2 * verifyPage {
		put(t, s, to("u@one.test"))
	}
	known := &oracle{stage: map[string]int{}}
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() { load(t, s, known, n) })
	}
	working := make(chan struct{})
	go func() { defer close(working); wg.Wait() }()
	for done := false; !done; {
		select {
		case <-working:
			done = true
		default:
		}
		must(t, errors.Join(s.verifyEntries(t.Context()), s.verifyDue(t.Context())))
	}
	must(t, s.Check())
}
