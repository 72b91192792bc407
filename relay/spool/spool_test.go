package spool

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postrider/postrider/relay/envelope"
)

// fresh is a store in memory that is checked and closed at the end of the test.
func fresh(t *testing.T) *Store {
	t.Helper()
	s := open(t, small(vfs.NewMem()))
	t.Cleanup(func() {
		if err := errors.Join(s.Check(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func put(t *testing.T, s *Store, entries ...envelope.Envelope) []envelope.Key {
	t.Helper()
	created, err := accept(s, 100, entries...)
	if err != nil {
		t.Fatal(err)
	}
	var keys []envelope.Key
	for _, e := range created {
		keys = append(keys, e.Key())
	}
	return keys
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMessagesComeBackAsTheyWere(t *testing.T) {
	for _, size := range []int{0, 1, smallSize - 6, smallSize - 5, smallSize + 1, frameOctets - 1, frameOctets, frameOctets + 1, 5*frameOctets + 7} {
		s := fresh(t)
		w := s.Create()
		body := octets(size)
		for part := range slices.Chunk(body, 4099) {
			_, err := w.Write(part)
			must(t, err)
		}
		created, err := w.Commit([]byte("prefix"), []envelope.Envelope{to("a@one.test"), to("b@two.test")})
		must(t, err)
		if len(created) != 2 || created[0].ID != w.ID() || created[1].Size != int64(size+6) {
			t.Fatalf("%+v", created)
		}
		want := "prefix" + string(body)
		for name, read := range map[string]func(*Message) string{"Read": byRead, "WriteTo": byWriteTo} {
			m, err := s.Message(w.ID())
			must(t, err)
			if got := read(m); got != want || m.Size != int64(len(want)) {
				t.Errorf("%s: %d octets of %d differ", name, len(got), len(want))
			}
			must(t, m.Close())
		}
	}
}

func byRead(m *Message) string {
	var b strings.Builder
	_, _ = io.Copy(&b, io.MultiReader(m)) // hides WriteTo
	return b.String()
}

func byWriteTo(m *Message) string {
	var b strings.Builder
	_, _ = m.WriteTo(&b)
	return b.String()
}

func TestDamagedContentIsNotHandedOut(t *testing.T) {
	s := open(t, small(vfs.NewMem()))
	defer s.Close()
	created := draft(t, s, 3*chunkSize)
	healthy := put(t, s, to("b@one.test"))
	key := chunkKey(created.ID, 2)
	value, err := get(s.db, key)
	must(t, err)
	value[7] ^= 1
	for name, harm := range map[string]func() error{
		"flipped bit":   func() error { return s.db.Set(key, value, nil) },
		"missing chunk": func() error { return s.db.Delete(key, nil) },
	} {
		must(t, harm())
		m, err := s.Message(created.ID)
		must(t, err)
		got, err := io.ReadAll(m)
		if !errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotFound) || len(got) != 2*chunkSize {
			t.Errorf("%s: %d octets, %v", name, len(got), err)
		}
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), string(created.ID)) {
			t.Errorf("%s: check says %v", name, err)
		}
	}
	if got := content(s, healthy[0].ID); !strings.HasSuffix(got, "<nil>") {
		t.Errorf("the other message: %s", got)
	}
}

// draft stores a message made here, of size octets, in chunks.
func draft(t *testing.T, s *Store, size int) envelope.Key {
	t.Helper()
	k := put(t, s, to("reported@one.test"))[0]
	_, created, err := s.Change(k, func(e *envelope.Envelope) ([]Draft, error) {
		e.Recipients[0].State = envelope.Failed
		return []Draft{{Content: octets(size), Entries: []envelope.Envelope{to("s@sender.test")}}}, nil
	})
	must(t, err)
	return created[0].Key()
}

func TestMessageDeletedWhileItIsRead(t *testing.T) {
	s := fresh(t)
	k := draft(t, s, 3*chunkSize)
	m, err := s.Message(k.ID)
	must(t, err)
	_, err = io.CopyN(io.Discard, m, 10)
	must(t, err)
	must(t, end(s, k, map[string]envelope.Disposition{"s@sender.test": envelope.Removed}))
	if _, err := io.ReadAll(m); !errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
		t.Errorf("read on: %v", err)
	}
}

func TestChange(t *testing.T) {
	s := fresh(t)
	keys := put(t, s, to("a@one.test", "b@one.test", "c@one.test"), to("d@two.test"))
	must(t, end(s, keys[0], map[string]envelope.Disposition{"a@one.test": envelope.Delivered, "c@one.test": envelope.Failed}))
	e, err := s.Get(keys[0])
	must(t, err)
	if len(e.Recipients) != 1 || e.Recipients[0].Address != "b@one.test" {
		t.Errorf("left: %+v", e.Recipients)
	}
	want := Ledger{Accepted: 4, Delivered: 1, Failed: 1, Queued: 2}
	if l := s.Ledger(); l != want {
		t.Errorf("%+v", l)
	}
	must(t, end(s, keys[0], map[string]envelope.Disposition{"b@one.test": envelope.Suppressed}))
	if _, err := s.Get(keys[0]); !errors.Is(err, ErrNotFound) {
		t.Errorf("the entry: %v", err)
	}
	if _, err := s.Message(keys[0].ID); err != nil {
		t.Errorf("the message, needed for another domain: %v", err)
	}
	must(t, end(s, keys[1], map[string]envelope.Disposition{"d@two.test": envelope.Removed}))
	if _, err := s.Message(keys[0].ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("the message: %v", err)
	}
	want = Ledger{Accepted: 4, Delivered: 1, Failed: 1, Suppressed: 1, Removed: 1}
	if l := s.Ledger(); l != want || s.Totals() != (Counts{}) || len(s.Destinations()) != 0 {
		t.Errorf("%+v %+v %+v", l, s.Totals(), s.Destinations())
	}
}

func TestChangeThatFailsChangesNothing(t *testing.T) {
	s := fresh(t)
	keys := put(t, s, to("a@one.test"))
	before, err := dump(s)
	must(t, err)
	failed := errors.New("no")
	for name, f := range map[string]func(*envelope.Envelope) ([]Draft, error){
		"error":           func(*envelope.Envelope) ([]Draft, error) { return nil, failed },
		"recipient lost":  func(e *envelope.Envelope) ([]Draft, error) { e.Recipients = nil; return nil, nil },
		"recipient added": func(e *envelope.Envelope) ([]Draft, error) { *e = to("a@one.test", "b@one.test"); return nil, nil },
		"unknown state":   func(e *envelope.Envelope) ([]Draft, error) { e.Recipients[0].State = "Lost"; return nil, nil },
		"bad draft":       func(*envelope.Envelope) ([]Draft, error) { return []Draft{{Content: []byte("x")}}, nil },
	} {
		if _, _, err := s.Change(keys[0], f); err == nil {
			t.Errorf("%s: no error", name)
		}
		after, err := dump(s)
		must(t, err)
		if after != before {
			t.Errorf("%s: %s\nbecame\n%s", name, before, after)
		}
	}
}

func TestDraftsAreMailOfTheirOwn(t *testing.T) {
	s := fresh(t)
	keys := put(t, s, to("a@one.test"))
	text := octets(chunkSize + 5)
	_, created, err := s.Change(keys[0], func(e *envelope.Envelope) ([]Draft, error) {
		e.Recipients[0].State = envelope.Failed
		return []Draft{{Content: text, Entries: []envelope.Envelope{to("s@sender.test")}}}, nil
	})
	must(t, err)
	if len(created) != 1 || created[0].ID == keys[0].ID || created[0].Size != int64(len(text)) {
		t.Fatalf("%+v", created)
	}
	m, err := s.Message(created[0].ID)
	must(t, err)
	if byRead(m) != string(text) {
		t.Error("another text")
	}
	if l := s.Ledger(); l != (Ledger{Accepted: 2, Failed: 1, Queued: 1}) {
		t.Errorf("%+v", l)
	}
}

func TestCommitRefusesWhatWouldBeLost(t *testing.T) {
	s := fresh(t)
	odd := to("a@one.test")
	odd.Recipients[0].State = "Odd"
	for name, entries := range map[string][]envelope.Envelope{
		"no entries":         {},
		"no recipients":      {{Domain: "one.test"}},
		"no domain":          {{Recipients: to("a@one.test").Recipients}},
		"zero in the domain": {to("a@one\x00.test")},
		"one domain twice":   {to("a@one.test"), to("b@one.test")},
		"unknown state":      {odd},
	} {
		if created, err := accept(s, 200<<10, entries...); err == nil {
			t.Errorf("%s: %+v", name, created)
		}
	}
	if l := s.Ledger(); l != (Ledger{}) {
		t.Errorf("%+v", l)
	}
}

func TestRecipientsFinalAtOnceAreCounted(t *testing.T) {
	s := fresh(t)
	e := to("a@one.test", "b@one.test")
	e.Recipients[1].State = envelope.Suppressed
	e.Recipients[0].State = "" // not said: queued
	keys := put(t, s, e)
	got, err := s.Get(keys[0])
	must(t, err)
	if len(got.Recipients) != 1 || got.Recipients[0].State != envelope.Queued {
		t.Errorf("%+v", got.Recipients)
	}
	all := to("c@two.test")
	all.Recipients[0].State = envelope.Suppressed
	if keys := put(t, s, all); len(keys) != 0 {
		t.Errorf("kept %v", keys)
	}
	if l := s.Ledger(); l != (Ledger{Accepted: 3, Suppressed: 2, Queued: 1}) {
		t.Errorf("%+v", l)
	}
}

func TestList(t *testing.T) {
	s := fresh(t)
	other := to("x@two.test")
	other.ReversePath, other.Tenant = "News@Mail.Other.test", "other.test"
	both := put(t, s, to("a@one.test"), to("b@two.test"))
	third := put(t, s, other)
	must(t, hold(s, third[0], "why not"))
	yes, no := true, false
	all := []envelope.Key{both[0], both[1], third[0]}
	for _, c := range []struct {
		name  string
		f     Filter
		after envelope.Key
		limit int
		want  []envelope.Key
	}{
		{"all", Filter{}, envelope.Key{}, 10, all},
		{"a page", Filter{}, envelope.Key{}, 2, all[:2]},
		{"the next page", Filter{}, all[1], 2, all[2:]},
		{"behind the end", Filter{}, all[2], 2, nil},
		{"domain", Filter{Domain: "two.test"}, envelope.Key{}, 10, all[1:]},
		{"domain, next page", Filter{Domain: "two.test"}, all[1], 10, all[2:]},
		{"domain, from one before it", Filter{Domain: "two.test"}, all[0], 10, all[1:]},
		{"domain that begins another", Filter{Domain: "two"}, envelope.Key{}, 10, nil},
		{"id", Filter{ID: both[0].ID}, envelope.Key{}, 10, all[:2]},
		{"id, next page", Filter{ID: both[0].ID}, all[0], 10, all[1:2]},
		{"id and domain", Filter{ID: both[0].ID, Domain: "one.test"}, envelope.Key{}, 10, all[:1]},
		{"unknown id", Filter{ID: "GONE"}, envelope.Key{}, 10, nil},
		{"sender", Filter{Sender: "news@mail.other.test"}, envelope.Key{}, 10, all[2:]},
		{"sender's domain", Filter{Sender: "mail.other.test"}, envelope.Key{}, 10, all[2:]},
		{"sending domain", Filter{Sender: "Other.test"}, envelope.Key{}, 10, all[2:]},
		{"held", Filter{Held: &yes}, envelope.Key{}, 10, all[2:]},
		{"not held", Filter{Held: &no}, envelope.Key{}, 10, all[:2]},
	} {
		page, err := s.List(c.f, c.after, c.limit)
		must(t, err)
		var keys []envelope.Key
		for _, e := range page {
			keys = append(keys, e.Key())
		}
		if !slices.Equal(keys, c.want) {
			t.Errorf("%s: %v, not %v", c.name, keys, c.want)
		}
	}
}

func TestOldestFollowsTheQueue(t *testing.T) {
	now := epoch.Truncate(time.Millisecond)
	o := small(vfs.NewMem())
	o.Now = func() time.Time { now = now.Add(time.Second); return now }
	s := open(t, o)
	defer s.Close()
	var keys []envelope.Key
	for range 4 {
		keys = append(keys, put(t, s, to("a@one.test"))...)
	}
	oldest := func() time.Time {
		d := s.Destinations()
		if len(d) != 1 {
			t.Fatalf("%+v", d)
		}
		return d[0].Oldest
	}
	for _, c := range []struct{ gone, oldest int }{{2, 0}, {0, 1}, {1, 3}} {
		must(t, end(s, keys[c.gone], map[string]envelope.Disposition{"a@one.test": envelope.Delivered}))
		for range 2 {
			if got, want := oldest(), AcceptedAt(keys[c.oldest].ID); !got.Equal(want) {
				t.Errorf("after %d went: %v, not %v", c.gone, got, want)
			}
		}
	}
}

func TestNewerSpoolIsRefusedAndNotTouched(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, small(fs))
	put(t, s, to("a@one.test"))
	must(t, s.Close())
	must(t, writeSynced(fs, "spool/"+schemaFile, fmt.Sprintln(schema+1)))
	before := fs.String()
	_, err := Open("spool", small(fs))
	if err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("opened: %v", err)
	}
	if fs.String() != before {
		t.Error("touched")
	}
	must(t, writeSynced(fs, "spool/"+schemaFile, fmt.Sprintln(schema)))
	s = open(t, small(fs))
	defer s.Close()
	if s.Ledger().Queued != 1 {
		t.Errorf("%+v", s.Ledger())
	}
}

