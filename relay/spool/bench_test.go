package spool

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/envelope"
)

// bench is a store on the real disk, driven by 50 goroutines.
func bench(b *testing.B) *Store {
	b.Helper()
	s, err := Open(b.TempDir(), Options{Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	b.SetParallelism(25)
	b.ReportAllocs()
	return s
}

func put4K(b *testing.B, s *Store, text []byte) envelope.Key {
	w := s.Create()
	_, _ = w.Write(text)
	created, err := w.Commit([]byte("Received: from here\r\n"), []envelope.Envelope{to("u@one.test")})
	if err != nil {
		b.Fatal(err)
	}
	return created[0].Key()
}

func BenchmarkPut4K(b *testing.B) {
	s, text := bench(b), octets(4096)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			put4K(b, s, text)
		}
	})
	b.ReportMetric(float64(tableOctets(s))/float64(b.N), "table-B/op")
}

// put1M writes a message in pieces, as the listener hands them over.
func put1M(b *testing.B, s *Store, text []byte) envelope.Key {
	w := s.Create()
	for i := 0; i < len(text); i += 4096 {
		if _, err := w.Write(text[i : i+4096]); err != nil {
			b.Fatal(err)
		}
	}
	created, err := w.Commit([]byte("Received: from here\r\n"), []envelope.Envelope{to("u@one.test")})
	if err != nil {
		b.Fatal(err)
	}
	return created[0].Key()
}

// costs reports processor time, and octets written for each octet of mail.
func costs(b *testing.B, mail int64) func() {
	cpu, written := used(b)
	return func() {
		after, now := used(b)
		b.ReportMetric(float64(after-cpu)/float64(b.N), "cpu-ns/op")
		b.ReportMetric(float64(now-written)/float64(int64(b.N)*mail), "written/octet")
	}
}

// used is what the process has used so far: processor time, and octets written to files.
func used(b *testing.B) (cpu time.Duration, written int64) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		b.Fatal(err)
	}
	var read int64
	if _, err := fmt.Sscanf(string(text), "rchar: %d\nwchar: %d", &read, &written); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), written
}

func BenchmarkPut1M(b *testing.B) {
	s, text := bench(b), octets(1<<20)
	b.SetBytes(1 << 20)
	defer costs(b, 1<<20)()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			put1M(b, s, text)
		}
	})
}

// BenchmarkLife1M is the whole life of a large message: accept, begin, read, end.
func BenchmarkLife1M(b *testing.B) {
	s, text := bench(b), octets(1<<20)
	b.SetBytes(1 << 20)
	defer costs(b, 1<<20)()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			k := put1M(b, s, text)
			if _, err := s.Begin(k, time.Now()); err != nil {
				b.Fatal(err)
			}
			content(s, k.ID)
			if err := end(s, k, map[string]envelope.Disposition{"u@one.test": envelope.Delivered}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkRead1M reads large messages.
func BenchmarkRead1M(b *testing.B) {
	s, text := bench(b), octets(1<<20)
	k := put1M(b, s, text)
	b.SetBytes(1 << 20)
	defer costs(b, 1<<20)()
	for b.Loop() {
		m, err := s.Message(k.ID)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, m); err != nil {
			b.Fatal(err)
		}
		_ = m.Close() // it cannot fail
	}
}

// BenchmarkChange ends entries, as a successful delivery does.
func BenchmarkChange(b *testing.B) {
	s, text := bench(b), octets(4096)
	keys := make([]envelope.Key, b.N)
	for i := range keys {
		keys[i] = putUnsynced(b, s, text, to("u@one.test"))
	}
	var next atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			k := keys[next.Add(1)-1]
			if err := end(s, k, map[string]envelope.Disposition{"u@one.test": envelope.Delivered}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkLife is a message's whole life: accept, begin, read, end.
func BenchmarkLife(b *testing.B) { life(b, bench(b)) }

func life(b *testing.B, s *Store) {
	text, before, written := octets(4096), processorTime(b), tableOctets(s)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			k := put4K(b, s, text)
			if _, err := s.Begin(k, time.Now()); err != nil {
				b.Fatal(err)
			}
			content(s, k.ID)
			if err := end(s, k, map[string]envelope.Disposition{"u@one.test": envelope.Delivered}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N), "µs-cpu/op")
	b.ReportMetric(float64(tableOctets(s)-written)/float64(b.N), "table-B/op")
}

// tableOctets is how much was written into tables so far, by flushes and compactions.
func tableOctets(s *Store) (n uint64) {
	for _, level := range s.db.Metrics().Levels {
		n += level.TableBytesFlushed + level.TableBytesCompacted
	}
	return n
}

// processorTime is what the process has used so far.
func processorTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkDueBehindTombstones looks for the first entry where 100,000 stood before it.
func BenchmarkDueBehindTombstones(b *testing.B) {
	s := bench(b)
	tx := s.begin()
	for i := range int64(100_000) {
		k := envelope.Key{ID: "I", Domain: fmt.Sprint(i)}
		tx.set(dueKey(envelope.Normal, i, k), nil)
		tx.delete(dueKey(envelope.Normal, i, k))
	}
	tx.set(dueKey(envelope.Normal, 200_000, envelope.Key{ID: "I", Domain: "one.test"}), nil)
	if err := tx.commit(synced); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if items, _, err := s.Due(envelope.Normal, Cursor{}, epoch, 10); err != nil || len(items) != 1 {
			b.Fatal(items, err)
		}
	}
}

func putUnsynced(b *testing.B, s *Store, text []byte, entries ...envelope.Envelope) envelope.Key {
	id := s.ids.next(s.now())
	t := s.begin()
	defer t.close()
	t.chunk(id, 0, text, nil)
	created, err := t.create(id, meta{size: int64(len(text)), chunks: 1}, entries)
	if err == nil {
		err = t.commit(later)
	}
	if err != nil {
		b.Fatal(err)
	}
	return created[0].Key()
}

func BenchmarkRecord(b *testing.B) {
	e := to("u@one.test")
	e.Accepted = epoch
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			encodeEntry(&e)
		}
	})
	record := encodeEntry(&e)
	b.Run("decode", func(b *testing.B) {
		for b.Loop() {
			_, _ = decodeEntry(e.Key(), record)
		}
	})
	b.Run("count", func(b *testing.B) {
		for b.Loop() {
			_, _ = decodeCounts(entryKey(e.Key()), record)
		}
	})
}
