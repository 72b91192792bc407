package suppress

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/spool"
)

var now = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func TestHard(t *testing.T) {
	for _, tc := range []struct {
		code             int
		enhanced         string
		atRecipient, not bool // what it means when it answered RCPT, and when it did not
	}{
		{550, "5.1.1", true, true}, {550, "5.1.2", true, true}, {553, "5.1.3", true, true}, {551, "5.1.6", true, true},
		{556, "5.1.10", true, true}, {550, "5.2.1", true, true},
		{550, "", true, false}, {551, "", true, false}, {553, "", true, false},
		{552, "", false, false}, {554, "", false, false}, {521, "", false, false}, {500, "", false, false},
		{550, "5.0.0", true, false}, {552, "5.0.0", false, false}, {550, "5.1.0", false, false}, {550, "5.1.7", false, false}, {550, "5.1.8", false, false},
		{552, "5.2.2", false, false}, {552, "5.2.3", false, false}, {552, "5.3.4", false, false}, {550, "5.4.1", false, false},
		{554, "5.4.4", false, false}, {554, "5.4.6", false, false}, {554, "5.4.7", false, false}, {554, "5.6.0", false, false},
		{550, "5.7.1", false, false}, {550, "5.7.26", false, false}, {550, "5.1.11", false, false}, {550, "5.2.10", false, false},
		{450, "4.1.1", false, false}, {450, "5.1.1", false, false}, {421, "", false, false}, {250, "2.1.5", false, false}, {0, "", false, false},
	} {
		r := reply.Reply{Code: tc.code, Enhanced: tc.enhanced}
		if Hard(r, true) != tc.atRecipient || Hard(r, false) != tc.not {
			t.Errorf("%d %s: %v at RCPT and %v elsewhere", tc.code, tc.enhanced, Hard(r, true), Hard(r, false))
		}
	}
}

