package spool

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postrider/postrider/relay/envelope"
)

// travelled is an entry with all that must not get lost on its way to another spool.
func travelled() []envelope.Envelope {
	a, b := to("u@one.test", "v@one.test"), to("w@two.test")
	a.Tenant, a.User, a.EightBit, a.UTF8, a.EnvelopeID, a.Return = "sender.test", "app", true, true, "env\xff", envelope.ReturnFull
	a.Released = true
	a.Recipients[0].Attempts, a.Recipients[0].DelayNotified, a.Recipients[0].Due = 3, true, epoch.Add(time.Hour+7)
	a.Recipients[0].Notify, a.Recipients[0].Original = envelope.NotifyDelay, "rfc822;u@one.test"
	a.Recipients[0].Last = &envelope.Outcome{NextHop: "mx", At: epoch}
	a.Recipients[0].Last.Reply.Code, a.Recipients[0].Last.Reply.Text = 451, "not UTF-8: \xe9"
	b.Held = "directive x: why"
	return []envelope.Envelope{a, b}
}

// receive takes a message from another spool, as it travels.
func receive(s *Store, id envelope.ID, content []byte, key string, entries []envelope.Envelope) ([]envelope.Envelope, error) {
	var opened []envelope.Envelope
	for i := range entries {
		e, err := DecodeEntry(entries[i].Key(), EncodeEntry(&entries[i]))
		if err != nil {
			return nil, err
		}
		opened = append(opened, e)
	}
	w := s.Receive(id)
	defer w.Abort()
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	return w.Take("in", Row{Key: key, Value: []byte("from there")}, opened)
}

