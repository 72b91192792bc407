package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"
)

// results are what was measured, as bin/bench-operator.json holds it. Times are in seconds, memory in octets.
type results struct {
	Time    time.Time `json:"time"`
	Cores   int       `json:"cores"`
	Relays  int       `json:"relays"`
	Domains int       `json:"domains"`

	ReconciledSeconds    float64 `json:"reconciledSeconds"`
	ReconciledCPUSeconds float64 `json:"reconciledCPUSeconds"`
	ReconciledRequests   counted `json:"reconciledRequests"`

	MemoryNow  int64 `json:"memoryNow"`
	MemoryMost int64 `json:"memoryMost"`

	RestSeconds         float64 `json:"restSeconds"`
	RestWritesPerMinute float64 `json:"restWritesPerMinute"`
	RestReadsPerMinute  float64 `json:"restReadsPerMinute"`
	RestCores           float64 `json:"restCores"`
	RestRequests        counted `json:"restRequests"`

	ChildSeconds       []float64 `json:"childSeconds"`
	DomainChildSeconds []float64 `json:"domainChildSeconds"`
	InForceSeconds     []float64 `json:"inForceSeconds"`
	StaleSeconds       []float64 `json:"staleSeconds"`

	KeyPairSeconds float64 `json:"keyPairSeconds"`
	Keyless        int     `json:"keyless"`
	KeylessSeconds float64 `json:"keylessSeconds"`
}

func (r *results) write(path string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// quantile is the value below which that part of the values lies; 1 for the greatest.
func quantile(values []float64, part float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(float64(len(sorted))*part), len(sorted)-1)]
}

// row is a figure, and whether its goal was met; no goal is nil.
type row struct {
	figure, value, goal string
	met                 *bool
}

func (r *results) rows() []row {
	const mib = 1 << 20
	spread := func(values []float64) string {
		return fmt.Sprintf("%.2f s (median %.2f s, most %.2f s)", quantile(values, 0.99), quantile(values, 0.5), quantile(values, 1))
	}
	return []row{
		{"all reconciled, keys being there", fmt.Sprintf("%.0f s, %.0f s of processor time, %d requests that write", r.ReconciledSeconds, r.ReconciledCPUSeconds, sum(r.ReconciledRequests.Writes)), "", nil},
		{"memory at rest (the most)", fmt.Sprintf("%d MiB (%d MiB)", r.MemoryNow/mib, r.MemoryMost/mib), "< 1024 MiB", new(r.MemoryMost < 1024*mib)},
		{"writes at rest", fmt.Sprintf("%.1f per minute, in %.0f s", r.RestWritesPerMinute, r.RestSeconds), "0", new(r.RestWritesPerMinute == 0)},
		{"reads at rest", fmt.Sprintf("%.0f per minute", r.RestReadsPerMinute), "", nil},
		{"processor at rest", fmt.Sprintf("%.2f cores", r.RestCores), "", nil},
		{"from a MailRelay's spec to its ConfigMap, p99", spread(r.ChildSeconds), "< 2 s", new(quantile(r.ChildSeconds, 0.99) < 2)},
		{"from a SendingDomain's spec to its ConfigMap, p99", spread(r.DomainChildSeconds), "< 2 s", new(quantile(r.DomainChildSeconds, 0.99) < 2)},
		{"from a MailRelay's spec to in force, in status, p99", spread(r.InForceSeconds), "", nil},
		{"from a pod's count to status, p99", spread(r.StaleSeconds), "< 20 s", new(quantile(r.StaleSeconds, 1) < 20)},
		{"DKIM keys, RSA-2048 and Ed25519", fmt.Sprintf("%.0f ms a pair of keys on one core; %d domains without keys: %.1f s", 1000*r.KeyPairSeconds, r.Keyless, r.KeylessSeconds), "", nil},
	}
}

// verdict says whether a goal was met; nothing where there is none.
func (r row) verdict() string {
	switch {
	case r.met == nil:
		return ""
	case *r.met:
		return "met"
	default:
		return "NOT MET"
	}
}

func (r *results) title() string {
	return fmt.Sprintf("%d MailRelays, %d SendingDomains, on %d cores together with the API server and all else", r.Relays, r.Domains, r.Cores)
}

// print writes a table for a terminal.
func (r *results) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintf(t, "\n%s\n", r.title())
	for _, one := range r.rows() {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", one.figure, one.value, one.goal, one.verdict())
	}
	return t.Flush()
}

// printFile writes the results in a file as the documentation holds them.
func printFile(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var r results
	if err := json.Unmarshal(data, &r); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	fmt.Printf("%s, %s.\n\n| figure | value | goal | |\n| --- | --- | --- | --- |\n", r.Time.Format("January 2, 2006"), r.title())
	for _, one := range r.rows() {
		fmt.Printf("| %s | %s | %s | %s |\n", one.figure, one.value, one.goal, one.verdict())
	}
	return nil
}
