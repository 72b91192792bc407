package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// one is what one round measured, in messages per second.
type one struct {
	Accepted float64 `json:"accepted"`
	EndToEnd float64 `json:"endToEnd"`
	// CPU is the processor time per message, in microseconds; 0 when it is not known.
	CPU float64 `json:"cpuMicros,omitempty"`
}

// cost is the processor time as the progress shows it.
func (o one) cost() string {
	if o.CPU == 0 {
		return ""
	}
	return fmt.Sprintf("  %4.0f µs of CPU/message", o.CPU)
}

// result is what all rounds of an engine measured.
type result struct {
	Name   string `json:"name"`
	Rounds []one  `json:"rounds"`
}

// spread is the median, the least and the most of some measurements.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func (s spread) String() string { return fmt.Sprintf("%.0f\t%.0f–%.0f", s.Median, s.Min, s.Max) }

func (r *result) spread(of func(one) float64) spread {
	var values []float64
	for _, round := range r.Rounds {
		values = append(values, of(round))
	}
	return spreadOf(values)
}

func spreadOf(values []float64) spread {
	slices.Sort(values)
	middle := len(values) / 2
	median := values[middle]
	if len(values)%2 == 0 {
		median = (values[middle-1] + values[middle]) / 2
	}
	return spread{Median: median, Min: values[0], Max: values[len(values)-1]}
}

func accepted(o one) float64 { return o.Accepted }
func endToEnd(o one) float64 { return o.EndToEnd }

// report prints the medians, and how often faster the first engine is than each other one.
func report(w io.Writer, results []*result) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "\nENGINE\tACCEPTED/S\tMIN–MAX\tEND TO END/S\tMIN–MAX")
	for _, r := range results {
		fmt.Fprintf(t, "%s\t%s\t%s\n", r.Name, r.spread(accepted), r.spread(endToEnd))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, other := range results[1:] {
		fmt.Fprintf(w, "\n%s is %.1f × %s in accepting, %.1f × end to end (medians).\n", results[0].Name,
			ratio(results[0], other, accepted), other.Name, ratio(results[0], other, endToEnd))
	}
	return nil
}

func ratio(a, b *result, of func(one) float64) float64 {
	return a.spread(of).Median / b.spread(of).Median
}

// machine is where it was measured.
type machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	MemoryMiB  int    `json:"memoryMiB"`
	Kernel     string `json:"kernel"`
	FileSystem string `json:"fileSystem"`
	Go         string `json:"go"`
}

func (m machine) String() string {
	return fmt.Sprintf("%s with %d cores, %d MiB, Linux %s, queues on %s", m.CPU, m.Cores, m.MemoryMiB, m.Kernel, m.FileSystem)
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

// write keeps the results for comparisons.
func write(o options, results []*result, m machine) error {
	type summary struct {
		*result
		Accepted spread `json:"accepted"`
		EndToEnd spread `json:"endToEnd"`
	}
	var summaries []summary
	for _, r := range results {
		summaries = append(summaries, summary{r, r.spread(accepted), r.spread(endToEnd)})
	}
	ratios := map[string]one{}
	for _, other := range results[1:] {
		ratios[other.Name] = one{Accepted: ratio(results[0], other, accepted), EndToEnd: ratio(results[0], other, endToEnd)}
	}
	data, err := json.MarshalIndent(map[string]any{
		"time": time.Now().UTC().Format(time.RFC3339), "machine": m, "load": o.load, "method": method,
		"engines": summaries, "ratio": ratios,
	}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(o.out), 0o755); err != nil {
		return err
	}
	return os.WriteFile(o.out, append(data, '\n'), 0o644)
}
