package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

// results are what a run measured, as bin/bench.json holds it.
type results struct {
	Time    time.Time `json:"time"`
	Machine machine   `json:"machine"`
	Method  string    `json:"method"`
	// Rounds is how often what is repeated was measured.
	Rounds int   `json:"rounds"`
	Rows   []row `json:"rows"`
	// Measured is every round of every engine under load.
	Measured []measured `json:"measured"`
	// Failed are the scenarios that could not be measured, and why.
	Failed []string `json:"failed,omitempty"`
}

// write keeps the results, with what follows from the values beside them.
func (r *results) write(path string) error {
	type judged struct {
		row
		Summary spread  `json:"summary"`
		Ratio   float64 `json:"ratio,omitempty"`
		Verdict verdict `json:"verdict"`
	}
	rows := make([]judged, len(r.Rows))
	for i, of := range r.Rows {
		rows[i] = judged{of, of.Ours.spread(), of.ratio(), of.judge()}
	}
	data, err := json.MarshalIndent(struct {
		*results
		Rows []judged `json:"rows"`
	}{r, rows}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

func readResults(path string) (*results, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &results{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// table prints the rows for a terminal.
func (r *results) table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "\n"+strings.ToUpper(strings.Join(columns(), "\t")))
	for i := range r.Rows {
		fmt.Fprintln(t, strings.Join(r.Rows[i].cells(), "\t"))
	}
	for _, why := range r.Failed {
		fmt.Fprintln(t, "NOT MEASURED: "+why)
	}
	return t.Flush()
}

// markdown prints the results for the documentation.
func (r *results) markdown(w io.Writer) error {
	var out strings.Builder
	fmt.Fprintf(&out, "%s, %s. Postrider %s. Medians of %d rounds, with the least and the most.\n\n", r.Time.Format("January 2, 2006"), r.Machine, r.Machine.Version, r.Rounds)
	fmt.Fprintf(&out, "| %s |\n|%s\n", strings.Join(columns(), " | "), strings.Repeat(" --- |", len(columns())))
	for i := range r.Rows {
		fmt.Fprintf(&out, "| %s |\n", strings.Join(r.Rows[i].cells(), " | "))
	}
	for _, why := range r.Failed {
		fmt.Fprintf(&out, "\nNot measured: %s\n", why)
	}
	_, err := io.WriteString(w, out.String())
	return err
}
