package crash

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/postrider/postrider/test/daemon"
)

// The parts that need strace run in make crash alone, so that make test needs no package of the system's.
var withStrace = flag.Bool("strace", false, "run the parts that need strace: faults of the kernel, and the trace")

// TestFaultsOfTheKernel is the second half of part 3: a sync or write of the spool that fails ends the process before
// it acknowledges, and nothing that was acknowledged is lost.
func TestFaultsOfTheKernel(t *testing.T) {
	if !*withStrace {
		t.Log("not asked for: -strace")
		return
	}
	binary, err := daemon.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var all Ledger
	ends := 0
	for _, f := range faults() {
		r, ended, err := Inject(t.Context(), Options{Binary: binary, Dir: t.TempDir(), Sessions: 4, Seed: *seed, Log: t.Logf}, f)
		all.add(r.Ledger)
		if ended {
			ends++
		}
		t.Logf("part 3, %v: %v; ended: %v", f, r.Ledger, ended)
		if err == nil {
			err = r.Err()
		}
		if err != nil {
			t.Errorf("%v: %v; missing: %v", f, err, r.Missing)
		}
	}
	t.Logf("part 3, %d faults of the kernel, %d ended the process: %v", len(faults()), ends, all)
	if ends < len(faults())/2 || all.Accepted == 0 {
		t.Error("too little to prove anything")
	}
}

func faults() []Fault {
	var all []Fault
	for _, when := range []int{1, 2, 3, 5, 8, 13, 21, 34, 55} {
		all = append(all, Fault{"fdatasync,fsync", "EIO", when}, Fault{"write,pwrite64", "ENOSPC", when}, Fault{"write,pwrite64", "EIO", when})
	}
	return all
}

// TestNo250BeforeItsSync is part 4.
func TestNo250BeforeItsSync(t *testing.T) {
	if !*withStrace {
		t.Log("not asked for: -strace")
		return
	}
	binary, err := daemon.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const messages = 500
	n, err := Trace(t.Context(), Options{Binary: binary, Dir: t.TempDir(), Sessions: 16, Seed: *seed, Log: t.Logf}, messages)
	t.Logf("part 4, the trace: each of %d answers of 250 was written after the message's sync had returned", n)
	if err != nil {
		t.Fatal(err)
	}
	if n < messages/2 {
		t.Errorf("only %d answers were found", n)
	}
}

// TestTheProverSeesAnAnswerThatComesTooEarly holds it against traces, interleaved as strace does.
func TestTheProverSeesAnAnswerThatComesTooEarly(t *testing.T) {
	const (
		id     = "01M83VAQ3J8VDC90VS5S"
		header = `\213\266\353\350k\0\10\2\0\0\000`
		record = `7 write(5</d/000004.log>, "` + header + `\1m` + id + `\2", 34) = 34`
		begun  = `8 fdatasync(5</d/000004.log> <unfinished ...>`
		done   = `8 <... fdatasync resumed>) = 0`
		failed = `8 <... fdatasync resumed>) = -1 EIO (Input/output error)`
		other  = `8 fdatasync(6</d/000005.log>) = 0`
		answer = `9 write(12<socket:[77]>, "250 2.0.0 queued as ` + id + `\r\n", 42) = 42`
	)
	// The record's key stands across the end of a block.
	first := fmt.Sprintf(`7 write(5</d/000004.log>, "%s%s\1m%s", 32768) = 32768`, header, strings.Repeat("x", blockSize-11-2-8), id[:8])
	second := fmt.Sprintf(`7 write(5</d/000004.log>, "%s%s\2", 24) = 24`, header, id[8:])
	for name, c := range map[string]struct {
		lines []string
		want  string
	}{
		"across two blocks":                {[]string{first, second, begun, done, answer}, "1 <nil>"},
		"the second block is not synced":   {[]string{first, begun, done, second, answer}, "before /d/000004.log was synced"},
		"the second block is missing":      {[]string{first, begun, done, answer}, "not written to the log"},
		"in order":                         {[]string{record, begun, done, answer}, "1 <nil>"},
		"the sync has not returned":        {[]string{record, begun, answer, done}, "before /d/000004.log was synced"},
		"the sync began before the write":  {[]string{begun, record, done, answer}, "before /d/000004.log was synced"},
		"the sync failed":                  {[]string{record, begun, failed, answer}, "before /d/000004.log was synced"},
		"another file was synced":          {[]string{record, other, answer}, "before /d/000004.log was synced"},
		"nothing was written":              {[]string{begun, done, answer}, "not written to the log"},
		"a second sync, not yet completed": {[]string{record, begun, done, begun, answer}, "1 <nil>"},
	} {
		n, err := Proven(strings.NewReader(strings.Join(c.lines, "\n")))
		if got := fmt.Sprint(n, err); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", name, got)
		}
	}
}
