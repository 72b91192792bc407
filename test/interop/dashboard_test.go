//go:build interop

package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/postrider/postrider/controllers/render"
	"github.com/postrider/postrider/test/peers"
)

// monitor is a PodMonitor, as far as ours go.
type monitor struct {
	Spec struct {
		PodMetricsEndpoints []struct {
			Port, Scheme  string
			HonorLabels   bool
			Authorization struct{ Credentials struct{ Name, Key string } }
			TLSConfig     struct {
				CA struct {
					Secret struct{ Name, Key string }
				}
				ServerName         string
				InsecureSkipVerify bool
			}
			Relabelings []struct {
				TargetLabel, Replacement string
				SourceLabels             []string
			}
		}
	}
}

// scraping is what the Prometheus Operator would make of a PodMonitor, of one endpoint, for one target. secret finds the
// file of a Secret's key.
func scraping(t *testing.T, file, target string, labels map[string]string, secret func(name, key string) string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	var m monitor
	if err := yaml.UnmarshalStrict([]byte(strings.NewReplacer("RELAY", "mx1", "NAMESPACE", "mail").Replace(specOf(t, text))), &m); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	e := m.Spec.PodMetricsEndpoints[0]
	if e.Port != "metrics" {
		t.Errorf("%s scrapes the port %s", file, e.Port)
	}
	tls := map[string]any{"insecure_skip_verify": e.TLSConfig.InsecureSkipVerify}
	if ca := e.TLSConfig.CA.Secret; ca.Name != "" {
		tls["ca_file"], tls["server_name"] = secret(ca.Name, ca.Key), e.TLSConfig.ServerName
	}
	var relabel []map[string]any
	for _, r := range e.Relabelings {
		rule := map[string]any{"target_label": r.TargetLabel, "source_labels": r.SourceLabels}
		if r.Replacement != "" {
			rule["replacement"] = r.Replacement
		}
		relabel = append(relabel, rule)
	}
	return map[string]any{
		"job_name": file, "scheme": e.Scheme, "honor_labels": e.HonorLabels, "tls_config": tls, "relabel_configs": relabel,
		"authorization":  map[string]any{"credentials_file": secret(e.Authorization.Credentials.Name, e.Authorization.Credentials.Key)},
		"static_configs": []any{map[string]any{"targets": []string{target}, "labels": labels}},
	}
}

// specOf is a PodMonitor without what is of Kubernetes; the selector is not ours to follow here.
func specOf(t *testing.T, text []byte) string {
	t.Helper()
	var m struct {
		Spec map[string]any `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	delete(m.Spec, "selector")
	out, err := yaml.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// scraper is a Prometheus that scrapes a relay and an operator as the PodMonitors say, and knows the alerts.
type scraper struct{ address string }

func (w *watched) prometheus() *scraper {
	w.t.Helper()
	token := w.path("token")
	w.must(os.WriteFile(token, []byte("of the operator"), 0o600))
	file, _ := rules(w.t)
	relay := map[string]string{"namespace": "mail", "pod": "mx1-0", "__meta_kubernetes_pod_label_postrider_dev_relay": "mx1"}
	operator := map[string]string{"namespace": "postrider-system", "pod": "postrider-manager-0"}
	conf, err := yaml.Marshal(map[string]any{
		"global":     map[string]any{"scrape_interval": "1s", "evaluation_interval": "1s"},
		"rule_files": []string{file},
		"scrape_configs": []any{
			scraping(w.t, "config/prometheus/relay/podmonitor.yaml", net.JoinHostPort(w.bind, fmt.Sprint(render.MetricsPort)), relay,
				func(_, key string) string { return w.secretFile(key) }),
			scraping(w.t, "config/prometheus/podmonitor.yaml", w.operator(), operator, func(_, _ string) string { return token }),
		},
	})
	w.must(err)
	address := net.JoinHostPort(w.ip(90), "9090")
	p, err := peers.StartPrometheus(w.path("prometheus"), address, string(conf))
	w.must(err)
	w.stopAfter(p.Stop)
	return &scraper{address}
}

// ask asks its API.
func (s *scraper) ask(path string, into any) error {
	response, err := http.Get("http://" + s.address + path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return errors.New(answer.Error)
	}
	return json.Unmarshal(answer.Data, into)
}

// answers says whether a query has a number in its answer.
func (s *scraper) answers(query string) error {
	var data struct {
		Result []struct {
			Metric map[string]string
			Value  [2]any
		}
	}
	if err := s.ask("/api/v1/query?query="+url.QueryEscape(query), &data); err != nil {
		return fmt.Errorf("%s: %w", query, err)
	}
	for _, r := range data.Result {
		if r.Value[1] != "NaN" {
			return nil
		}
	}
	return fmt.Errorf("%s: no data", query)
}

// queries are those of all panels, with the variables filled in.
func queries(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "config/grafana/postrider.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title, Type string
			Targets     []struct{ RefID, Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, p := range dashboard.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %s asks nothing", p.Title)
		}
		for _, target := range p.Targets {
			all[p.Title+" "+target.RefID] = strings.NewReplacer("$namespace", "mail", "$mailrelay", "mx1", "$__rate_interval", "10s").Replace(target.Expr)
		}
	}
	return all
}

// TestDashboard: every query of the dashboard is answered by a Prometheus that scrapes a relay as the PodMonitor says, and
// it can evaluate every alert.
func TestDashboard(t *testing.T) {
	w := newPlace(t).watched()
	s := w.prometheus()
	open := queries(t)
	if len(open) < 40 {
		t.Errorf("only %d queries found: the test would prove nothing", len(open))
	}
	w.answered(s, open)
	s.evaluates(t)
}

// answered waits until each of the queries, by what they are for, has been answered with data once.
func (w *watched) answered(s *scraper, open map[string]string) {
	w.t.Helper()
	next := time.Now()
	eventually(w.t, "every query is answered", func() error {
		if now := time.Now(); !now.Before(next) { // a rate wants traffic
			next = now.Add(time.Second)
			if err := w.traffic(); err != nil {
				w.t.Fatal(err)
			}
		}
		var missing error
		for what, query := range open {
			if err := s.answers(query); err != nil {
				missing = errors.Join(missing, fmt.Errorf("%s: %w", what, err))
				continue
			}
			delete(open, what)
		}
		return missing
	})
}

// evaluates fails the test if an alert cannot be evaluated, or fires for a relay that is well.
func (s *scraper) evaluates(t *testing.T) {
	t.Helper()
	var data struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError, State string }
		}
	}
	eventually(t, "every alert is evaluated", func() error {
		if err := s.ask("/api/v1/rules", &data); err != nil {
			return err
		}
		for _, g := range data.Groups {
			for _, r := range g.Rules {
				if r.Health == "unknown" {
					return errors.New(r.Name)
				}
			}
		}
		return nil
	})
	evaluated := 0
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			evaluated++
			if r.Health != "ok" || r.State == "firing" {
				t.Errorf("alert %s: %s %s %s", r.Name, r.Health, r.State, r.LastError)
			}
		}
	}
	if _, alerts := rules(t); evaluated != len(alerts) {
		t.Errorf("%d of %d alerts are evaluated", evaluated, len(alerts))
	}
}