func open(t *testing.T, fs vfs.FS) *spool.Store {
	t.Helper()
	store, err := spool.Open("spool", spool.Options{FS: fs, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func add(t *testing.T, l *List, domain, address string, until time.Time) {
	t.Helper()
	if err := l.Add(Entry{Domain: domain, Address: address, Reason: "550 5.1.1 no", Since: now, Until: until}); err != nil {
		t.Fatal(err)
	}
}

func binds(t *testing.T, l *List, domain, address string, at time.Time) bool {
	t.Helper()
	_, found, err := l.Find(domain, address, at)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestFind(t *testing.T) {
	store := open(t, vfs.NewMem())
	defer store.Close()
	l := New(store)
	add(t, l, "News.example", "Bob@Example.com", now.Add(time.Hour))
	for _, tc := range []struct {
		domain, address string
		at              time.Duration
		want            bool
	}{
		{"news.example", "bob@example.com", 0, true},
		{"news.example", "BOB@example.com", time.Hour - 1, true},
		{"other.example", "bob@example.com", 0, false},
		{"news.example", "bob@example.co", 0, false},
		{"news.example", "rob@example.com", 0, false},
		{"news.example", "bob@example.com", -24 * time.Hour, true}, // a clock that was set back
		{"news.example", "bob@example.com", time.Hour, false},
		{"news.example", "bob@example.com", 0, false}, // swept by the one before
	} {
		if got := binds(t, l, tc.domain, tc.address, now.Add(tc.at)); got != tc.want {
			t.Errorf("%s, %s after %s: %v", tc.domain, tc.address, tc.at, got)
		}
	}
	if rows, err := store.Rows(table, "", 10); err != nil || len(rows) > 0 {
		t.Errorf("left: %v, %v", rows, err)
	}
	add(t, l, "news.example", "bob@example.com", now.Add(time.Minute))
	add(t, l, "news.example", "bob@example.com", now.Add(time.Hour))
	if e, found, err := l.Find("news.example", "bob@example.com", now.Add(time.Minute)); !found || err != nil || e.Reason != "550 5.1.1 no" {
		t.Errorf("a renewed entry: %+v, %v, %v", e, found, err)
	}
}

func TestRemove(t *testing.T) {
	store := open(t, vfs.NewMem())
	defer store.Close()
	l := New(store)
	add(t, l, "news.example", "Bob@example.com", now.Add(time.Hour))
	for i, want := range []bool{true, false} {
		if removed, err := l.Remove("news.example", "bob@EXAMPLE.com"); removed != want || err != nil {
			t.Errorf("removal %d: %v, %v", i, removed, err)
		}
	}
	if binds(t, l, "news.example", "bob@example.com", now) {
		t.Error("it is still listed")
	}
}

func TestPages(t *testing.T) {
	store := open(t, vfs.NewMem())
	defer store.Close()
	l := New(store)
	for i := range 10 {
		add(t, l, "b.example", fmt.Sprintf("u%d@x.test", i), now.Add(time.Duration(i%2)*time.Hour)) // half have expired
	}
	add(t, l, "a.example", "first@x.test", now.Add(time.Hour))
	add(t, l, "b.example.org", "last@x.test", now.Add(time.Hour))
	for _, tc := range []struct {
		domain string
		want   string
	}{
		{"b.example", "u1@x.test u3@x.test u5@x.test u7@x.test u9@x.test "},
		{"B.example", "u1@x.test u3@x.test u5@x.test u7@x.test u9@x.test "},
		{"", "first@x.test u1@x.test u3@x.test u5@x.test u7@x.test u9@x.test last@x.test "},
		{"b", ""},
		{"zzz.example", ""},
	} {
		for limit := range 8 {
			got, after := "", ""
			for pages := 0; pages == 0 || after != ""; pages++ {
				page, next, err := l.Page(tc.domain, after, limit+1, now)
				if err != nil || len(page) > limit+1 || pages > 20 {
					t.Fatalf("%d entries on page %d, %v", len(page), pages, err)
				}
				for _, e := range page {
					got += e.Address + " "
				}
				after = next
			}
			if got != tc.want {
				t.Errorf("%q by %d: %q, want %q", tc.domain, limit+1, got, tc.want)
			}
		}
	}
}

func TestSweep(t *testing.T) {
	store := open(t, vfs.NewMem())
	defer store.Close()
	l := New(store)
	for i := range 30 {
		add(t, l, "b.example", fmt.Sprintf("u%d@x.test", i), now.Add(time.Duration(i%3)*time.Hour))
	}
	if n, err := l.Sweep(t.Context(), now.Add(time.Hour)); n != 20 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	rows, err := store.Rows(table, "", 100)
	if err != nil || len(rows) != 10 {
		t.Errorf("%d are left, %v", len(rows), err)
	}
}

// TestSurvivesACrash: what Add said is listed is listed after power was lost.
func TestSurvivesACrash(t *testing.T) {
	mem := vfs.NewCrashableMem()
	store := open(t, mem)
	defer store.Close()
	add(t, New(store), "news.example", "bob@example.com", now.Add(time.Hour))
	again := open(t, mem.CrashClone(vfs.CrashCloneCfg{}))
	defer again.Close()
	if !binds(t, New(again), "news.example", "bob@example.com", now) {
		t.Error("it is forgotten")
	}
}

// broken is a store that cannot be read.
type broken struct{ Store }

func (broken) Lookup(string, string) ([]byte, error) { return nil, errors.New("no") }

// TestTroubleIsNotAnAnswer: mail is neither refused nor let through because the list cannot be read.
func TestTroubleIsNotAnAnswer(t *testing.T) {
	if _, found, err := New(broken{}).Find("a.example", "b@c.test", now); found || err == nil {
		t.Errorf("%v, %v", found, err)
	}
}

func TestMergeKeepsWhatBindsLonger(t *testing.T) {
	l := New(open(t, vfs.NewMem()))
	for _, hours := range []int{2, 3, 1} {
		err := l.Merge(Entry{Domain: "shop.test", Address: "Bob@x.test", Reason: fmt.Sprint(hours), Until: now.Add(time.Duration(hours) * time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
	}
	if e, found, err := l.Find("shop.test", "bob@x.test", now); err != nil || !found || e.Reason != "3" {
		t.Errorf("%+v, %v, %v", e, found, err)
	}
}
