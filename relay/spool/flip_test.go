package spool

import (
	"errors"
	flags "flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postrider/postrider/relay/envelope"
)

var flips = flags.Int("flips", 15, "how many bits are flipped in each kind of file; make crash asks for more")

// library is a spool with mail of all kinds, in tables and in the log, whose process died.
type library struct {
	fs *vfs.MemFS
	// want is what every message of it holds, by its id.
	want   map[envelope.ID]string
	queued int64
	dump   string
}

// newLibrary makes one. closed says that its process ended in order.
func newLibrary(t *testing.T, closed bool, large int) *library {
	t.Helper()
	mem := newCrashable()
	s := open(t, small(mem))
	var all []envelope.Envelope
	for i := range 80 {
		created, err := accept(s, 100+i*97+i%20/19*large, to(fmt.Sprintf("a%d@one.test", i)), to(fmt.Sprintf("b%d@two.test", i)))
		must(t, err)
		all = append(all, created...)
	}
	for i, e := range all {
		if i%5 == 0 {
			dsn := Draft{Content: octets(700 + i), Entries: []envelope.Envelope{to(fmt.Sprintf("s%d@sender.test", i))}}
			must(t, end(s, e.Key(), map[string]envelope.Disposition{e.Recipients[0].Address: envelope.Failed}, dsn))
		}
	}
	must(t, hold(s, all[1].Key(), "why not"))
	must(t, s.Put("table", "key", []byte("value")))
	l := &library{want: map[envelope.ID]string{}, queued: s.Ledger().Queued}
	var err error
	l.dump, err = dump(s)
	must(t, err)
	entries, err := s.List(Filter{}, envelope.Key{}, 1<<20)
	must(t, err)
	for _, e := range entries {
		l.want[e.ID] = content(s, e.ID)
	}
	if closed {
		must(t, s.Close())
	}
	marked(t, mem, s.mark)
	l.fs = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: newRand()})
	if !closed {
		must(t, s.Close())
	}
	return l
}

// marked waits until the mark is as new as the log.
func marked(t *testing.T, fs vfs.FS, m *mark) {
	t.Helper()
	for patience := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		k, err := readMark(fs, "spool")
		must(t, err)
		m.mu.Lock()
		same := slices.Equal(k.logs, m.known.logs)
		m.mu.Unlock()
		if same {
			return
		}
		if time.Now().After(patience) {
			t.Fatal("the mark stays behind")
		}
	}
}

// files are the names of the spool's files, by kind; of the tables those that are in force.
func (l *library) files(t *testing.T) map[string][]string {
	t.Helper()
	names, err := l.fs.List("spool")
	must(t, err)
	slices.Sort(names)
	live, err := liveTables(small(l.fs), "spool", nil)
	must(t, err)
	files := map[string][]string{}
	for _, name := range names {
		kind := strings.TrimLeft(name, "0123456789")
		kind, _, _ = strings.Cut(kind, "-0")
		info, err := l.fs.Stat("spool/" + name)
		must(t, err)
		if file, n := parseFile(name); info.Size() > 0 && (file != tableFile || slices.Contains(live, n)) {
			files[kind] = append(files[kind], name)
		}
	}
	return files
}

// flip changes one bit of a file.
func flip(t *testing.T, fs vfs.FS, name string, rng *rand.Rand) string {
	t.Helper()
	text, err := readAll(fs, "spool/"+name)
	must(t, err)
	b := []byte(text)
	at, bit := rng.IntN(len(b)), rng.IntN(8)
	b[at] ^= 1 << bit
	must(t, writeSynced(fs, "spool/"+name, string(b)))
	return fmt.Sprintf("bit %d of octet %d of %d of %s", bit, at, len(b), name)
}

