package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// hierarchies are the mounted cgroup file systems: one with version 2, one per controller with version 1.
func hierarchies() []string {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil
	}
	var found []string
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) > 2 && (fields[2] == "cgroup" || fields[2] == "cgroup2") && strings.HasPrefix(fields[1], "/sys/fs/cgroup") {
			found = append(found, fields[1])
		}
	}
	return found
}

// makeCgroups makes a node's cgroup in every hierarchy: the kubelet's root, with a leaf beside the pods for the daemons.
func makeCgroups(name string) error {
	for _, root := range hierarchies() {
		// Version 2 hands controllers down by name. Those that the kernel lacks are no reason to stop.
		for _, dir := range []string{root, filepath.Join(root, cgroupName), filepath.Join(root, name)} {
			if err := os.MkdirAll(filepath.Join(root, name, "daemons"), 0o755); err != nil {
				return fmt.Errorf("making a cgroup: %w", err)
			}
			for _, controller := range []string{"cpuset", "cpu", "io", "memory", "hugetlb", "pids"} {
				_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0)
			}
		}
		if err := inheritCPUs(root, name); err != nil {
			return err
		}
	}
	return nil
}

// inheritCPUs fills a version 1 cpuset, which starts empty and then takes no process.
func inheritCPUs(root, name string) error {
	for _, set := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(root, set))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, dir := range []string{name, name + "/daemons"} {
			if err := os.WriteFile(filepath.Join(root, dir, set), value, 0); err != nil {
				return fmt.Errorf("filling a cpuset: %w", err)
			}
		}
	}
	return nil
}

func joinCgroup(name string, pid int) error {
	for _, root := range hierarchies() {
		procs := filepath.Join(root, name, "daemons", "cgroup.procs")
		if err := os.WriteFile(procs, []byte(strconv.Itoa(pid)), 0); err != nil {
			return fmt.Errorf("joining the cgroup: %w", err)
		}
	}
	return nil
}

// killCgroups ends every process of a node, and nothing else: who is in our cgroup was started by us. The second node's is
// inside the first's.
func killCgroups(name string) error {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		pids := members(name)
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes that do not end: %v", pids)
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("ending process %d: %w", pid, err)
			}
		}
	}
}

// members are the processes in a node's cgroups.
func members(name string) []int {
	var pids []int
	for _, dir := range cgroupDirs(name) {
		procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			continue
		}
		for _, field := range strings.Fields(string(procs)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids)
}

// removeCgroups removes a node's cgroups, innermost first.
func removeCgroups(name string) error {
	for _, dir := range slices.Backward(cgroupDirs(name)) {
		if err := removeBusy(dir); err != nil {
			return err
		}
	}
	return nil
}

// removeBusy allows for the moment that a process which has ended still counts.
func removeBusy(dir string) error {
	for try := 0; ; try++ {
		err := syscall.Rmdir(dir)
		if err == nil || errors.Is(err, syscall.ENOENT) {
			return nil
		}
		if try == 100 {
			return fmt.Errorf("removing the cgroup %s: %w", dir, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// cgroupDirs lists a node's cgroups, outermost first.
func cgroupDirs(name string) []string {
	var dirs []string
	for _, root := range hierarchies() {
		// What vanishes while we look needs no attention.
		_ = filepath.WalkDir(filepath.Join(root, name), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
	}
	return dirs
}
