package peers

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// patience is how long a peer may take to listen, or to end.
const patience = 30 * time.Second

// process is a peer that stays in the foreground.
type process struct {
	cmd    *exec.Cmd
	output bytes.Buffer
	ended  chan struct{}
}

// start runs a command and returns when something listens at all of the addresses, host:port.
func start(cmd *exec.Cmd, addresses ...string) (*process, error) {
	p := &process{cmd: cmd, ended: make(chan struct{})}
	// It must not outlive a test that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	go func() { _ = cmd.Wait(); close(p.ended) }() // ends with the process
	for _, address := range addresses {
		if err := p.listens(address); err != nil {
			return nil, errors.Join(err, p.Stop())
		}
	}
	return p, nil
}

func (p *process) listens(address string) error {
	for deadline := time.Now().Add(patience); ; {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			return connection.Close()
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended with %s: %s", p.cmd.Path, p.cmd.ProcessState, p.output.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not listen at %s: %w", p.cmd.Path, address, err)
		}
	}
}

// Stop ends it and returns when it is gone; how it ended does not matter.
func (p *process) Stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return nil //nolint:nilerr // it is gone already
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("%s does not stop", p.cmd.Path), p.cmd.Process.Kill())
	}
}

// Log is what it printed last; it may be asked once the process has ended.
func (p *process) Log() string {
	<-p.ended
	return tail(p.output.Bytes())
}

// fill replaces {name} in a configuration by its value.
func fill(text string, values map[string]string) string {
	var pairs []string
	for name, value := range values {
		pairs = append(pairs, "{"+name+"}", value)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}
