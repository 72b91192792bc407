package docs

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sections are the headings of the second level.
func sections(text string) []string { return found(`(?m)^## (.+)$`, text) }

// TestEveryReasonHasASection: docs/reasons.md says of every reason what it means and what to do, and of no other.
func TestEveryReasonHasASection(t *testing.T) {
	values := found(`Reason\w+\s+= "(\w+)"`, read(t, filepath.Join(root, "api/v1alpha1/conditions.go")))
	values = append(values, found(`Result\w+ RecordResult = "(\w+)"`, read(t, filepath.Join(root, "api/v1alpha1/sendingdomain_types.go")))...)
	values = append(values, found(`Reason\w+\s+= "(\w+)"`, read(t, filepath.Join(root, "controllers/condition/draining.go")))...)
	if slices.Sort(values); len(values) < 40 {
		t.Fatalf("only %d reasons found: the test would prove nothing", len(values))
	}
	page := read(t, filepath.Join(root, "docs/reasons.md"))
	if have, want := sections(page), slices.Compact(values); !slices.Equal(have, want) {
		for _, name := range want {
			if !slices.Contains(have, name) {
				t.Errorf("docs/reasons.md has no section %s", name)
			}
		}
		for _, name := range have {
			if !slices.Contains(want, name) {
				t.Errorf("docs/reasons.md explains %s, which is no reason", name)
			}
		}
	}
	for _, section := range strings.Split(page, "\n## ")[1:] {
		name, text, _ := strings.Cut(section, "\n")
		if _, what, _ := strings.Cut(text, "**What to do:** "); len(strings.TrimSpace(what)) < 5 {
			t.Errorf("%s: nothing says what to do", name)
		}
	}
}

// TestEveryEventIsExplained: what the operator tells in events of its own stands below the reasons.
func TestEveryEventIsExplained(t *testing.T) {
	_, table, _ := strings.Cut(read(t, filepath.Join(root, "docs/reasons.md")), "\n# Other events\n")
	sources, err := filepath.Glob(filepath.Join(root, "controllers/*/*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, name := range sources {
		told = append(told, found(`Eventf\([^"]*corev1\.EventType\w+, "(\w+)"`, read(t, name))...)
	}
	if len(told) < 4 {
		t.Fatalf("only %v found: the test would prove nothing", told)
	}
	for _, reason := range told {
		if !slices.Contains(found(`\b([A-Z]\w+)`, table), reason) {
			t.Errorf("docs/reasons.md does not explain the event %s", reason)
		}
	}
}

// TestEveryAlertHasARunbook: one page for each alert, named after it, and no other.
func TestEveryAlertHasARunbook(t *testing.T) {
	rule := read(t, filepath.Join(root, "config/prometheus/prometheusrule.yaml"))
	alerts := found(`(?m)^    - alert: (\w+)$`, rule)
	linked := found(`(?m)^        runbook_url: https://github.com/postrider/postrider/blob/main/docs/runbooks/(\w+)\.md$`, rule)
	files, err := filepath.Glob(filepath.Join(root, "docs/runbooks/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	var pages []string
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".md")
		pages = append(pages, name)
		page := read(t, file)
		if !strings.HasPrefix(page, "# "+name+"\n") || !slices.Equal(sections(page), []string{"What it means", "What to check", "What to do"}) {
			t.Errorf("%s: want the title, what it means, what to check and what to do", file)
		}
		if !strings.Contains(page, "```sh\n") {
			t.Errorf("%s: no command says how to check", file)
		}
	}
	if len(alerts) < 20 || !slices.Equal(alerts, linked) || !slices.Equal(alerts, pages) {
		t.Errorf("alerts, links and pages differ:\n%v\n%v\n%v", alerts, linked, pages)
	}
}

// TestAlertsKnowTheMetrics: what alerts and panels ask for is listed in docs/metrics.md.
func TestAlertsKnowTheMetrics(t *testing.T) {
	listed := found("(?m)^\\| `(postrider_\\w+)` \\|", read(t, filepath.Join(root, "docs/metrics.md")))
	for _, file := range []string{"config/prometheus/prometheusrule.yaml", "config/grafana/postrider.json", "docs/user-guide.md"} {
		for _, name := range found(`\b(postrider_[a-z_]+[a-z])\b`, read(t, filepath.Join(root, file))) {
			for _, suffix := range []string{"_bucket", "_count", "_sum"} {
				if strings.HasSuffix(name, "_duration_seconds"+suffix) {
					name = strings.TrimSuffix(name, suffix)
				}
			}
			if !slices.Contains(listed, name) {
				t.Errorf("%s: there is no metric %s", file, name)
			}
		}
	}
}
