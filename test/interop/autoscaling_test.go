//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"

	"sigs.k8s.io/yaml"
)

// manifestOf reads a file of config/autoscaling.
func manifestOf(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "config/autoscaling", name))
	if err == nil {
		err = yaml.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// adapted are the queries that prometheus-adapter would make for MailRelay mail/mx1, by the name of the metric, and the
// series that it looks for before.
func adapted(t *testing.T) (queries map[string]string, series []string) {
	t.Helper()
	var values struct {
		Rules struct {
			Custom []struct {
				SeriesQuery, MetricsQuery string
				Name                      struct{ As string }
				Resources                 struct {
					Overrides map[string]struct{ Group, Resource string }
				}
			}
		}
	}
	manifestOf(t, "prometheus-adapter.yaml", &values)
	queries = map[string]string{}
	for _, rule := range values.Rules.Custom {
		if o := rule.Resources.Overrides["mailrelay"]; o.Group != "postrider.dev" || o.Resource != "mailrelay" {
			t.Errorf("%s is a metric of %+v", rule.Name.As, o)
		}
		name, _, _ := strings.Cut(rule.SeriesQuery, "{")
		var query strings.Builder
		err := template.Must(template.New("").Delims("<<", ">>").Parse(rule.MetricsQuery)).Execute(&query, map[string]string{
			"Series": name, "LabelMatchers": `namespace="mail",mailrelay="mx1"`, "GroupBy": "mailrelay",
		})
		if err != nil {
			t.Fatal(err)
		}
		queries[rule.Name.As], series = query.String(), append(series, rule.SeriesQuery)
	}
	return queries, series
}

// scaledBy are the metrics that the HorizontalPodAutoscaler asks for.
func scaledBy(t *testing.T) []string {
	t.Helper()
	var hpa struct {
		Spec struct {
			Metrics []struct {
				Object struct{ Metric struct{ Name string } }
			}
		}
	}
	manifestOf(t, "hpa.yaml", &hpa)
	var names []string
	for _, m := range hpa.Spec.Metrics {
		names = append(names, m.Object.Metric.Name)
	}
	return names
}

// triggers are the queries of the ScaledObject.
func triggers(t *testing.T) []string {
	t.Helper()
	var scaled struct {
		Spec struct {
			Triggers []struct{ Metadata struct{ Query string } }
		}
	}
	manifestOf(t, "keda.yaml", &scaled)
	var queries []string
	for _, trigger := range scaled.Spec.Triggers {
		queries = append(queries, trigger.Metadata.Query)
	}
	return queries
}

// TestAutoscaling: what autoscalers ask is answered by a Prometheus that scrapes a relay as the PodMonitor says.
func TestAutoscaling(t *testing.T) {
	byName, series := adapted(t)
	asked := slices.Concat(series, triggers(t))
	for _, name := range scaledBy(t) {
		if byName[name] == "" {
			t.Errorf("no rule makes the metric %s", name)
		}
		asked = append(asked, byName[name])
	}
	if len(asked) != 6 {
		t.Fatalf("%d queries found: %q", len(asked), asked)
	}
	open := map[string]string{}
	for _, query := range asked {
		open[query] = query
	}
	w := newPlace(t).watched()
	w.answered(w.prometheus(), open)
}
