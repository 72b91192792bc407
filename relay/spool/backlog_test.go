package spool

import (
	flags "flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/envelope"
)

var (
	backlogEntries = flags.Int("entries", 50_000, "deferred messages in the spool of the benchmarks of a backlog")
	backlogDir     = flags.String("backlog", "", "where the benchmarks of a backlog find their spool, and make it if it is not there; a directory of the test when empty")
)

// blackHole is the destination to which a tenth of a backlog is addressed. The rest goes to a thousand others.
const blackHole = "hole.test"

// backlog is the directory of a closed spool with deferred messages of 4 KiB that do not compress, due within hours.
func backlog(b *testing.B) (dir string) {
	b.Helper()
	dir = *backlogDir
	if dir == "" {
		dir = b.TempDir()
	}
	if _, err := os.Stat(filepath.Join(dir, markFile)); err == nil {
		return dir
	}
	s, err := Open(dir, Options{Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	body, chance := make([]byte, 4096), rand.NewChaCha8([32]byte{7})
	for i := range *backlogEntries {
		_, _ = chance.Read(body) // it never fails
		putUnsynced(b, s, body, deferred(i))
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	return dir
}

// deferred is the i-th entry of a backlog.
func deferred(i int) envelope.Envelope {
	domain := fmt.Sprintf("d%d.test", i%1000)
	if i%10 == 0 {
		domain = blackHole
	}
	now := time.Now()
	e := to(fmt.Sprintf("user%d@%s", i, domain))
	e.Tenant, e.Recipients[0].Attempts = "sender.test", 3
	e.Recipients[0].Due = now.Add(time.Hour + time.Duration(i%3600)*time.Second)
	e.Recipients[0].Last = &envelope.Outcome{At: now, NextHop: "mx." + domain + ":25"}
	e.Recipients[0].Last.Reply.Code, e.Recipients[0].Last.Reply.Enhanced = 451, "4.3.0"
	e.Recipients[0].Last.Reply.Text = "try again later"
	return e
}

// sizeOf is how many octets the files of a directory hold.
func sizeOf(b *testing.B, dir string) (size int64) {
	b.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return size
}

// BenchmarkOpen opens a spool with a backlog.
func BenchmarkOpen(b *testing.B) {
	dir := backlog(b)
	for b.Loop() {
		s, err := Open(dir, Options{Logger: quiet})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(sizeOf(b, dir))/float64(*backlogEntries*4096), "disk/payload")
}

// BenchmarkListFirstPage lists what is queued for the black hole, and everything.
func BenchmarkListFirstPage(b *testing.B) {
	s, err := Open(backlog(b), Options{Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for name, f := range map[string]Filter{"all": {}, "domain": {Domain: blackHole}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if page, err := s.List(f, envelope.Key{}, 100); err != nil || len(page) != 100 {
					b.Fatal(len(page), err)
				}
			}
		})
	}
}

// BenchmarkLifeBesideABacklog is BenchmarkLife in a spool in which mail waits.
func BenchmarkLifeBesideABacklog(b *testing.B) {
	s, err := Open(backlog(b), Options{Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	b.SetParallelism(25)
	b.ReportAllocs()
	life(b, s)
}
