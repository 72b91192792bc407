package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/postrider/postrider/test/daemon"
)

// process is the operator's.
type process struct {
	cmd *exec.Cmd
	log *os.File
	// profiles is host:port of its profiles.
	profiles string
	// ended is closed when it has ended, as failed says.
	ended  chan struct{}
	failed error
}

func startProcess(program, kubeconfig, log string) (*process, error) {
	port, err := daemon.FreePort()
	if err != nil {
		return nil, err
	}
	p := &process{profiles: "127.0.0.1:" + strconv.Itoa(port), ended: make(chan struct{})}
	if p.log, err = os.Create(log); err != nil {
		return nil, err
	}
	p.cmd = exec.Command(program, "--relay-image=postrider:bench", "--namespace="+ownNamespace, "--health-probe-bind-address=0", "--pprof-bind-address="+p.profiles)
	p.cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.failed = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.ended
	_ = p.log.Close()
}

// memory is what it holds now and what it held at most, in octets.
func (p *process) memory() (now, most int64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(status)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			now = kib << 10
		}
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			most = kib << 10
		}
	}
	return now, most, nil
}

// tick is the unit of processor time in /proc: USER_HZ, which is 100 on Linux.
const tick = 10 * time.Millisecond

// processor is the time of a core that it has used: fields 14 and 15 of proc_pid_stat(5).
func (p *process) processor() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, behind, _ := strings.Cut(string(stat), ") ") // the name may hold anything
	fields := strings.Fields(behind)
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(fields[12])
	return time.Duration(user+system) * tick, err
}

// profile writes a profile to a file; what is one of net/http/pprof's.
func (p *process) profile(ctx context.Context, what, dir, name string) error {
	if dir == "" {
		return nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.profiles+"/debug/pprof/"+what, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+".pprof"), data, 0o600)
}
