package crash

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Fault is an error that the kernel gives the relay, by way of strace, in what it does with the spool's files.
type Fault struct {
	// Calls are system calls, with commas between them; Errno is what they fail with.
	Calls, Errno string
	// When is the number of the call in a thread from which on all of them fail.
	When int
}

func (f Fault) String() string {
	return fmt.Sprintf("%s: %s from call %d on", f.Calls, f.Errno, f.When)
}

// faultTime is how long the relay is loaded when no fault ends it.
const faultTime = 1500 * time.Millisecond

// Inject loads a relay that meets a fault, starts it again without, lets it drain, and reckons up. ended says that the
// fault ended the process, as it should for all but those that are never reached.
func Inject(ctx context.Context, o Options, f Fault) (result Result, ended bool, err error) {
	r := newRun(o)
	r.result.InFlight = connections
	if err := r.setUp(); err != nil {
		return r.result, false, err
	}
	defer r.dns.Close()
	defer r.sink.Close()
	s, err := r.strace(append(r.spoolPaths(), "-e", "trace="+f.Calls, "-e",
		fmt.Sprintf("inject=%s:error=%s:when=%d+", f.Calls, f.Errno, f.When))...)
	if err != nil {
		return r.result, false, err
	}
	err = r.load(ctx, func(ctx context.Context) error {
		ended = s.ends(ctx, faultTime)
		return s.kill()
	})
	if err == nil {
		err = r.relay.Start(ctx)
	}
	if err == nil {
		err = errors.Join(r.drain(ctx), r.relay.Stop())
	}
	r.book.close(&r.result)
	return r.result, ended, err
}

// spoolPaths has strace look at nothing but the spool: it can be told of files that do not exist yet.
func (r *run) spoolPaths() []string {
	dir := filepath.Join(r.relay.DataDir(), "spool")
	paths := []string{"-P", dir, "-P", filepath.Join(dir, "POSTRIDER-MARK")}
	for n := range 40 {
		for _, name := range []string{"%06d.log", "%06d.sst", "%06d.seg", "MANIFEST-%06d"} {
			paths = append(paths, "-P", filepath.Join(dir, fmt.Sprintf(name, n)))
		}
	}
	return paths
}

// traced is the relay below strace.
type traced struct {
	process *exec.Cmd
	ended   chan struct{}
}

// strace starts the relay.
func (r *run) strace(args ...string) (*traced, error) {
	path, err := exec.LookPath("strace")
	if err != nil {
		return nil, fmt.Errorf("hack/packages.sh crash installs strace: %w", err)
	}
	t := &traced{process: exec.Command(path, append(append([]string{"-f", "-qq"}, args...), r.relay.Command()...)...), ended: make(chan struct{})}
	log, err := os.OpenFile(r.relay.LogFile(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	t.process.Stdout, t.process.Stderr = log, log
	if err := t.process.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the process
		_ = t.process.Wait()
		close(t.ended)
	}()
	return t, nil
}

// ends waits until the relay has ended by itself.
func (t *traced) ends(ctx context.Context, patience time.Duration) bool {
	select {
	case <-t.ended:
		return true
	case <-ctx.Done():
	case <-time.After(patience):
	}
	return false
}

// signal reaches the relay, not strace.
func (t *traced) signal(s syscall.Signal) error {
	pid := t.process.Process.Pid
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil //nolint:nilerr // it has ended
	}
	for _, child := range strings.Fields(string(children)) {
		n, err := strconv.Atoi(child)
		if err != nil {
			return err
		}
		if err := syscall.Kill(n, s); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return nil
}

func (t *traced) kill() error {
	err := t.signal(syscall.SIGKILL)
	<-t.ended
	return err
}

// Trace loads a relay below strace until the clients have seen n messages acknowledged, and holds what it did against
// the promise. It returns how many 250s were proven.
func Trace(ctx context.Context, o Options, n int) (int, error) {
	r := newRun(o)
	if err := r.setUp(); err != nil {
		return 0, err
	}
	defer r.dns.Close()
	defer r.sink.Close()
	out := filepath.Join(o.Dir, "trace")
	s, err := r.strace("-y", "-o", out, "-s", "300000", "-e", "trace=write,pwrite64,writev,sendto,sendmsg,fdatasync,fsync")
	if err != nil {
		return 0, err
	}
	if err := r.relay.Greets(ctx); err != nil {
		return 0, errors.Join(err, s.kill())
	}
	err = r.load(ctx, func(ctx context.Context) error {
		for r.book.acknowledgedCount() < n && !s.ends(ctx, 5*time.Millisecond) && ctx.Err() == nil {
		}
		return ctx.Err()
	})
	if err := errors.Join(err, s.signal(syscall.SIGTERM)); err != nil {
		return 0, errors.Join(err, s.kill())
	}
	if !s.ends(ctx, time.Minute) {
		return 0, errors.Join(errors.New("the relay does not end"), s.kill())
	}
	f, err := os.Open(out)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return Proven(f)
}

// Proven reads a trace of strace -f -y: before a 250 for a message began to be written, a write of the log that held
// the message's record was completed, and after that a sync of the same file was begun and completed. It returns for
// how many 250s that is so, and an error for the first for which it is not.
func Proven(trace io.Reader) (int, error) {
	p := prover{pending: map[string]call{}, logs: map[string]*logText{}, wrote: map[string]write{}, synced: map[string]int{}}
	lines := bufio.NewScanner(trace)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		p.line++
		if err := p.read(lines.Text()); err != nil {
			return p.proven, fmt.Errorf("line %d of the trace: %w", p.line, err)
		}
	}
	return p.proven, lines.Err()
}