func octetsOf(t *testing.T, s *Store, id envelope.ID) []byte {
	t.Helper()
	m, err := s.Message(id)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(m)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// same compares entries as they are stored.
func same(a, b []envelope.Envelope) bool {
	return slices.EqualFunc(a, b, func(a, b envelope.Envelope) bool {
		return a.Key() == b.Key() && a.Size == b.Size && bytes.Equal(encodeEntry(&a), encodeEntry(&b))
	})
}

func anyway([]envelope.Envelope) error { return nil }

func TestAMessageMovesAsItIs(t *testing.T) {
	for _, size := range []int{0, 4000, 400 << 10} {
		from, there := open(t, small(vfs.NewMem())), open(t, small(vfs.NewMem()))
		defer from.Close()
		defer there.Close()
		stored, err := accept(from, size, travelled()...)
		if err != nil {
			t.Fatal(err)
		}
		id := stored[0].ID
		bound, err := from.Bind(id, "out", Row{Key: "try"}, anyway)
		if err != nil || !same(bound, stored) {
			t.Fatalf("bound %+v, %v", bound, err)
		}
		content := octetsOf(t, from, id)
		if got, err := receive(there, id, content, "try", bound); err != nil || !same(got, stored) {
			t.Fatalf("arrived as %+v\nnot %+v: %v", got, stored, err)
		}
		if _, err := from.HandOut(id, "out", Row{Key: "try", Value: []byte("gone")}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(octetsOf(t, there, id), content) {
			t.Error("its octets are others")
		}
		if l := from.Ledger(); l != (Ledger{Accepted: 3, HandedOut: 3}) || from.Totals() != (Counts{}) {
			t.Errorf("the books it left: %+v", l)
		}
		if l := there.Ledger(); l != (Ledger{HandedIn: 3, Queued: 3}) || there.Totals().Held != 1 || there.Totals().Deferred != 1 {
			t.Errorf("the books it came to: %+v %+v", l, there.Totals())
		}
		if ids, err := from.Messages("", 10); err != nil || len(ids) != 0 {
			t.Errorf("messages left: %v, %v", ids, err)
		}
		if err := errors.Join(from.Check(), there.Check()); err != nil {
			t.Error(err)
		}
	}
}

func TestATryIsTakenOnce(t *testing.T) {
	s := open(t, small(vfs.NewMem()))
	defer s.Close()
	entries := travelled()
	for i := range entries {
		entries[i].ID, entries[i].Accepted, entries[i].Size = "ID1", epoch, 3000
	}
	if err := s.Refuse("ID1", "in", Row{Key: "withdrawn"}); err != nil {
		t.Fatal(err)
	}
	if _, err := receive(s, "ID1", octets(3000), "withdrawn", entries); !errors.Is(err, ErrTaken) {
		t.Errorf("a try that was withdrawn: %v", err)
	}
	if _, err := receive(s, "ID1", octets(2999), "short", entries); !errors.Is(err, ErrDamaged) {
		t.Errorf("a message without its end: %v", err)
	}
	if _, err := receive(s, "ID1", octets(3000), "try", entries); err != nil {
		t.Fatal(err)
	}
	if _, err := receive(s, "ID1", octets(3000), "another", entries); !errors.Is(err, ErrPresent) {
		t.Errorf("a message that is there: %v", err)
	}
	for _, k := range []envelope.Key{{ID: "ID1", Domain: "one.test"}, {ID: "ID1", Domain: "two.test"}} {
		_, _, err := s.Change(k, func(e *envelope.Envelope) ([]Draft, error) {
			for i := range e.Recipients {
				e.Recipients[i].State = envelope.Delivered
			}
			return nil, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := receive(s, "ID1", octets(3000), "try", entries); !errors.Is(err, ErrTaken) {
		t.Errorf("a repeat, after it was delivered: %v", err)
	}
	if err := s.Refuse("ID1", "in", Row{Key: "try"}); !errors.Is(err, ErrTaken) {
		t.Errorf("a refusal, after it was taken: %v", err)
	}
	if l := s.Ledger(); l != (Ledger{HandedIn: 3, Delivered: 3}) {
		t.Errorf("the books: %+v", l)
	}
	if err := s.Check(); err != nil {
		t.Error(err)
	}
}

func TestBindAsksFirst(t *testing.T) {
	s := open(t, small(vfs.NewMem()))
	defer s.Close()
	id := put(t, s, to("u@one.test"))[0].ID
	no := errors.New("no")
	if _, err := s.Bind(id, "out", Row{Key: "try"}, func([]envelope.Envelope) error { return no }); !errors.Is(err, no) {
		t.Errorf("it said %v", err)
	}
	if _, err := s.Lookup("out", "try"); !errors.Is(err, ErrNotFound) {
		t.Errorf("and has a row: %v", err)
	}
	if _, err := s.Bind("GONE", "out", Row{Key: "try"}, anyway); !errors.Is(err, ErrNotFound) {
		t.Errorf("a message that is not there: %v", err)
	}
}

func TestMessagesPages(t *testing.T) {
	s := open(t, small(vfs.NewMem()))
	defer s.Close()
	var want []envelope.ID
	for range 5 {
		want = append(want, put(t, s, to("u@one.test"))[0].ID)
	}
	first, err := s.Messages("", 3)
	if err != nil {
		t.Fatal(err)
	}
	rest, err := s.Messages(first[2], 3)
	if got := append(first, rest...); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

func TestEveryCrashOfAHandOffLeavesAStateThatWas(t *testing.T) {
	l := newLab(t)
	for _, size := range []int{4000, 400 << 10} {
		entries := travelled()
		id := envelope.ID("0TAKEN" + string(rune('A'+size/100000)))
		for i := range entries {
			entries[i].ID, entries[i].Accepted, entries[i].Size = id, epoch, int64(size)
		}
		key := string(id)
		l.step(true, func() error { _, err := receive(l.s, id, octets(size), key, entries); return err })
		l.step(true, func() error { _, err := l.s.Bind(id, "out", Row{Key: key}, anyway); return err })
		l.step(true, func() error { return l.s.Refuse(id, "in", Row{Key: "other" + key}) })
		l.step(true, func() error { _, err := l.s.HandOut(id, "out", Row{Key: key, Value: []byte("gone")}); return err })
		l.step(true, func() error { return l.s.DropAll("out", []string{key}) })
	}
	t.Logf("%d crashes", l.checked)
}

// handoffDeeds are what a spool acknowledges to another.
func handoffDeeds() []deed {
	takes := func(size int) deed {
		entries := travelled()
		for i := range entries {
			entries[i].ID, entries[i].Accepted, entries[i].Size = "0TAKEN", epoch, int64(size)
		}
		return deed{name: "take from a peer", fails: diskFull, do: func(s *Store, _ envelope.Key) error {
			_, err := receive(s, "0TAKEN", octets(size), "try", entries)
			return err
		}, done: func(s *Store, _ envelope.Key) bool {
			_, err := s.Lookup("in", "try")
			return err == nil && s.Ledger() == Ledger{Accepted: 1, HandedIn: 3, Queued: 4}
		}}
	}
	return []deed{takes(4000), takes(400 << 10), {name: "hand out", do: func(s *Store, k envelope.Key) error {
		if _, err := s.Bind(k.ID, "out", Row{Key: "try"}, anyway); err != nil {
			return err
		}
		_, err := s.HandOut(k.ID, "out", Row{Key: "try", Value: []byte("gone")})
		return err
	}, done: func(s *Store, _ envelope.Key) bool {
		value, err := s.Lookup("out", "try")
		return err == nil && string(value) == "gone" && s.Ledger() == Ledger{Accepted: 1, HandedOut: 1}
	}}}
}