func TestClosedStoreRefuses(t *testing.T) {
	s := open(t, small(vfs.NewMem()))
	keys := put(t, s, to("a@one.test"))
	m, err := s.Message(keys[0].ID)
	must(t, err)
	must(t, s.Close())
	must(t, s.Close())
	_, acceptErr := accept(s, 10, to("b@one.test"))
	_, largeErr := accept(s, 1<<20, to("b@one.test"))
	_, getErr := s.Get(keys[0])
	_, beginErr := s.Begin(keys[0], epoch)
	_, _, dueErr := s.Due(envelope.Normal, Cursor{}, epoch, 1)
	_, listErr := s.List(Filter{}, envelope.Key{}, 1)
	_, messageErr := s.Message(keys[0].ID)
	_, readErr := m.Read(make([]byte, 1))
	for i, err := range []error{acceptErr, largeErr, getErr, beginErr, dueErr, listErr, messageErr, readErr, hold(s, keys[0], "x"), s.Check()} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("operation %d: %v", i, err)
		}
	}
}

func TestFree(t *testing.T) {
	fs := vfs.NewMem()
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 12345, TotalBytes: 99999})
	s := open(t, small(fs))
	defer s.Close()
	if n, err := s.Free(); n != 12345 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{Logger: quiet})
	must(t, err)
	defer s.Close()
	if _, err := Open(dir, Options{Logger: quiet}); err == nil {
		t.Error("opened twice")
	}
}