// TestFlippedBits flips one bit of a spool's files after another: then everything is there, or the spool is refused and
// nothing was removed, or, in a segment, the one message is damaged whose octet it was. Never is mail lost without a word, and never is a changed octet handed out. What is refused is
// salvaged.
func TestFlippedBits(t *testing.T) {
	all := map[string]int{}
	for _, closed := range []bool{false, true} {
		l := newLibrary(t, closed, 300<<10)
		files := l.files(t)
		for _, kind := range slices.Sorted(maps.Keys(files)) {
			count := map[string]int{}
			rng := newRand()
			for n := range *flips {
				fs := l.fs.CrashClone(vfs.CrashCloneCfg{})
				what := flip(t, fs, files[kind][rng.IntN(len(files[kind]))], rng)
				judge := l.judge
				if kind == ".seg" {
					judge = l.judgeSegment
				}
				verdict := judge(t, fs, what, n%10 == 0)
				count[verdict]++
				all[verdict]++
			}
			t.Logf("closed in order: %v, %-15s %d files: %v", closed, kind, len(files[kind]), count)
			if kind == ".seg" && count["aside"] < *flips*9/10 {
				t.Errorf("%s: only %d of %d were met: the test proves little", kind, count["aside"], *flips)
			}
			if (kind == ".sst" || kind == "MANIFEST") && count["refused"] < *flips*9/10 {
				t.Errorf("%s: only %d of %d were noticed: the test proves little", kind, count["refused"], *flips)
			}
		}
	}
	t.Logf("part 5, %d flipped bits: %d times all was there, %d times the spool was refused, %d times one message was kept aside, %d times mail was lost or changed without a word",
		all["whole"]+all["refused"]+all["aside"]+all["changed"], all["whole"], all["refused"], all["aside"], all["changed"])
}

// judge opens a spool with a flipped bit.
func (l *library) judge(t *testing.T, fs *vfs.MemFS, what string, rescue bool) string {
	t.Helper()
	before := image(t, fs)
	s, err := Open("spool", small(fs))
	if err == nil {
		defer s.Close()
		if got, err := dump(s); err != nil || got != l.dump {
			t.Errorf("%s: opened, but changed: %v", what, err)
			return "changed"
		}
		return "whole"
	}
	if !errors.Is(err, ErrRefused) && !strings.Contains(err.Error(), "newer program") {
		t.Errorf("%s: %v", what, err)
	}
	if errors.Is(err, ErrRefused) && !strings.Contains(err.Error(), "relay salvage") {
		t.Errorf("%s: does not say what to do: %v", what, err)
	}
	if after := image(t, fs); after != before {
		t.Errorf("%s: refused, but touched:\n%s\n%s", what, before, after)
	}
	if rescue {
		l.rescue(t, fs, what)
	}
	return "refused"
}

// image is the names and checksums of all files.
func image(t *testing.T, fs vfs.FS) string {
	t.Helper()
	names, err := fs.List("spool")
	must(t, err)
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		text, err := readAll(fs, "spool/"+name)
		must(t, err)
		fmt.Fprintln(&b, name, len(text), checksum(nil, []byte(text)))
	}
	return b.String()
}

// rescue salvages a damaged spool: what it finds is what was stored, and what is missing is said.
func (l *library) rescue(t *testing.T, fs *vfs.MemFS, what string) {
	t.Helper()
	before := image(t, fs)
	found, err := Salvage("spool", "out", small(fs))
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if after := image(t, fs); after != before {
		t.Errorf("%s: salvage touched the spool", what)
	}
	s, err := Open("out/spool", small(fs))
	if err != nil {
		t.Errorf("%s: what was salvaged: %v", what, err)
		return
	}
	defer s.Close()
	must(t, s.Check())
	entries, err := s.List(Filter{}, envelope.Key{}, 1<<20)
	must(t, err)
	for _, e := range entries {
		if want, known := l.want[e.ID]; known && content(s, e.ID) != want {
			t.Errorf("%s: message %s is not what it was", what, e.ID)
		}
	}
	queued := s.Ledger().Queued
	if queued != found.Recipients || queued < l.queued && found.Complete() {
		t.Errorf("%s: %d of %d recipients: %+v", what, queued, l.queued, found)
	}
	if queued*10 < l.queued*5 {
		t.Errorf("%s: only %d of %d recipients: %v", what, queued, l.queued, found.Findings)
	}
	if value, err := s.Lookup("table", "key"); found.Complete() && string(value) != "value" {
		t.Errorf("%s: the table: %q, %v", what, value, err)
	}
}

