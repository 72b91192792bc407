// Package daemon runs the relay program as a process of its own, for tests and measurements that must kill or time
// one. It owns the process and a directory with its configuration, spool, admin socket and log; it knows nothing
// about mail.
package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/status"
)

// patience is how long a relay may take to start or to stop.
const patience = 30 * time.Second

// Daemon is a relay that can be started, killed and started again on the same spool.
type Daemon struct {
	binary  string
	dir     string
	address string
	process *exec.Cmd
}

// Build makes the relay program in dir and returns its path.
func Build(ctx context.Context, dir string) (string, error) {
	return BuildProgram(ctx, dir, "cmd/relay")
}

// BuildProgram makes a program of this module, named by the directory of its package, in dir and returns its path.
func BuildProgram(ctx context.Context, dir, program string) (string, error) {
	path := filepath.Join(dir, filepath.Base(program))
	build := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/postrider/postrider/"+program)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", build, err, out)
	}
	return path, nil
}

// FreePort returns a port of 127.0.0.1 that was free a moment ago.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// Options are what a relay is run with.
type Options struct {
	// Binary is the relay program; Dir is a directory of its own, for configuration, spool, socket and log.
	Binary, Dir string
	// Relay and Domains are its configuration. The first listener is where it is reached.
	Relay   config.Relay
	Domains []config.Domain
	// Files are those that the configuration names: keys and certificates.
	Files map[string][]byte
}

// New prepares a relay. Nothing runs yet.
func New(o Options) (*Daemon, error) {
	d := &Daemon{binary: o.Binary, dir: o.Dir, address: net.JoinHostPort("127.0.0.1", strconv.Itoa(o.Relay.Listeners[0].Port))}
	for _, sub := range []string{d.configDir(), d.DataDir()} {
		if err := os.MkdirAll(sub, 0o700); err != nil {
			return nil, err
		}
	}
	return d, d.writeConfig(o)
}

// Address is host:port of the first listener.
func (d *Daemon) Address() string { return d.address }

// PID is the process id of the relay that runs.
func (d *Daemon) PID() int { return d.process.Process.Pid }

// LogFile is where everything goes that the relay writes.
func (d *Daemon) LogFile() string { return filepath.Join(d.dir, "relay.log") }

func (d *Daemon) configDir() string { return filepath.Join(d.dir, "config") }
func (d *Daemon) socket() string    { return filepath.Join(d.dir, "admin.sock") }

// DataDir is the directory that holds the spool.
func (d *Daemon) DataDir() string { return filepath.Join(d.dir, "data") }

// writeConfig writes the files of the configuration, and the index last.
func (d *Daemon) writeConfig(o Options) error {
	relay, err := json.Marshal(o.Relay)
	if err != nil {
		return err
	}
	domains, err := json.Marshal(o.Domains)
	if err != nil {
		return err
	}
	files := map[string][]byte{config.RelayFile: relay, fmt.Sprintf(config.DomainsFile, 0): domains}
	maps.Copy(files, o.Files)
	digests := map[string]string{}
	for name, data := range files {
		digests[name] = config.Digest(data)
		err = errors.Join(err, d.writeFile(name, data))
	}
	index, failed := json.Marshal(config.Index{Format: config.Format, Generation: 1, Files: digests})
	return errors.Join(err, failed, d.writeFile(config.IndexFile, index))
}

func (d *Daemon) writeFile(name string, data []byte) error {
	return os.WriteFile(filepath.Join(d.configDir(), name), data, 0o600)
}

// Start starts the relay and returns when it greets clients.
func (d *Daemon) Start(ctx context.Context) error {
	log, err := os.OpenFile(d.LogFile(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own handle
	command := d.Command()
	d.process = exec.Command(command[0], command[1:]...)
	// It must not outlive a program that is killed.
	d.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	d.process.Stdout, d.process.Stderr = log, log
	if err := d.process.Start(); err != nil {
		return err
	}
	if err := d.Greets(ctx); err != nil {
		return errors.Join(fmt.Errorf("%w; see %s:\n%s", err, d.LogFile(), d.lastWords()), d.Kill())
	}
	return nil
}

// Command is how the relay is started.
func (d *Daemon) Command() []string {
	return []string{d.binary, "serve", "--config-dir", d.configDir(), "--data-dir", d.DataDir(),
		"--admin-socket", d.socket(), "--bind", "127.0.0.1", "--health-address", ""}
}

// Greets waits for the first 220.
func (d *Daemon) Greets(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := greeting(d.address)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the relay does not greet on %s: %w", d.address, err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func greeting(address string) error {
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "220") {
		err = fmt.Errorf("greeting %q", line)
	}
	return err
}

// lastWords is the end of the log.
func (d *Daemon) lastWords() string {
	data, err := os.ReadFile(d.LogFile())
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-2000):])
}

// Kill ends the process with SIGKILL, which it cannot see coming, and returns when it is gone.
func (d *Daemon) Kill() error {
	if err := d.process.Process.Kill(); err != nil {
		return fmt.Errorf("the relay was gone already: %w; its last words:\n%s", err, d.lastWords())
	}
	_ = d.process.Wait() // it says "killed"
	if status, ok := d.process.ProcessState.Sys().(syscall.WaitStatus); ok && !status.Signaled() {
		return fmt.Errorf("the relay ended by itself with %s; its last words:\n%s", d.process.ProcessState, d.lastWords())
	}
	return nil
}

// Stop ends the process with SIGTERM and returns when it is gone.
func (d *Daemon) Stop() error {
	if err := d.process.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	late := time.AfterFunc(patience, func() { _ = d.process.Process.Kill() })
	defer late.Stop()
	if err := d.process.Wait(); err != nil {
		return fmt.Errorf("the relay did not stop well: %w; its last words:\n%s", err, d.lastWords())
	}
	return nil
}

// Status asks the relay for its report.
func (d *Daemon) Status(ctx context.Context) (status.Status, error) {
	var s status.Status
	answer, err := d.Ask(ctx, http.MethodGet, "/status", "")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(answer, &s)
}

// Flush makes everything in the queue due now.
func (d *Daemon) Flush(ctx context.Context) error {
	_, err := d.Ask(ctx, http.MethodPost, "/queue/flush", `{"all":true,"reason":"test"}`)
	return err
}

// Ask asks the relay through its admin socket and returns the answer. Another one than 200 is an error.
func (d *Daemon) Ask(ctx context.Context, method, path, body string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://relay"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", d.socket())
	}}}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, path, response.Status, answer)
	}
	return answer, err
}
