package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func sample(dir string) *results {
	return &results{
		Time: time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC), Machine: machineFacts(dir), Method: method, Rounds: 3,
		Rows: []row{
			{
				Scenario: "throughput", Figure: "end to end", Unit: "/s", Goal: atLeast(6),
				Ours: series{nameRelay, []float64{6000, 6200, 5800}}, Peer: &series{namePostfix, []float64{1000, 900, 1100}},
			},
			{Scenario: "large", Figure: "memory", Unit: "MiB", Goal: atMost(100), Ours: series{nameRelay, []float64{130}}, Note: "once"},
		},
		Measured: []measured{{Scenario: "throughput", Engine: nameRelay, Round: 1, Messages: 20_000, Accepted: 6100, EndToEnd: 6000, CPU: 210}},
		Failed:   []string{"tls: no connection"},
	}
}

func TestResultsComeBackAsTheyWereWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "bench.json")
	r := sample(t.TempDir())
	if r.Machine.Cores == 0 || r.Machine.FileSystem == "unknown" {
		t.Errorf("the machine: %+v", r.Machine)
	}
	if err := r.write(path); err != nil {
		t.Fatal(err)
	}
	if read, err := readResults(path); err != nil || !reflect.DeepEqual(read, r) {
		t.Errorf("got %+v, %v, want %+v", read, err, r)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"verdict": "met"`, `"verdict": "short"`, `"ratio": 6,`, `"median": 6000`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the file lacks %s:\n%s", want, data)
		}
	}
}

func TestTables(t *testing.T) {
	r := sample(t.TempDir())
	var terminal, document bytes.Buffer
	if err := r.table(&terminal); err != nil {
		t.Fatal(err)
	}
	if err := r.markdown(&document); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| end to end | ≥ 6 × | 6000 (5800–6200) /s | postfix 1000 (900–1100) | 6.00 | met |  |\n",
		"| memory | ≤ 100 MiB | 130 MiB | – | – | short | once |\n",
		"Not measured: tls: no connection\n", "November 2, 2026", "Medians of 3 rounds",
	} {
		if !strings.Contains(document.String(), want) {
			t.Errorf("the Markdown lacks %q:\n%s", want, &document)
		}
	}
	for _, want := range []string{"6000 (5800–6200) /s", "short", "NOT MEASURED: tls: no connection"} {
		if !strings.Contains(terminal.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &terminal)
		}
	}
}

func TestChoose(t *testing.T) {
	all := []scenario{{name: "one"}, {name: "two"}, {name: "three"}}
	for only, want := range map[string]string{"": "one two three", "two": "two", "three,one": "one three"} {
		chosen, err := choose(all, only)
		var names []string
		for _, s := range chosen {
			names = append(names, s.name)
		}
		if strings.Join(names, " ") != want || err != nil {
			t.Errorf("%q: %v, %v", only, names, err)
		}
	}
	if _, err := choose(all, "one,four"); err == nil || !strings.Contains(err.Error(), "four") {
		t.Errorf("a scenario that is not there: %v", err)
	}
}
