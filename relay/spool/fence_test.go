package spool

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestWhoMayOpenTheSpool(t *testing.T) {
	for name, tc := range map[string]struct {
		was    fenceMark
		token  int64
		holder string
		past   []string
		fenced bool
	}{
		"nobody had it":                      {fenceMark{}, 0, "a", nil, false},
		"the same again":                     {fenceMark{Token: 1, Holder: "a", Opener: "x"}, 1, "a", nil, false},
		"the next":                           {fenceMark{Token: 1, Holder: "a", Opener: "x"}, 1, "b", []string{"a"}, false},
		"the next, with a higher token":      {fenceMark{Token: 1, Holder: "a", Opener: "x", Past: []string{"0"}}, 2, "b", []string{"a", "0"}, false},
		"one with an older token":            {fenceMark{Token: 2, Holder: "a", Opener: "x"}, 1, "b", nil, true},
		"the same, with an older token":      {fenceMark{Token: 2, Holder: "a", Opener: "x"}, 1, "a", nil, true},
		"one that was followed":              {fenceMark{Token: 1, Holder: "b", Opener: "x", Past: []string{"a"}}, 1, "a", nil, true},
		"one that was followed, and a token": {fenceMark{Token: 1, Holder: "c", Opener: "x", Past: []string{"b", "a"}}, 2, "a", nil, true},
	} {
		is, err := tc.was.next(tc.token, tc.holder)
		if fenced := errors.Is(err, ErrFenced); fenced != tc.fenced || !fenced && err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if tc.fenced {
			continue
		}
		if is.Token != tc.token || is.Holder != tc.holder || !slices.Equal(is.Past, tc.past) || is.Opener == "" || is.Opener == tc.was.Opener {
			t.Errorf("%s: %+v", name, is)
		}
	}
}

func TestAFenceThatCannotBeReadIsNotPassed(t *testing.T) {
	o := small(vfs.NewMem())
	o.Holder = "a"
	must(t, open(t, o).Close())
	must(t, writeSynced(o.FS, "spool/"+fenceFile, "{"))
	if _, err := Open("spool", o); !errors.Is(err, ErrFenced) || !strings.Contains(err.Error(), "Remove it") {
		t.Errorf("opened with %v", err)
	}
}

// unlocked is shared storage whose locks do not reach over a partition.
type unlocked struct{ vfs.FS }

// Lock implements vfs.FS.
func (unlocked) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func sharedOptions(fs vfs.FS, holder string, token int64) Options {
	o := small(fs)
	o.Holder, o.Token, o.fenceEvery = holder, token, 100*time.Millisecond
	return o
}

// storages are directories that several machines share.
func storages() map[string]vfs.FS {
	return map[string]vfs.FS{"locks do not reach": unlocked{vfs.Default}, "locks reach": vfs.Default}
}

// childEnv makes the test binary a process that has the spool open: it says so, and stores a message for each line that
// it reads, or looks after its spool without end.
const childEnv = "POSTRIDER_TEST_SPOOL"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		child(dir)
		return
	}
	os.Exit(m.Run())
}

func child(dir string) {
	var token int64
	_, _ = fmt.Sscan(os.Getenv("TOKEN"), &token)
	s, err := Open(dir, sharedOptions(storages()[os.Getenv("STORAGE")], os.Getenv("HOLDER"), token))
	if err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
	fmt.Println("open")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		for in.Text() == "rest" {
			_ = s.Hold()
			time.Sleep(time.Millisecond)
		}
		_, err := accept(s, 100, to("a@one.test"))
		fmt.Println("stored", err)
	}
}

// process is such a process.
type process struct {
	*exec.Cmd
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
}

func startChild(t *testing.T, dir, storage, holder string, token int64) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0]), t: t}
	p.Env = append(os.Environ(), childEnv+"="+dir, "STORAGE="+storage, "HOLDER="+holder, fmt.Sprintf("TOKEN=%d", token))
	out, err := p.StdoutPipe()
	must(t, err)
	p.in, err = p.StdinPipe()
	must(t, err)
	must(t, p.Start())
	p.out = bufio.NewReader(out)
	t.Cleanup(func() { _ = p.Process.Kill(); _ = p.Wait() })
	return p
}