// prover goes through a trace line by line; times are numbers of lines.
type prover struct {
	line    int
	pending map[string]call     // by thread: begun and not completed
	logs    map[string]*logText // by file
	// wrote is, by message, the first completed write of a log with its record; synced, by file, when the last sync that was
	// completed was begun.
	wrote  map[string]write
	synced map[string]int
	proven int
}

type call struct {
	name, file, text string
	begun            int
}

type write struct {
	file      string
	completed int
}

var (
	callLine    = regexp.MustCompile(`^(\d+) +(\w+)\(\d+<([^>]*)>(.*)$`)
	resumedLine = regexp.MustCompile(`^(\d+) +<\.\.\. \w+ resumed>(.*)$`)
	succeeded   = regexp.MustCompile(`= \d+$`)
	queuedAs    = regexp.MustCompile(`"250 2\.0\.0 queued as ([0-9A-Z]{20})`)
	// record: the key of what is stored of a message.
	record = regexp.MustCompile(`m([0-9A-Z]{20})`)
)

func (p *prover) read(line string) error {
	if m := resumedLine.FindStringSubmatch(line); m != nil {
		c, known := p.pending[m[1]]
		delete(p.pending, m[1])
		if known && succeeded.MatchString(m[2]) {
			p.completed(c)
		}
		return nil
	}
	m := callLine.FindStringSubmatch(line)
	if m == nil {
		return nil
	}
	c := call{name: m[2], file: m[3], text: m[4], begun: p.line}
	if err := p.answer(c); err != nil {
		return err
	}
	if strings.HasSuffix(line, "<unfinished ...>") {
		p.pending[m[1]] = c
	} else if succeeded.MatchString(line) {
		p.completed(c)
	}
	return nil
}

// completed notes what is on its way to the disk, and what is there.
func (p *prover) completed(c call) {
	if !strings.HasSuffix(c.file, ".log") {
		return
	}
	if strings.HasSuffix(c.name, "sync") {
		p.synced[c.file] = c.begun
		return
	}
	if p.logs[c.file] == nil {
		p.logs[c.file] = &logText{}
	}
	for _, m := range record.FindAllSubmatch(p.logs[c.file].add(unquote(c.text)), -1) {
		if id := string(m[1]); p.wrote[id].file == "" {
			p.wrote[id] = write{c.file, p.line}
		}
	}
}

// answer looks at what begins to be written to a client.
func (p *prover) answer(c call) error {
	if strings.HasPrefix(c.file, "/") {
		return nil
	}
	for _, m := range queuedAs.FindAllStringSubmatch(c.text, -1) {
		w, written := p.wrote[m[1]]
		switch {
		case !written:
			return fmt.Errorf("250 for %s, which was not written to the log", m[1])
		case p.synced[w.file] <= w.completed:
			return fmt.Errorf("250 for %s before %s was synced", m[1], w.file)
		}
		p.proven++
	}
	return nil
}
