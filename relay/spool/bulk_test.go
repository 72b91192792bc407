package spool

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postrider/postrider/relay/envelope"
)

// remove is an admin's delete.
func remove(e *envelope.Envelope) bool {
	for i := range e.Recipients {
		e.Recipients[i].State = envelope.Removed
	}
	return true
}

// TestManyEntriesChangeAtOnce: some of them belong to one message, some are gone, damaged, or not to be changed.
func TestManyEntriesChangeAtOnce(t *testing.T) {
	s := open(t, small(vfs.NewMem()))
	defer s.Close()
	var keys []envelope.Key
	for i := range 20 {
		keys = append(keys, put(t, s, to(fmt.Sprintf("a%d@one.test", i)), to("b@two.test", "c@two.test"), to("d@three.test"))...)
	}
	gone := put(t, s, to("gone@one.test"))[0]
	must(t, end(s, gone, map[string]envelope.Disposition{"gone@one.test": envelope.Delivered}))
	bad := put(t, s, to("bad@one.test"))[0]
	value, err := get(s.db, entryKey(bad))
	must(t, err)
	harm(t, s, entryKey(bad))
	asked := map[envelope.Key]int{}
	changed, err := s.ChangeMany(append(keys, gone, bad, keys[0]), func(e *envelope.Envelope) bool {
		asked[e.Key()]++
		return e.Domain != "three.test" && remove(e)
	})
	must(t, err)
	if len(changed) != 40 || len(changed[0].Recipients) != 0 || len(asked) != 60 || asked[keys[0]] != 1 {
		t.Errorf("%d changed, %d asked", len(changed), len(asked))
	}
	must(t, s.db.Set(entryKey(bad), value, nil)) // for Check
	must(t, s.Check())
	if l := s.Ledger(); l != (Ledger{Accepted: 82, Delivered: 1, Removed: 60, Queued: 21}) || s.Totals().Damaged != 1 {
		t.Errorf("%+v, %+v", l, s.Totals())
	}
	changed, err = s.ChangeMany(keys, remove)
	if err != nil || len(changed) != 20 || content(s, keys[0].ID) == "" {
		t.Errorf("%d changed, %v", len(changed), err)
	}
	if _, err := s.Message(keys[0].ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("the message of entries that went: %v", err)
	}
	must(t, s.Check())
}

// TestABulkThatFailsChangesNothing: what f did to the entries before is not stored.
func TestABulkThatFailsChangesNothing(t *testing.T) {
	s := fresh(t)
	keys := append(put(t, s, to("a@one.test")), put(t, s, to("b@two.test"))...)
	_, err := s.ChangeMany(keys, func(e *envelope.Envelope) bool {
		e.Recipients[0].State = envelope.Removed
		if e.Domain == "two.test" {
			e.Recipients[0].State = "Nonsense"
		}
		return true
	})
	if err == nil || s.Ledger() != (Ledger{Accepted: 2, Queued: 2}) {
		t.Errorf("%v, %+v", err, s.Ledger())
	}
}

// TestBulkDeletionBesideDeliveries: each recipient is delivered or removed, never both and never neither.
func TestBulkDeletionBesideDeliveries(t *testing.T) {
	s := fresh(t)
	const n = 400
	var keys []envelope.Key
	for i := range n {
		keys = append(keys, put(t, s, to(fmt.Sprintf("u%d@one.test", i)), to(fmt.Sprintf("v%d@two.test", i)))...)
	}
	var mu sync.Mutex
	fates := map[string]string{}
	fate := func(address, what string) {
		mu.Lock()
		defer mu.Unlock()
		if fates[address] != "" {
			t.Errorf("%s was %s and %s", address, fates[address], what)
		}
		fates[address] = what
	}
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := worker; i < len(keys); i += 4 {
				e, err := s.Begin(keys[i], epoch)
				if err == nil {
					err = end(s, keys[i], map[string]envelope.Disposition{e.Recipients[0].Address: envelope.Delivered})
				}
				if err == nil {
					fate(e.Recipients[0].Address, "delivered")
				} else if !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
			}
		})
	}
	for half := range 2 {
		wg.Go(func() {
			for i := len(keys) - 50; i >= 0; i -= 50 { // from the other end, both the same
				changed, err := s.ChangeMany(keys[i:i+50], remove)
				if err != nil {
					t.Error(half, err)
				}
				for _, e := range changed {
					fate(fmt.Sprintf("%s %s", e.ID, e.Domain), "removed")
				}
			}
		})
	}
	wg.Wait()
	l := s.Ledger()
	if l.Delivered+l.Removed != 2*n || l.Queued != 0 || len(fates) != 2*n {
		t.Errorf("%+v, %d fates", l, len(fates))
	}
	t.Logf("%+v", l)
}

// TestKeysAreThoseOfTheList by page and filter.
func TestKeysAreThoseOfTheList(t *testing.T) {
	s := fresh(t)
	for i := range 25 {
		put(t, s, to(fmt.Sprintf("a@d%d.test", i%3)), to("b@other.test"))
	}
	for _, f := range []Filter{{}, {Domain: "d1.test"}, {Domain: "d1"}, {Sender: "sender.test"}, {Sender: "else.test"}} {
		var after envelope.Key
		for {
			page, err := s.List(f, after, 7)
			must(t, err)
			keys, err := s.Keys(f, after, 7)
			must(t, err)
			if len(keys) != len(page) {
				t.Fatalf("%+v: %v, want %v", f, keys, page)
			}
			for i := range keys {
				if keys[i] != page[i].Key() {
					t.Errorf("%+v: %v, want %v", f, keys[i], page[i].Key())
				}
			}
			if len(page) < 7 {
				break
			}
			after = keys[len(keys)-1]
		}
	}
}

// BenchmarkDeleteDestination deletes what is queued for one destination: so many messages of 4 KiB as -entries says.
func BenchmarkDeleteDestination(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		s := bench(b)
		text := octets(4096)
		for range *backlogEntries {
			putUnsynced(b, s, text, to("u@one.test"))
		}
		b.StartTimer()
		deleteAll(b, s)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N**backlogEntries), "ns/entry")
}

func deleteAll(b *testing.B, s *Store) {
	for after := (envelope.Key{}); ; {
		keys, err := s.Keys(Filter{Domain: "one.test"}, after, 500)
		if err == nil && len(keys) > 0 {
			after = keys[len(keys)-1]
			_, err = s.ChangeMany(keys, remove)
		}
		if err != nil {
			b.Fatal(err)
		}
		if len(keys) == 0 {
			return
		}
	}
}

// TestSeek: keys near and far, there and not, and behind the last one.
func TestSeek(t *testing.T) {
	s := open(t, small(vfs.NewMem()))
	defer s.Close()
	key := func(n int) []byte { return tableKey("t", fmt.Sprintf("%04d", n)) }
	for n := 0; n < 200; n += 2 {
		must(t, s.Put("t", fmt.Sprintf("%04d", n), nil))
	}
	it, err := s.db.NewIter(nil)
	must(t, err)
	for _, n := range []int{0, 1, 2, 8, 9, 9, 40, 120, 121, 198, 199, 200, 300} {
		if there := n%2 == 0 && n < 200; seek(it, key(n)) != there {
			t.Errorf("%d: there %v, want %v", n, !there, there)
		}
	}
	must(t, it.Close())
}
