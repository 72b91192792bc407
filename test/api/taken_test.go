package api_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/postrider/postrider/api/v1alpha1"
)

func TestDefaults(t *testing.T) {
	for base, want := range map[string]string{
		mailRelay: `
spec:
  replicas: 1
  hostname: mx1.example.com
  postmaster: ops@example.com
  listeners: [{name: smtp, port: 25, mode: Relay}]
  access: {undeclaredSenders: Reject}
  allowedDomains: {namespaces: {from: Same}}
  drain:
    onDelete: Deliver
    onScaleDown: Handoff
    onTimeout: Hold
    timeoutSeconds: 3600
  service: {type: ClusterIP}
  queue:
    storage: {size: 1Gi, reclaim: WhenDrained}
    retry: {initialSeconds: 300, maxSeconds: 14400}
    maxMessageAgeSeconds: 432000
    delayWarningSeconds: 14400
    maxMessageBytes: 52428800
    bareNewline: Reject
  networkPolicy: Managed
  upgrade: Automatic
  reconciliation: Active
status: {observedGeneration: -1}`,
		sendingDomain: `
spec:
  domain: acme.example
  relayRef: {name: outbound}
  dkim: {signing: Enabled, algorithms: [RSA2048, Ed25519]}
  dns: {gates: [DKIM], recheckSeconds: 3600}
  weight: 10
status: {observedGeneration: -1}`,
		rateLimitPolicy: `
spec:
  targetRefs: [{kind: MailRelay, name: outbound}]
  stage: Delivery
  key: Site
  limits: {messages: 600, perSeconds: 60}
  scope: Pod
status: {observedGeneration: -1}`,
	} {
		object := parse(t, base, edits{"metadata.name": "defaults"})
		t.Run(object.GetKind(), func(t *testing.T) {
			if err := server.Create(t.Context(), object); err != nil {
				t.Fatal(err)
			}
			got, err := yaml.Marshal(map[string]any{"spec": object.Object["spec"], "status": object.Object["status"]})
			if err != nil {
				t.Fatal(err)
			}
			wanted := map[string]any{}
			if err := yaml.Unmarshal([]byte(want), &wanted); err != nil {
				t.Fatal(err)
			}
			canonical, err := yaml.Marshal(wanted)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(canonical), string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// An empty list of gates is something else than none: it must survive a Go client.
func TestEmptyGatesStay(t *testing.T) {
	d := &v1alpha1.SendingDomain{}
	d.Name, d.Namespace = "empty-gates", "default"
	d.Spec.Domain, d.Spec.RelayRef.Name = "acme.example", "outbound"
	d.Spec.DNS.Gates = []v1alpha1.DNSGate{}
	if err := server.Create(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if d.Spec.DNS.Gates == nil || len(d.Spec.DNS.Gates) != 0 || d.Spec.DNS.RecheckSeconds != 3600 {
		t.Errorf("DNS is %+v", d.Spec.DNS)
	}
}

// What is allowed at the edge of what is refused.
func TestTaken(t *testing.T) {
	for name, e := range map[string]edits{
		"the longest name":       {"metadata.name": strings.Repeat("a", 40)},
		"a single private range": {"spec.access.trustedCIDRs": `[10.0.0.0/8, "2001:db8::/32"]`},
		"ports around the taken": {"spec.listeners": "[{name: a, port: 2000, mode: Relay}, {name: b, port: 3024, mode: Relay}]"},
		"submission":             {"spec.listeners": submission},
		"a certificate issued":   {"spec.listeners.0.tls": "{mode: Implicit, issuerRef: {name: le, kind: ClusterIssuer}, dnsNames: [outbound.mail.svc]}"},
		"namespaces by label":    {"spec.allowedDomains": "{namespaces: {from: Selector, selector: {matchLabels: {mail: yes-please}}}, suffixes: [example.com]}"},
		"no delay warning":       {"spec.queue.delayWarningSeconds": "0", "spec.queue.maxMessageAgeSeconds": "60"},
		"an address for a host":  {"spec.routes": smartHost, "spec.routes.0.smartHosts.0.host": "'2001:db8::1'"},
		"one label for a host":   {"spec.routes": smartHost, "spec.routes.0.smartHosts.0.host": "mailhog"},
		"a password over TLS":    {"spec.routes": smartHost, "spec.routes.0.smartHosts.0.secretRef.name": "up"},
		"an A-label":             {"spec.hostname": "mx.xn--bcher-kva.example"},
		"a load balancer":        {"spec.service": "{type: LoadBalancer, externalTrafficPolicy: Local, loadBalancerClass: a/b, sourceRanges: [0.0.0.0/0]}"},
		"behind a proxy":         {"spec.listeners.0.proxyProtocol": "Required", "spec.listeners.0.proxyCIDRs": "['10.0.0.0/8', '2001:db8::/32']"},
		"a proxy ruled out":      {"spec.listeners.0.proxyProtocol": "Disabled"},
		"mailboxes":              {"spec.routes": mailboxes, "spec.routes.0.lmtp.host": "'2001:db8::1'", "spec.routes.0.verifyRecipients": "None"},
		"a backup MX":            {"spec.routes": backupMX, "spec.routes.0.backup.probeSeconds": "3600"},
		"tokens":                 {"spec.routes": oauth2Host, "spec.routes.0.smartHosts.0.oauth2.scopes": "['https://mail.example.net/']"},
		"a verifying smart host": {"spec.routes": smartHost, "spec.routes.0.verifyRecipients": "Probe"},
		"two filters":            {"spec.filters": "[{name: a, milter: {host: h, port: 1}}, {name: b, milter: {host: h, port: 1}}]"},
		"a block list":           {"spec.filters": blockList, "spec.filters.0.onFailure": "Defer", "spec.filters.0.timeoutSeconds": "60"},
		"rspamd at an address":   {"spec.filters": spamFilter, "spec.filters.0.rspamd.url": "'http://[2001:db8::1]:11333/'"},
		"a webhook":              {"spec.events.webhooks": hook, "spec.events.webhooks.0.types": "[Accepted, Delivered, Deferred, Bounced, Suppressed]", "spec.events.webhooks.0.url": "'https://hooks.example.com:8443/a/b.php?x=1&y=%20'"},
		"resolvers":              {"spec.dns.resolvers": "['192.0.2.53:53', '[2001:db8::53]:5353']"},
		"handed to another":      {"spec.drain": "{onDelete: Handoff, handoffTo: {name: other}}"},
		"volumes kept":           {"spec.drain": "{onDelete: Retain}"},
		"upgraded by hand":       {"spec.upgrade": "Manual"},
		"a version":              {"spec.upgrade": "Manual", "spec.version": "v1.2.0-rc.1"},
		"both egress families":   {"spec.egress.addresses": "[203.0.113.10, '2001:db8::10']"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := server.Create(t.Context(), parse(t, mailRelay, e), client.DryRunAll, client.FieldValidation("Strict")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestStorageGrows(t *testing.T) {
	object := parse(t, mailRelay, edits{"metadata.name": "grows"})
	if err := server.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	put(t, object.Object, []string{"spec", "queue", "storage", "size"}, "2048Mi", false)
	if err := server.Update(t.Context(), object); err != nil {
		t.Error(err)
	}
}

// Each sample is taken, and applying it again changes nothing.
func TestSamples(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "config", "samples", "*.yaml"))
	if err != nil || len(files) < 5 {
		t.Fatalf("samples %v, error %v", files, err)
	}
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			for _, object := range documents(t, file) {
				// The server stores the default of the status with the first write after the creation.
				apply(t, object)
				first := apply(t, object)
				if diff := cmp.Diff(first, apply(t, object)); diff != "" {
					t.Errorf("%s %s: applying it again changes it: %s", object.GetKind(), object.GetName(), diff)
				}
			}
		})
	}
}

func documents(t *testing.T, file string) []*unstructured.Unstructured {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var objects []*unstructured.Unstructured
	for _, text := range strings.Split(string(data), "\n---\n") {
		objects = append(objects, parse(t, text, edits{"metadata.namespace": "default"}))
	}
	return objects
}

// apply applies an object as kubectl apply --server-side does, and returns what it is then.
func apply(t *testing.T, object *unstructured.Unstructured) map[string]any {
	t.Helper()
	live := object.DeepCopy()
	err := server.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(live), client.FieldOwner("kubectl"))
	if err != nil {
		t.Fatal(err)
	}
	return live.Object
}