func (p *process) say(line string) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		p.t.Error(err)
	}
}

func (p *process) hears(want string) {
	p.t.Helper()
	if line, err := p.out.ReadString('\n'); !strings.Contains(line, want) || err != nil {
		p.t.Fatalf("the process said %q (%v), not %q", line, err, want)
	}
}

// ended waits for the end of the process, which stores nothing any more.
func (p *process) ended(code int) {
	p.t.Helper()
	rest, err := io.ReadAll(p.out)
	_ = p.Wait()
	if err != nil || strings.Contains(string(rest), "stored") || p.ProcessState.ExitCode() != code {
		p.t.Fatalf("the process ended with %v, and said %q", p.ProcessState, rest)
	}
}

// TestTwoProcessesOnOneDirectory: the former one was only cut off or asleep when its volume was given to another. It
// stores nothing any more, busy or at rest, and does not get the spool back.
func TestTwoProcessesOnOneDirectory(t *testing.T) {
	for _, tc := range []struct{ storage, then string }{
		{"locks do not reach", "put"}, {"locks do not reach", "rest"}, {"locks reach", "rest"},
	} {
		t.Run(tc.storage+", "+tc.then, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			former := startChild(t, dir, tc.storage, "a", 1)
			former.hears("open")
			former.say("put")
			former.hears("stored <nil>")
			if tc.then == "put" { // it sleeps, and wakes up too late
				must(t, former.Process.Signal(syscall.SIGSTOP))
			} else {
				former.say("rest")
			}
			s, err := Open(dir, sharedOptions(storages()[tc.storage], "b", 2))
			must(t, err)
			put(t, s, to("b@one.test"))
			if tc.then == "put" {
				must(t, former.Process.Signal(syscall.SIGCONT))
				former.say("put")
			}
			former.ended(1)
			for _, again := range []*process{startChild(t, dir, tc.storage, "a", 1), startChild(t, dir, tc.storage, "a", 2), startChild(t, dir, tc.storage, "c", 1)} {
				again.hears("spool")
				again.ended(3)
			}
			put(t, s, to("c@one.test"))
			if l := s.Ledger(); l.Accepted != 3 || l.Queued != 3 {
				t.Errorf("the books: %+v", l)
			}
			must(t, s.Check())
			must(t, s.Close())
		})
	}
}

// TestAHigherTokenIsStoredWhileTheSpoolIsOpen, and who closed the spool is not waited for.
func TestAHigherTokenIsStoredWhileTheSpoolIsOpen(t *testing.T) {
	fs := vfs.NewMem()
	o := small(fs)
	o.Holder, o.Token, o.fenceEvery = "a", 1, time.Hour
	s := open(t, o)
	must(t, errors.Join(s.Raise(3), s.Raise(2), s.Close()))
	if m, err := readFence(fs, "spool"); m.Token != 3 || !m.Released || err != nil {
		t.Errorf("stored %+v, %v", m, err)
	}
	o.Holder = "b"
	if _, err := Open("spool", o); !errors.Is(err, ErrFenced) {
		t.Errorf("opened with an older token: %v", err)
	}
	o.Token = 3
	must(t, open(t, o).Close())
}

// TestWhoEndsDoesNotTakeTheSpoolBack from one that was given it a moment ago.
func TestWhoEndsDoesNotTakeTheSpoolBack(t *testing.T) {
	fs := vfs.NewMem()
	o := small(fs)
	o.Holder, o.Token, o.fenceEvery = "a", 1, time.Hour
	s := open(t, o)
	o.Holder, o.Token, o.fenceEvery = "b", 2, time.Millisecond
	if _, err := Open("spool", o); err == nil {
		t.Error("two have it open")
	}
	if err := s.Close(); !errors.Is(err, ErrFenced) {
		t.Errorf("closed with %v", err)
	}
	if m, err := readFence(fs, "spool"); m.Holder != "b" || m.Released || err != nil {
		t.Errorf("stored %+v, %v", m, err)
	}
}
