package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/postrider/postrider/test/daemon"
)

// install sees to it that Postfix and its tools are there. They come from Debian.
func install(ctx context.Context) error {
	missing := ""
	for _, tool := range []string{"postfix", "smtp-source", "smtp-sink"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing = tool
		}
	}
	if missing == "" && os.Geteuid() != 0 {
		return errors.New("Postfix can be started by root alone: run sudo make bench")
	}
	if missing == "" {
		return nil
	}
	const line = "apt-get install -y --no-install-recommends postfix"
	if os.Geteuid() != 0 {
		return fmt.Errorf("%s is not installed: run sudo DEBIAN_FRONTEND=noninteractive %s", missing, line)
	}
	fmt.Println("installing Postfix:", line)
	apt := exec.CommandContext(ctx, "sh", "-c", "apt-get update && "+line)
	apt.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := apt.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", line, err, out)
	}
	return nil
}

// sink is smtp-sink, which ends when it has the whole load.
type sink struct {
	port    int
	process *exec.Cmd
	output  bytes.Buffer
	// ended is closed when the process is gone, with failed set.
	ended  chan struct{}
	failed error
}

func startSink(ctx context.Context, l load) (*sink, error) {
	port, err := daemon.FreePort()
	if err != nil {
		return nil, err
	}
	s := &sink{port: port, ended: make(chan struct{})}
	args := []string{"-m", "1000", "-M", strconv.Itoa(l.Messages), address(port), "1000"}
	if os.Geteuid() == 0 {
		args = append([]string{"-u", "nobody"}, args...)
	}
	s.process = exec.CommandContext(ctx, "smtp-sink", args...)
	s.process.Stdout, s.process.Stderr = &s.output, &s.output
	if err := s.process.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the process, which stop kills
		s.failed = s.process.Wait()
		close(s.ended)
	}()
	if err := listens(ctx, address(port)); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// wait returns when the sink has the whole load.
func (s *sink) wait(ctx context.Context) error {
	select {
	case <-s.ended:
		if s.failed != nil {
			return fmt.Errorf("smtp-sink: %w\n%s", s.failed, s.output.Bytes())
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("mail is missing at the sink: %w", ctx.Err())
	}
}

func (s *sink) stop() {
	_ = s.process.Process.Kill()
	<-s.ended
}

// source sends the load with smtp-source: each session sends one message after another.
func source(ctx context.Context, l load, address string) error {
	send := exec.CommandContext(ctx, "smtp-source", "-d", "-s", strconv.Itoa(l.Sessions), "-l", strconv.Itoa(l.Octets),
		"-m", strconv.Itoa(l.Messages), "-f", "sender@bench.example", "-t", "recipient@sink.example", address)
	if out, err := send.CombinedOutput(); err != nil {
		return fmt.Errorf("smtp-source: %w\n%s", err, out)
	}
	return nil
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// listens waits until something listens.
func listens(ctx context.Context, address string) error {
	for {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nothing listens on %s: %w", address, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
