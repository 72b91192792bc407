//go:build interop

package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// rule is an alert as a PrometheusRule has it.
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// rules reads the PrometheusRule, and writes what Prometheus itself wants to read.
func rules(t *testing.T) (file string, alerts map[string]rule) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "config/prometheus/prometheusrule.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Spec struct{ Groups []struct{ Rules []rule } }
	}
	var raw struct{ Spec any }
	for _, into := range []any{&manifest, &raw} {
		if err := yaml.Unmarshal(text, into); err != nil {
			t.Fatal(err)
		}
	}
	alerts = map[string]rule{}
	for _, g := range manifest.Spec.Groups {
		for _, r := range g.Rules {
			alerts[r.Alert] = r
		}
	}
	file = filepath.Join(t.TempDir(), "rules.yaml")
	writeYAML(t, file, raw.Spec)
	return file, alerts
}

func writeYAML(t *testing.T, file string, value any) {
	t.Helper()
	text, err := yaml.Marshal(value)
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Labels that scraping gives.
const (
	pod    = `job="postrider-relay",namespace="mail",mailrelay="mx1",pod="mx1-0"`
	object = `job="postrider-operator",namespace="mail",mailrelay="mx1"`
)

// series are samples a minute apart, in promtool's notation, by name; %s in a name are the labels.
type series map[string]string

// alertCase is what makes an alert fire, and what is like it but does not.
type alertCase struct {
	alert string
	// labels are those of the alert besides its name and severity.
	labels       string
	fires, quiet series
}

const ofRelay = `namespace="mail",mailrelay="mx1"`

// after is how long beyond its "for" an alert is looked at: an hour for its range, an hour for the rest.
const after = 2 * time.Hour

// condition are the series of a MailRelay's condition.
func conditionIs(kind, status string) series {
	return series{`postrider_mailrelay_condition{` + object + `,type="` + kind + `",status="` + status + `",reason="R"}`: "1x2880"}
}

func ofPod(name, values string) series { return series{name + "{" + pod + "}": values} }

func (s series) with(name, values string) series {
	s[name] = values
	return s
}

func attempted(class, site string) string {
	return `postrider_attempted_recipients_total{` + pod + `,class="` + class + `",site="` + site + `"}`
}

// attempts are counts of attempts per minute.
func attempts(site string, success, transient, permanent float64) series {
	s := series{}
	for class, perMinute := range map[string]float64{"Success": success, "Transient": transient, "Permanent": permanent} {
		s[attempted(class, site)] = fmt.Sprintf("0+%vx2880", perMinute)
	}
	return s
}

func alertCases() []alertCase {
	return append(mailAlerts(), append(podAlerts(), configAlerts()...)...)
}

func mailAlerts() []alertCase {
	held, hop := "postrider_queue_held_recipients", `postrider_next_hop_up{`+pod+`,host="smtp.example.net:587"}`
	verdict := func(v string) string {
		return `postrider_filter_verdicts_total{` + pod + `,filter="spam",verdict="` + v + `"}`
	}
	dropped := `postrider_webhook_events_dropped_total{` + pod + `,webhook="crm"}`
	return []alertCase{
		{"PostriderMailWaitsLong", ofRelay, ofPod("postrider_queue_oldest_age_seconds", "14401+60x2880"), ofPod("postrider_queue_oldest_age_seconds", "14399x2880")},
		{"PostriderBacklogGrows", ofRelay, ofPod("postrider_queue_deliverable_recipients", "2000+10x2880"), ofPod("postrider_queue_deliverable_recipients", "90000-10x2880")},
		{"PostriderManyDeferrals", ofRelay, attempts("mx.example.net", 2, 4, 0), attempts("mx.example.net", 4, 2, 2)},
		{"PostriderSiteDefers", ofRelay + `,site="mx.example.net"`, attempts("mx.example.net", 0.1, 4, 0), attempts("other", 0.1, 4, 0)},
		{"PostriderManyBounces", ofRelay, attempts("mx.example.net", 8, 0, 2), attempts("mx.example.net", 19, 0, 1)},
		{"PostriderMailHeld", ofRelay, ofPod(held, "1x2880"), ofPod(held, "1x1380 0x1500")},
		{"PostriderNextHopDown", ofRelay + `,host="smtp.example.net:587"`, series{hop: "0x2880"}, series{hop: "1x125 0x60"}},
		{"PostriderUpstreamNotReady", ofRelay, conditionIs("UpstreamReady", "False"), conditionIs("UpstreamReady", "True")},
		{"PostriderFilterSilent", ofRelay + `,filter="spam"`,
			series{verdict("none"): "0+3x2880", verdict("accept"): "0+7x2880"}, series{verdict("none"): "0+1x2880", verdict("accept"): "0+9x2880"}},
		{"PostriderWebhookDrops", ofRelay + `,webhook="crm"`, series{dropped: "0x115 1x60"}, series{dropped: "1x2880"}},
	}
}

func podAlerts() []alertCase {
	replicas := func(want, ready int) series {
		return series{`postrider_mailrelay_replicas{` + object + `}`: fmt.Sprint(want, "x2880"),
			`postrider_mailrelay_ready_replicas{` + object + `}`: fmt.Sprint(ready, "x2880")}
	}
	disk := func(values string) series {
		return ofPod("postrider_disk_free_bytes", values).with("postrider_disk_reserve_bytes{"+pod+"}", "1000x2880")
	}
	connections := func(open string) series {
		return ofPod("postrider_connections", open).with("postrider_connections_limit{"+pod+"}", "1000x2880")
	}
	return []alertCase{
		{"PostriderNoPodServes", ofRelay, replicas(2, 0), replicas(0, 0)},
		{"PostriderPodsNotReady", ofRelay, replicas(3, 2), replicas(3, 3)},
		{"PostriderPodNotScraped", pod, ofPod("up", "0x2880"), ofPod("up", "1x2880")},
		{"PostriderPodSilent", ofRelay, conditionIs("QueueHealthy", "Unknown"), conditionIs("QueueHealthy", "False")},
		{"PostriderDiskBelowReserve", pod, disk("999x2880"), disk("1000x2880")},
		{"PostriderDiskFillsUp", pod, disk("6000-20x300"), disk("1000000-20x2880")},
		{"PostriderMemoryShort", pod, ofPod("postrider_memory_short", "1x2880"), ofPod("postrider_memory_short", "0x122 1x60")},
		{"PostriderManyConnections", pod, connections("901x2880"), connections("900x2880")},
		{"PostriderSpoolDamaged", pod, ofPod("postrider_queue_damaged_records", "1x2880"), ofPod("postrider_queue_damaged_records", "0x2880")},
		{"PostriderLedgerWrong", pod, ofPod("postrider_ledger_difference_recipients", "-1x2880"), ofPod("postrider_ledger_difference_recipients", "0x2880")},
		{"PostriderStrandedMail", ofRelay, series{`postrider_mailrelay_stranded_volumes{` + object + `}`: "1x2880"}, series{`postrider_mailrelay_stranded_volumes{` + object + `}`: "1x125 0x60"}},
		{"PostriderDrainSlow", ofRelay, conditionIs("Draining", "True"), conditionIs("Draining", "False")},
	}
}

func configAlerts() []alertCase {
	listener := func(name, values string) series {
		return series{name + "{" + pod + `,listener="submission"}`: values}
	}
	const ofListener = ofRelay + `,listener="submission"`
	const day = 24 * time.Hour
	const expiry = "postrider_listener_certificate_expiry_timestamp_seconds"
	expires := func(after time.Duration) series { return listener(expiry, fmt.Sprint(after.Seconds(), "x2880")) }
	domains := func(kind, status string) series {
		return series{`postrider_sendingdomains{` + object + `,type="` + kind + `",status="` + status + `"}`: "3x2880"}
	}
	policies := func(status string) series {
		return series{`postrider_ratelimitpolicies{job="postrider-operator",namespace="mail",type="Ready",status="` + status + `"}`: "1x2880"}
	}
	up := func(values string) series {
		return series{`up{job="postrider-operator",pod="postrider-manager-0"}`: values}
	}
	return []alertCase{
		{"PostriderConfigNotInForce", ofRelay, conditionIs("ConfigCurrent", "False"), conditionIs("ConfigCurrent", "True")},
		{"PostriderConfigNotInForce", ofRelay, ofPod("postrider_config_rejected", "1x2880"), ofPod("postrider_config_rejected", "0x2880")},
		{"PostriderStalled", ofRelay, conditionIs("Stalled", "True"), conditionIs("Reconciling", "True")},
		{"PostriderListenerDown", ofListener, listener("postrider_listener_up", "0x2880"), listener("postrider_listener_up", "1x2880")},
		{"PostriderCertificateExpires", ofListener, expires(14 * day), expires(15 * day)},
		{"PostriderCertificateExpired", ofListener, expires(time.Hour), expires(day)},
		{"PostriderDomainNotReady", ofRelay, domains("Ready", "False"), domains("Ready", "Unknown")},
		{"PostriderDNSWrong", ofRelay + `,type="SPFVerified"`, domains("SPFVerified", "False"), domains("SPFVerified", "Unknown")},
		{"PostriderPolicyNotInForce", `namespace="mail"`, policies("False"), policies("True")},
		{"PostriderOperatorDown", "", up("0x2880"), up("1x2880")},
	}
}

// promTest is one test of promtool.
type promTest struct {
	Interval string         `json:"interval"`
	Input    []inputSeries  `json:"input_series"`
	Expr     []promExprTest `json:"promql_expr_test"`
	Name     string         `json:"name"`
}

type inputSeries struct {
	Series string `json:"series"`
	Values string `json:"values"`
}

type promExprTest struct {
	Expr    string       `json:"expr"`
	At      string       `json:"eval_time"`
	Samples []promSample `json:"exp_samples"`
}

type promSample struct {
	Labels string  `json:"labels"`
	Value  float64 `json:"value"`
}

// test looks at an alert at a time, in minutes.
func (s series) test(name, alert string, at int, samples ...promSample) promTest {
	test := promTest{Interval: "1m", Name: name, Expr: []promExprTest{{
		Expr: fmt.Sprintf(`count without (alertstate, severity, __name__) (ALERTS{alertname=%q,alertstate="firing"})`, alert),
		At:   fmt.Sprint(at, "m"), Samples: samples,
	}}}
	for name, values := range s {
		test.Input = append(test.Input, inputSeries{name, values})
	}
	return test
}

// suite writes the tests of one case, and the rule alone, for promtool.
func (c alertCase) suite(t *testing.T, r rule) (file string) {
	t.Helper()
	at := after
	if r.For != "" {
		pending, err := time.ParseDuration(r.For)
		if err != nil {
			t.Fatalf("%s: %v", c.alert, err)
		}
		at += pending
	}
	minutes := int(at.Minutes())
	firing := promSample{`{alertname="` + c.alert + `",` + c.labels + `}`, 1}
	dir := t.TempDir()
	writeYAML(t, filepath.Join(dir, "rule.yaml"), map[string]any{"groups": []any{map[string]any{"name": "one", "rules": []rule{r}}}})
	writeYAML(t, filepath.Join(dir, "suite.yaml"), map[string]any{"rule_files": []string{"rule.yaml"}, "evaluation_interval": "1m",
		"tests": []promTest{c.fires.test("fires", c.alert, minutes, firing), c.quiet.test("is quiet", c.alert, minutes)}})
	return filepath.Join(dir, "suite.yaml")
}

// TestAlerts: each alert fires for what it is about, with the labels that its text wants, and not for what is like it.
func TestAlerts(t *testing.T) {
	file, alerts := rules(t)
	command := []string{"test", "rules"}
	tested := map[string]bool{}
	for _, c := range alertCases() {
		tested[c.alert] = true
		command = append(command, c.suite(t, alerts[c.alert]))
		for _, text := range alerts[c.alert].Annotations {
			for _, label := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(text, -1) {
				if !strings.Contains(","+c.labels, ","+label[1]+"=") {
					t.Errorf("%s tells of a label %s that it does not have", c.alert, label[1])
				}
			}
		}
	}
	for name := range alerts {
		if !tested[name] {
			t.Errorf("%s is not tested", name)
		}
	}
	for _, args := range [][]string{command, {"check", "rules", "--lint=all", "--lint-fatal", file}} {
		if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool: %v\n%s", err, out)
		}
	}
}
