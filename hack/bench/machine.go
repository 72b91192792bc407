package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// machine is where it was measured.
type machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	MemoryMiB  int    `json:"memoryMiB"`
	Kernel     string `json:"kernel"`
	FileSystem string `json:"fileSystem"`
	// Syncs are how often in a second one writer gets 4 KiB onto the disk (fdatasync).
	Syncs   int    `json:"syncsPerSecond"`
	Version string `json:"version"`
	Go      string `json:"go"`
}

func (m machine) String() string {
	return fmt.Sprintf("%s with %d cores, %d MiB, Linux %s, queues on %s that syncs %d times a second for one writer",
		m.CPU, m.Cores, m.MemoryMiB, m.Kernel, m.FileSystem, m.Syncs)
}

func machineFacts(dir string) machine {
	memory := field("/proc/meminfo", "MemTotal")
	kib := 0
	_, _ = fmt.Sscan(memory, &kib) // an unknown size is 0
	return machine{
		CPU: field("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(), MemoryMiB: kib / 1024,
		Kernel: content("/proc/sys/kernel/osrelease"), FileSystem: fileSystem(dir), Go: runtime.Version(),
	}
}

// syncRate is how often in a second one writer gets 4 KiB onto the disk of dir.
func syncRate(dir string) (int, error) {
	f, err := os.CreateTemp(dir, "sync")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	defer f.Close()
	block := make([]byte, 4096)
	n := 0
	for started := time.Now(); time.Since(started) < time.Second; n++ {
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, fmt.Errorf("fdatasync %s: %w", f.Name(), err)
		}
	}
	return n, nil
}

// field is the value of the first line "name : value" of a file of /proc.
func field(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		key, value, _ := strings.Cut(s.Text(), ":")
		if strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func content(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(data))
}

// fileSystem names the file system of dir by its magic number (statfs(2)).
func fileSystem(dir string) string {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return "unknown"
	}
	names := map[int64]string{0xef53: "ext4", 0x58465342: "xfs", 0x9123683e: "btrfs", 0x01021994: "tmpfs", 0x794c7630: "overlayfs", 0x2fc12fc1: "zfs"}
	if name, ok := names[int64(s.Type)]; ok { //nolint:unconvert // it is narrower on 32-bit machines
		return name
	}
	return fmt.Sprintf("file system %#x", s.Type)
}

// blocks is how much disk a file takes, which for a sparse one is less than its size (stat(2) counts in 512 octets).
func blocks(info os.FileInfo) int64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Blocks * 512
	}
	return info.Size()
}
