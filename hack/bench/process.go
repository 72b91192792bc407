package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// usage is what a process and its children take.
type usage struct {
	// CPU is the processor time, their own and the system's for them.
	CPU time.Duration
	// RSS is their resident memory, in octets; shared pages count in each. PSS counts them once. Peak is the most that the
	// first of them has had resident.
	RSS, PSS, Peak int64
}

// tick is the unit of times in /proc/PID/stat (proc(5)); it is 10 ms on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// usageOf looks at a process and its children. What ends meanwhile is left out.
func usageOf(pid int) (usage, error) {
	var u usage
	first, err := readStat(pid)
	if err != nil {
		return u, fmt.Errorf("the engine is gone: %w", err)
	}
	u.CPU = first.own + first.children
	u.addMemory(pid)
	u.Peak = statusKiB(pid, "VmHWM") << 10
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return u, err
	}
	for _, dir := range entries {
		child, _ := strconv.Atoi(filepath.Base(dir)) // the pattern sees to that
		if s, err := readStat(child); err == nil && s.parent == pid {
			u.CPU += s.own
			u.addMemory(child)
		}
	}
	return u, nil
}

// ownCPU is the processor time of this program: of generator, sink and proxy.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (u *usage) addMemory(pid int) {
	u.RSS += statusKiB(pid, "VmRSS") << 10
	u.PSS += kib(field(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss")) << 10
}

func statusKiB(pid int, name string) int64 {
	return kib(field(fmt.Sprintf("/proc/%d/status", pid), name))
}

// kib is the number in "123 kB"; 0 when there is none.
func kib(value string) int64 {
	number, _, _ := strings.Cut(value, " ")
	n, _ := strconv.ParseInt(number, 10, 64)
	return n
}

// stat is what we read of /proc/PID/stat.
type stat struct {
	parent        int
	own, children time.Duration
}

func readStat(pid int) (stat, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(string(data))
}

// parseStat reads the fields behind the name, which is in brackets and may hold anything.
func parseStat(line string) (stat, error) {
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	if len(fields) < 15 {
		return stat{}, fmt.Errorf("%q is no line of /proc/PID/stat", line)
	}
	var numbers [15]int64
	for _, i := range []int{1, 11, 12, 13, 14} { // ppid, utime, stime, cutime, cstime
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return stat{}, err
		}
		numbers[i] = n
	}
	return stat{
		parent:   int(numbers[1]),
		own:      time.Duration(numbers[11]+numbers[12]) * tick,
		children: time.Duration(numbers[13]+numbers[14]) * tick,
	}, nil
}

// allocated is how much disk the files of a directory take.
func allocated(dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if err != nil {
			return gone(err)
		}
		info, err := e.Info()
		if err != nil {
			return gone(err)
		}
		sum += blocks(info)
		return nil
	})
	return sum, err
}

// gone passes over a file that was removed while we looked.
func gone(err error) error {
	if os.IsNotExist(err) {
		return nil
	}
	return err
}
