package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// daemon is a program that runs until the cluster goes down.
type daemon struct {
	name string
	argv []string
	env  []string
	// on is where it runs; the zero node is the first.
	on node
	// files are inherited from descriptor 3 on.
	files []*os.File
}

// start starts d in its node's namespaces and cgroup, detached from this process. Its output goes to log/NAME.log.
func (c *cluster) start(d daemon) error {
	log, err := os.OpenFile(c.path("log", d.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	if d.on == (node{}) {
		d.on = first()
	}
	argv := append([]string{"--net=" + d.on.netns(), "--mount=" + c.mountns(d.on), "--"}, d.argv...)
	cmd := exec.Command("nsenter", argv...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), d.env...)
	cmd.ExtraFiles = d.files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", d.name, err)
	}
	pid := cmd.Process.Pid
	if err := joinCgroup(d.on.cgroup, pid); err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	if err := os.WriteFile(c.path("run", d.name+".pid"), []byte(identity(pid)), 0o600); err != nil {
		return err
	}
	return cmd.Process.Release()
}

// alive says whether the daemon of that name still runs: the same process, not a later one with its number.
func (c *cluster) alive(name string) bool {
	_, alive := c.process(name)
	return alive
}

// process is the process of a daemon, while it runs.
func (c *cluster) process(name string) (pid int, alive bool) {
	recorded, err := os.ReadFile(c.path("run", name+".pid"))
	if err != nil {
		return 0, false
	}
	number, _, _ := strings.Cut(string(recorded), " ")
	pid, err = strconv.Atoi(number)
	return pid, err == nil && identity(pid) == string(recorded)
}

// identity is "pid start-time"; it has no start time when there is no such process, or only its remains.
func identity(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return strconv.Itoa(pid)
	}
	// The fields after the command's name, which stands in parentheses and may hold anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if fields[0] == "Z" {
		return strconv.Itoa(pid)
	}
	return fmt.Sprintf("%d %s", pid, fields[19])
}

// await polls until ready is nil, the daemon dies or the time is over. It then shows the end of the daemon's log.
func (c *cluster) await(name string, limit time.Duration, ready func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		switch {
		case !c.alive(name):
			return fmt.Errorf("%s ended: %w\n%s", name, err, c.logTail(name))
		case time.Now().After(deadline):
			return fmt.Errorf("%s is not ready after %v: %w\n%s", name, limit, err, c.logTail(name))
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func (c *cluster) logTail(name string) string {
	data, err := os.ReadFile(c.path("log", name+".log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}

// command runs a program to its end; its output is part of the error.
func command(argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// inside runs a command in the cluster's network.
func (c *cluster) inside(argv ...string) (string, error) {
	return command(append([]string{"nsenter", "--net=" + first().netns(), "--"}, argv...)...)
}

func (c *cluster) kubectl(args ...string) (string, error) {
	return c.inside(append([]string{c.bin + "/kubectl", "--kubeconfig=" + c.kubeconfig("admin")}, args...)...)
}
