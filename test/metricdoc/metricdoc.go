// Package metricdoc holds docs/metrics.md, the list of all metrics, against the registries that serve them. A metric
// that is new, renamed or has another label fails a test until the page says so: names are a promise to those who wrote
// alerts. It serves tests alone.
package metricdoc

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

var update = flag.Bool("update", false, "write docs/metrics.md anew")

// Metric is one that can be scraped.
type Metric struct {
	Name, Help string
	Labels     []string
}

var described = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: "(.*?)"(?:, unit: "")?, constLabels: \{\}, variableLabels: \{(.*)\}\}$`)

// Of lists our metrics of a collector, by name.
func Of(t *testing.T, c prometheus.Collector) []Metric {
	t.Helper()
	all := make(chan *prometheus.Desc)
	go func() { c.Describe(all); close(all) }()
	var list []Metric
	for d := range all {
		if !strings.Contains(d.String(), `fqName: "postrider_`) {
			continue // of a library
		}
		match := described.FindStringSubmatch(d.String())
		if match == nil {
			t.Fatalf("not understood: %s", d)
		}
		m := Metric{Name: match[1], Help: match[2]}
		if match[3] != "" {
			m.Labels = strings.Split(match[3], ",")
		}
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b Metric) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Type is what the name says by convention; Conventional holds it against what is served.
func (m Metric) Type() string {
	switch {
	case strings.HasSuffix(m.Name, "_total"):
		return "counter"
	case strings.HasSuffix(m.Name, "_duration_seconds"):
		return "histogram"
	default:
		return "gauge"
	}
}

func (m Metric) row() string {
	labels := "–"
	if len(m.Labels) > 0 {
		labels = "`" + strings.Join(m.Labels, "`, `") + "`"
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s |\n", m.Name, m.Type(), labels, m.Help)
}

// Listed fails the test unless the part of the page that has this name lists exactly these metrics. page is the path of
// docs/metrics.md; with -update it is written.
func Listed(t *testing.T, page, part string, metrics []Metric) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := fmt.Sprintf("<!-- %s -->\n", part), fmt.Sprintf("<!-- end of %s -->\n", part)
	before, rest, found := bytes.Cut(text, []byte(begin))
	have, after, ended := bytes.Cut(rest, []byte(end))
	if !found || !ended {
		t.Fatalf("%s has no part %s", page, part)
	}
	want := "| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n"
	for _, m := range metrics {
		want += m.row()
	}
	if string(have) == want {
		return
	}
	if !*update {
		t.Errorf("%s does not list what is served: names and labels are a promise, so be sure, and run this test with -update. It should say\n%s", page, want)
		return
	}
	if err := os.WriteFile(page, slices.Concat(before, []byte(begin+want+end), after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Conventional fails the test unless what is served follows Prometheus's conventions: names, units, help texts, and
// types that go with the names. It returns the names that have a value.
func Conventional(t *testing.T, served string) map[string]bool {
	t.Helper()
	problems, err := promlint.New(strings.NewReader(served)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	names := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^# TYPE (postrider_\w+) (\w+)$`).FindAllStringSubmatch(served, -1) {
		names[match[1]] = true
		if says := (Metric{Name: match[1]}).Type(); says != match[2] {
			t.Errorf("%s is a %s; its name says %s", match[1], match[2], says)
		}
	}
	return names
}
