package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// aliveAs records the identity of a process as that of the daemon "it" and asks whether it lives.
func aliveAs(t *testing.T, recorded string) bool {
	t.Helper()
	c := &cluster{dir: t.TempDir()}
	if err := os.Mkdir(c.path("run"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.path("run"), "it.pid"), []byte(recorded), 0o600); err != nil {
		t.Fatal(err)
	}
	return c.alive("it")
}

func TestAlive(t *testing.T) {
	running := identity(os.Getpid())
	if !aliveAs(t, running) {
		t.Errorf("%q runs", running)
	}
	pid, _, _ := strings.Cut(running, " ")
	if aliveAs(t, pid+" 1") {
		t.Error("a later process with the same number is taken for the daemon")
	}
	if (&cluster{dir: t.TempDir()}).alive("it") {
		t.Error("a daemon that was never started runs")
	}
}

func TestAliveKnowsTheRemainsOfAProcess(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("cat")
	cmd.Stdin = read
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	recorded := identity(cmd.Process.Pid)
	if !aliveAs(t, recorded) {
		t.Errorf("%q runs", recorded)
	}
	if err := write.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if aliveAs(t, recorded) {
		t.Errorf("%q has ended", recorded)
	}
}
