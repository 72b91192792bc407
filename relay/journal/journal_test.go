package journal

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/relay/event"
)

func sample(id string) event.Event {
	return event.Event{
		Type: event.Delivered, At: time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC), SpoolID: id, Recipient: "b@example.net",
		From: "a@example.org", Tenant: "example.org", Origin: "Submitted", Site: "mx.example.net",
		NextHop: "mx1.example.net[192.0.2.1]:25", Reply: "250 2.0.0 Ok: queued as 123456789", Attempt: 1,
		TLS: "TLS1.3 TLS_AES_128_GCM_SHA256",
	}
}

func mustFind(t *testing.T, j *Journal, id string, want int) []event.Event {
	t.Helper()
	found, err := j.Find(id)
	if err != nil || len(found) != want {
		t.Fatalf("found %d events of %s (%v), want %d", len(found), id, err, want)
	}
	return found
}

func size(t *testing.T, dir string) (files int, total int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	return len(entries), total
}

func TestFindsWhatWasRecordedAlsoAfterARestart(t *testing.T) {
	dir := t.TempDir()
	j := New(Options{Dir: dir})
	j.Record(sample("A1"))
	j.Record(sample("A10")) // another id that begins alike
	stranger := sample("B2")
	stranger.Reply = `550 5.1.1 about "A1" <b&c>` // a reply that quotes an id
	j.Record(stranger)
	if got := mustFind(t, j, "A1", 1); got[0] != sample("A1") {
		t.Errorf("found %+v", got)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	j.Record(sample("A1"))
	j.Run(ended)

	again := New(Options{Dir: dir})
	mustFind(t, again, "A1", 2)
	if got := mustFind(t, again, "B2", 1); got[0] != stranger {
		t.Errorf("found %+v", got)
	}
	mustFind(t, again, "nothing", 0)
}

func TestADSNIsFoundByItsOwnID(t *testing.T) {
	j := New(Options{Dir: t.TempDir()})
	j.Record(event.Event{Type: event.Reported, SpoolID: "A", Recipient: "b@example.net", Reply: "DSN", Reason: "failed"})
	j.Record(event.Event{Type: event.Accepted, SpoolID: "DSN", Recipient: "a@example.org", Origin: "Internal"})
	if got := mustFind(t, j, "DSN", 2); got[0].SpoolID != "A" {
		t.Errorf("found %+v; want first what it reports", got)
	}
	mustFind(t, j, "A", 1)
}

// TestIsBounded: the ring never holds more than its files, and the newest events are those that are kept.
func TestIsBounded(t *testing.T) {
	dir := t.TempDir()
	j := New(Options{Dir: dir, FileBytes: 4 << 10, Files: 3})
	for i := range 200 {
		j.Record(sample(fmt.Sprint("ID", i)))
		j.flush()
	}
	if files, total := size(t, dir); files != 3 || total > 3*4<<10 {
		t.Errorf("%d files, %d octets", files, total)
	}
	mustFind(t, j, "ID199", 1)
	mustFind(t, j, "ID0", 0)
	if j.Dropped() != 0 {
		t.Errorf("%d dropped", j.Dropped())
	}
}

func TestALineThatACrashCutShortSpoilsNoOther(t *testing.T) {
	dir := t.TempDir()
	j := New(Options{Dir: dir})
	j.Record(sample("A"))
	j.flush()
	path := filepath.Join(dir, fmt.Sprintf(pattern, 1))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(whole, whole[:40]...), 0o600); err != nil {
		t.Fatal(err)
	}
	again := New(Options{Dir: dir})
	again.Record(sample("B"))
	mustFind(t, again, "A", 1)
	mustFind(t, again, "B", 1)
}

// TestTroubleIsCountedAndToldOnce: what cannot be written is dropped, the log hears of the beginning and the end, and
// the journal goes on by itself.
func TestTroubleIsCountedAndToldOnce(t *testing.T) {
	var log bytes.Buffer
	dir := filepath.Join(t.TempDir(), "journal")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // a file where the directory should be
		t.Fatal(err)
	}
	j := New(Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
	for range 3 {
		j.Record(sample("A"))
		j.flush()
	}
	if j.Dropped() != 3 || strings.Count(log.String(), "level=WARN") != 1 {
		t.Errorf("%d dropped, log:\n%s", j.Dropped(), &log)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	j.Record(sample("B"))
	mustFind(t, j, "B", 1)
	if !strings.Contains(log.String(), "is written again") {
		t.Errorf("log:\n%s", &log)
	}
}

// TestNeverWaitsForTheDisk: while a write hangs, Record returns, and memory is bounded.
func TestNeverWaitsForTheDisk(t *testing.T) {
	j := New(Options{Dir: t.TempDir()})
	j.write.Lock() // a write that hangs
	for range 3 * maxPending / 300 {
		j.Record(sample("A"))
	}
	if n := j.pending.Len(); n > maxPending+1000 || j.Dropped() == 0 {
		t.Errorf("%d octets pending, %d events dropped", n, j.Dropped())
	}
	j.write.Unlock()
}

func TestRunWritesEachSecondAndAtTheEnd(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		j := New(Options{Dir: dir})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); j.Run(ctx) }()
		j.Record(sample("A"))
		time.Sleep(flushEvery + time.Millisecond)
		_, first := size(t, dir)
		j.Record(sample("B"))
		stop()
		<-done
		if _, second := size(t, dir); first == 0 || second <= first {
			t.Errorf("%d octets after a second, %d at the end", first, second)
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	j := New(Options{Dir: b.TempDir()})
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { defer close(done); j.Run(ctx) }()
	e := sample("01M83K1R6SB9GKN4DS06")
	b.ReportAllocs()
	for b.Loop() {
		j.Record(e)
	}
	stop()
	<-done
	b.ReportMetric(float64(j.Dropped())/float64(b.N), "dropped/op")
}

// BenchmarkFind searches a full journal of the default size.
func BenchmarkFind(b *testing.B) {
	j := New(Options{Dir: b.TempDir()})
	for i := range 200_000 {
		j.Record(sample(fmt.Sprintf("01M83K1R6SB9GK%06d", i)))
		if i%1000 == 0 {
			j.flush()
		}
	}
	for b.Loop() {
		if found, err := j.Find("01M83K1R6SB9GK000007"); err != nil || len(found) > 1 {
			b.Fatal(found, err)
		}
	}
}
