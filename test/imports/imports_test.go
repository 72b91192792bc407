// Package imports holds the project's dependency rules against what the packages really import.
package imports

import (
	"encoding/json"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/postrider/postrider/"

// allowed lists, for each package, the packages of ours that it may import. One that is not listed fails the
// test: a new package states its place in the house. "..." at the end admits a whole subtree.
var allowed = map[string][]string{
	"relay/config":    {},
	"relay/status":    {},
	"relay/reply":     {},
	"relay/envelope":  {"relay/reply"},
	"relay/dns":       {},
	"relay/auth":      {"relay/config", "relay/reply"},
	"relay/rate":      {"relay/config"},
	"relay/policy":    {"relay/config", "relay/envelope", "relay/message", "relay/rate", "relay/reply"},
	"relay/dkim":      {"relay/config", "relay/message"},
	"relay/message":   {},
	"relay/spool":     {"relay/envelope"},
	"relay/schedule":  {"relay/config", "relay/envelope", "relay/rate", "relay/spool"},
	"relay/route":     {"relay/config", "relay/dns", "relay/envelope", "relay/health", "relay/reply", "relay/token"},
	"relay/health":    {"relay/config"},
	"relay/token":     {},
	"relay/verify":    {"relay/envelope", "relay/reply", "relay/route"},
	"relay/deliver":   {"relay/config", "relay/envelope", "relay/reply", "relay/route"},
	"relay/bounce":    {"relay/envelope", "relay/reply"},
	"relay/suppress":  {"relay/reply", "relay/spool"},
	"relay/listener":  {"relay/auth", "relay/config", "relay/envelope", "relay/reply"},
	"relay/admin":     {"relay/directive", "relay/envelope", "relay/event", "relay/status"},
	"relay/directive": {"relay/envelope", "relay/spool"},
	"relay/handoff":   {"relay/config", "relay/directive", "relay/envelope", "relay/spool", "relay/suppress"},
	"relay/smtptest":  {"relay/reply"},
	"relay/event":     {},
	"relay/journal":   {"relay/event"},
	"relay/tracing":   {"relay/config", "relay/event"},
	"relay/filter":    {"relay/config", "relay/dns", "relay/message", "relay/reply"},
	"relay/webhook":   {"relay/config", "relay/event", "relay/route"},
	"relay":           {"relay/..."},

	"api/v1alpha1":                {},
	"controllers/desired":         {"api/v1alpha1", "controllers/foreign", "controllers/render", "relay/config"},
	"controllers/foreign":         {},
	"controllers/optional":        {},
	"controllers/render":          {"api/v1alpha1", "relay/config", "controllers/share"},
	"controllers/share":           {},
	"controllers/manifest":        {"api/v1alpha1", "config/crd"},
	"controllers/apply":           {},
	"controllers/claim":           {"api/v1alpha1"},
	"controllers/dkimkey":         {"api/v1alpha1"},
	"controllers/secret":          {},
	"controllers/programmed":      {"api/v1alpha1"},
	"controllers/metrics":         {"api/v1alpha1", "controllers/desired"},
	"controllers/operator":        {"api/v1alpha1", "relay/dns", "controllers/..."},
	"controllers/index":           {"api/v1alpha1", "controllers/claim", "controllers/render"},
	"controllers/tenancy":         {"api/v1alpha1", "controllers/claim", "controllers/index"},
	"controllers/serviceaccount":  {"relay/config"},
	"controllers/pki":             {},
	"controllers/probe":           {"relay/status"},
	"controllers/condition":       {"api/v1alpha1", "relay/status"},
	"controllers/dnscheck":        {"api/v1alpha1", "relay/dns"},
	"controllers/mailrelay":       {"api/v1alpha1", "relay/dns", "relay/config", "relay/status", "controllers/..."},
	"controllers/sendingdomain":   {"api/v1alpha1", "relay/dns", "relay/status", "controllers/..."},
	"controllers/ratelimitpolicy": {"api/v1alpha1", "relay/status", "controllers/..."},
	"config":                      {},
	"config/crd":                  {},

	"cmd/...":  {"..."},
	"hack/...": {"..."},
	"test/...": {"..."},
}

// banned are libraries that a part of the tree must not reach, not even through another package.
var banned = map[string][]string{
	"relay":       {"k8s.io/", "sigs.k8s.io/"},
	"controllers": {"github.com/emersion/", "github.com/cockroachdb/"},
	"api":         {"github.com/emersion/", "github.com/cockroachdb/", "github.com/miekg/"},
}

type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func TestImports(t *testing.T) {
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		rules, known := rulesFor(name)
		if !known {
			t.Errorf("%s: not in the allow-list; say there what it may import", name)
		}
		for _, imported := range p.Imports {
			if ours, ok := strings.CutPrefix(imported, module); ok && !matches(rules, ours) {
				t.Errorf("%s imports %s; it may import %v", name, ours, rules)
			}
		}
		top, _, _ := strings.Cut(name, "/")
		for _, dep := range p.Deps {
			for _, library := range banned[top] {
				if strings.HasPrefix(dep, library) {
					t.Errorf("%s reaches %s; nothing under %s/ may", name, dep, top)
				}
			}
		}
		for _, word := range []string{"util", "utils", "common", "helper", "helpers", "base"} {
			if path.Base(name) == word {
				t.Errorf("%s: a package is named after what it owns, not %q", name, word)
			}
		}
	}
}

func list(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps=false", "-json=ImportPath,Imports,Deps", module+"...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	var packages []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p listed
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) < 3 {
		t.Fatalf("only %d packages listed: the test would prove nothing", len(packages))
	}
	return packages
}

func rulesFor(name string) ([]string, bool) {
	if rules, ok := allowed[name]; ok {
		return rules, true
	}
	for pattern, rules := range allowed {
		if strings.HasSuffix(pattern, "/...") && matches([]string{pattern}, name) {
			return rules, true
		}
	}
	return nil, false
}

func matches(rules []string, name string) bool {
	return slices.ContainsFunc(rules, func(rule string) bool {
		tree, isTree := strings.CutSuffix(rule, "...")
		return rule == name || isTree && strings.HasPrefix(name+"/", tree)
	})
}
