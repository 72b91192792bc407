package spool

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postrider/postrider/relay/envelope"
)

// counted is a closed spool with mail in all states, and what its books said.
func counted(t *testing.T, s *Store) (Counts, []Destination) {
	t.Helper()
	keys := put(t, s, to("a@one.test", "b@one.test"), to("c@two.test"), to("d@three.test"))
	_, err := s.Begin(keys[0], epoch)
	must(t, errors.Join(err, hold(s, keys[1], "why not"),
		end(s, keys[2], map[string]envelope.Disposition{"d@three.test": envelope.Delivered})))
	return s.Totals(), s.Destinations()
}

func expect(t *testing.T, s *Store, total Counts, destinations []Destination) {
	t.Helper()
	if got := s.Totals(); got != total {
		t.Errorf("%+v, want %+v", got, total)
	}
	got := s.Destinations()
	if len(got) != len(destinations) {
		t.Fatalf("%+v, want %+v", got, destinations)
	}
	for i := range got {
		if got[i] != destinations[i] {
			t.Errorf("%+v, want %+v", got[i], destinations[i])
		}
	}
	must(t, s.Check())
}

// TestDestinationsAreNotCounted: Open reads what is stored of them, and not the entries.
func TestDestinationsAreNotCounted(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, small(fs))
	total, destinations := counted(t, s)
	must(t, s.Close())
	s = open(t, small(fs))
	defer s.Close()
	expect(t, s, total, destinations)
	if total != (Counts{Queued: 3, Deferred: 2, Held: 1}) {
		t.Errorf("%+v", total)
	}
	if _, err := get(s.db, tallyKey("three.test")); !errors.Is(err, ErrNotFound) {
		t.Errorf("a destination without mail left something behind: %v", err)
	}
}

// TestAnOlderSpoolIsCountedOnce: it has no counters for destinations.
func TestAnOlderSpoolIsCountedOnce(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, small(fs))
	total, destinations := counted(t, s)
	must(t, s.db.DeleteRange([]byte{kindTally}, []byte{kindTally + 1}, pebble.Sync))
	must(t, s.Close())
	must(t, replaceFile(fs, "spool", schemaFile, "2\n"))
	for range 2 {
		s = open(t, small(fs))
		expect(t, s, total, destinations)
		must(t, s.Close())
	}
	if version, err := readSchema(fs, "spool"); err != nil || version != schema {
		t.Errorf("version %d, %v", version, err)
	}
}

// TestCountersThatContradictTheLedger are counted anew, once.
func TestCountersThatContradictTheLedger(t *testing.T) {
	for name, value := range map[string][]byte{
		"too many": encodeTally(Counts{Queued: 7}),
		"negative": encodeTally(Counts{Queued: 2, Held: -1}),
		"cut off":  {1, 2, 3},
	} {
		fs := vfs.NewMem()
		s := open(t, small(fs))
		total, destinations := counted(t, s)
		must(t, s.db.Set(tallyKey("one.test"), value, pebble.Sync))
		must(t, s.Close())
		told := 0
		o := small(fs)
		o.OnEvent = func(Event) { told++ }
		for range 2 {
			s = open(t, o)
			expect(t, s, total, destinations)
			must(t, s.Close())
		}
		if told != 1 {
			t.Errorf("%s: told %d times", name, told)
		}
	}
}

// TestRecipientsOfADamagedEntryStayCounted also when the entries must be counted.
func TestRecipientsOfADamagedEntryStayCounted(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, small(fs))
	bad := put(t, s, to("a@one.test", "b@one.test"))[0]
	put(t, s, to("c@two.test"))
	harm(t, s, entryKey(bad))
	must(t, s.db.Set(tallyKey("one.test"), encodeTally(Counts{Queued: 9}), pebble.Sync))
	must(t, s.Close())
	for range 2 {
		s = open(t, small(fs))
		if l := s.Ledger(); l != (Ledger{Accepted: 3, Queued: 3}) || s.Totals().Queued != 3 {
			t.Errorf("%+v %+v", l, s.Totals())
		}
		must(t, s.Close())
	}
}

// TestTheOldestIsKnown whatever comes and goes.
func TestTheOldestIsKnown(t *testing.T) {
	now := epoch
	o := small(vfs.NewMem())
	o.Now = func() time.Time { now = now.Add(time.Second); return now }
	s := open(t, o)
	defer func() { must(t, s.Close()) }()
	rng := newRand()
	for range 300 {
		if entries, err := s.List(Filter{}, envelope.Key{}, 100); err == nil && len(entries) > rng.IntN(30) {
			e := entries[rng.IntN(len(entries))]
			must(t, end(s, e.Key(), map[string]envelope.Disposition{e.Recipients[0].Address: envelope.Delivered}))
		} else {
			must(t, err)
			put(t, s, to(fmt.Sprintf("u@d%d.test", rng.IntN(6))), to("u@common.test"))
		}
		if rng.IntN(20) == 0 {
			must(t, s.Close())
			s = open(t, o)
		}
		if rng.IntN(2) == 0 {
			slowestAre(t, s)
		}
	}
}

// slowestAre compares what the store knows of its oldest mail with all that there is.
func slowestAre(t *testing.T, s *Store) {
	t.Helper()
	entries, err := s.List(Filter{}, envelope.Key{}, 100)
	must(t, err)
	slices.SortStableFunc(entries, func(a, b envelope.Envelope) int { return strings.Compare(string(a.ID), string(b.ID)) })
	var domains []string
	for _, e := range entries {
		if !slices.Contains(domains, e.Domain) {
			domains = append(domains, e.Domain)
		}
	}
	got := s.Slowest(3, nil)
	if len(got) != min(3, len(domains)) {
		t.Fatalf("%+v of %v", got, domains)
	}
	for i, d := range got {
		if d.Domain != domains[i] {
			t.Fatalf("%+v, want %v", got, domains)
		}
		if e, err := s.First(d.Domain); err != nil || !AcceptedAt(e.ID).Equal(d.Oldest) {
			t.Fatalf("first %s, %v, want that of %s", e.ID, err, d.Oldest)
		}
	}
	want := time.Time{}
	if len(entries) > 0 {
		want = AcceptedAt(entries[0].ID)
	}
	if oldest := s.Oldest(); !oldest.Equal(want) {
		t.Fatalf("oldest %s, want %s", oldest, want)
	}
}
