package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   spread
	}{
		{[]float64{3}, spread{3, 3, 3}},
		{[]float64{9, 1, 2}, spread{2, 1, 9}},
		{[]float64{4, 1, 2, 9}, spread{3, 1, 9}},
	} {
		if got := spreadOf(c.values); got != c.want {
			t.Errorf("%v: %+v", c.values, got)
		}
	}
}

func TestReport(t *testing.T) {
	results := []*result{
		{Name: "postrider", Rounds: []one{{Accepted: 3000, EndToEnd: 2400}, {Accepted: 3200, EndToEnd: 2600}, {Accepted: 2800, EndToEnd: 2000}}},
		{Name: "postfix", Rounds: []one{{Accepted: 1000, EndToEnd: 800}, {Accepted: 1100, EndToEnd: 700}, {Accepted: 900, EndToEnd: 900}}},
	}
	var out bytes.Buffer
	if err := report(&out, results); err != nil {
		t.Fatal(err)
	}
	want := "postrider is 3.0 × postfix in accepting, 3.0 × end to end (medians)."
	if !strings.Contains(out.String(), want) || !strings.Contains(out.String(), "2800–3200") {
		t.Errorf("got\n%s\nwant %q and the range of accepted/s", &out, want)
	}
	o := options{out: filepath.Join(t.TempDir(), "new", "bench.json")}
	if err := write(o, results, machineFacts(t.TempDir())); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(o.out)
	if err != nil {
		t.Fatal(err)
	}
	var read struct {
		Ratio   map[string]one
		Machine machine
	}
	if err := json.Unmarshal(data, &read); err != nil {
		t.Fatal(err)
	}
	if read.Ratio["postfix"].EndToEnd != 3 || read.Machine.Cores == 0 || read.Machine.FileSystem == "unknown" {
		t.Errorf("the file says %+v", read)
	}
}