// TestSalvageOfAHealthySpool brings everything along.
func TestSalvageOfAHealthySpool(t *testing.T) {
	for _, closed := range []bool{false, true} {
		l := newLibrary(t, closed, 300<<10)
		found, err := Salvage("spool", "out", small(l.fs))
		must(t, err)
		if !found.Complete() || found.Recipients != l.queued || len(found.Findings) > 0 {
			t.Errorf("%+v, want %d", found, l.queued)
		}
		l.rescueAgain(t)
	}
}

// rescueAgain: a directory that holds something already is refused.
func (l *library) rescueAgain(t *testing.T) {
	t.Helper()
	if _, err := Salvage("spool", "out", small(l.fs)); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("again: %v", err)
	}
}

// TestWhatIsGoneIsNotMadeAnew takes files away.
func TestWhatIsGoneIsNotMadeAnew(t *testing.T) {
	l := newLibrary(t, false, 300<<10)
	names, err := l.fs.List("spool")
	must(t, err)
	for _, name := range names {
		if name == "LOCK" || strings.HasPrefix(name, "OPTIONS") || name == schemaFile {
			continue
		}
		judge := l.judge
		if kind, _ := parseFile(name); kind == segmentFile {
			judge = l.judgeSegment
		}
		fs := l.fs.CrashClone(vfs.CrashCloneCfg{})
		must(t, fs.Remove("spool/"+name))
		judge(t, fs, "without "+name, true)
	}
	fs := l.fs.CrashClone(vfs.CrashCloneCfg{})
	for _, name := range names {
		if strings.HasPrefix(name, "marker.manifest") || name == markFile || name == schemaFile {
			must(t, fs.Remove("spool/"+name))
		}
	}
	if l.judge(t, fs, "without its markers", false) != "refused" {
		t.Error("made anew")
	}
}

// TestAStoreWhoseMakingWasBrokenOffIsMade: the name of its MANIFEST is not on disk, that of the marker is.
func TestAStoreWhoseMakingWasBrokenOffIsMade(t *testing.T) {
	fs := vfs.NewMem()
	must(t, fs.MkdirAll("spool", 0o700))
	must(t, writeSynced(fs, "spool/marker.manifest.000001.MANIFEST-000001", ""))
	s := open(t, small(fs))
	put(t, s, to("a@one.test"))
	must(t, errors.Join(s.Check(), s.Close()))
	s = open(t, small(fs))
	defer s.Close()
	if s.Ledger().Queued != 1 {
		t.Errorf("%+v", s.Ledger())
	}
}

// TestBlocksThatAreNotVerifiedAreNotHandedOut: beyond VerifyBytes a damaged block is met when it is read.
func TestBlocksThatAreNotVerifiedAreNotHandedOut(t *testing.T) {
	l := newLibrary(t, true, 0) // pebble takes seconds for a large block that is damaged
	tables := l.files(t)[".sst"]
	rng := newRand()
	aside := 0
	for range *flips {
		fs := l.fs.CrashClone(vfs.CrashCloneCfg{})
		what := flip(t, fs, tables[rng.IntN(len(tables))], rng)
		o := small(fs)
		o.VerifyBytes = 1
		s, err := Open("spool", o)
		if err != nil {
			if !errors.Is(err, ErrRefused) {
				t.Errorf("%s: %v", what, err)
			}
			continue
		}
		for id, want := range l.want {
			got, err := read(s, id)
			if err != nil {
				aside++
			}
			if err != nil && !errors.Is(err, ErrDamaged) || err == nil && got != want {
				t.Errorf("%s: message %s: %s, %v", what, id, got, err)
			}
		}
		must(t, s.Close())
	}
	if aside == 0 {
		t.Error("no damaged block was met")
	}
}

// read is content, with the error apart.
func read(s *Store, id envelope.ID) (string, error) {
	m, err := s.Message(id)
	if err != nil {
		return "", err
	}
	defer m.Close()
	if _, err := io.Copy(io.Discard, m); err != nil {
		return "", err
	}
	return content(s, id), nil
}
