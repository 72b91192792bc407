package packaging

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// digest is that of no image.
const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// relayImage makes RELAY_IMAGE the image of the operator. The documentation shows it for overlays of one's own.
const relayImage = `
replacements:
- source: {kind: Deployment, name: postrider-manager, fieldPath: "spec.template.spec.containers.[name=manager].image"}
  targets:
  - select: {kind: Deployment, name: postrider-manager}
    fieldPaths: ["spec.template.spec.containers.[name=manager].env.[name=RELAY_IMAGE].value"]
`

// TestChartIsConfig: the chart renders what kustomize renders, object by object. The namespace is Helm's own affair, and
// definitions bear the note that Helm is to keep them.
func TestChartIsConfig(t *testing.T) {
	for name, c := range map[string]struct{ dir, overlay, namespace, values string }{
		"default": {dir: "config/default"},
		"watched": {dir: "config/watched", values: "monitoring: {enabled: true}"},
		"namespaced": {dir: "config/namespaced", namespace: "mail", values: `
namespaced: true
crds: {install: false}
`},
		"another namespace": {dir: "config/default", namespace: "mail-system", overlay: `
namespace: mail-system
`},
		"image by digest": {dir: "config/default", overlay: `
images: [{name: ghcr.io/postrider/postrider, newName: registry.example.com/mail/postrider, digest: "` + digest + `"}]
` + relayImage, values: `
image: {repository: registry.example.com/mail/postrider, digest: "` + digest + `"}
`},
		"image by tag and relays another": {dir: "config/default", overlay: `
images: [{name: ghcr.io/postrider/postrider, newTag: v2}]
patches:
- target: {kind: Deployment}
  patch: |
    - {op: replace, path: /spec/template/spec/containers/0/env/0/value, value: "relay.example.com/r:1"}
`, values: `
image: {tag: v2}
relayImage: relay.example.com/r:1
`},
		"everything": {dir: "config/default", overlay: everythingPatch, values: everythingValues},
	} {
		t.Run(name, func(t *testing.T) {
			namespace := c.namespace
			if namespace == "" {
				namespace = "postrider-system"
			}
			want, got := kustomize(t, c.dir, c.overlay), chart(t, namespace, c.values)
			delete(want, "Namespace /"+namespace)
			for key, object := range got {
				if strings.HasPrefix(key, "CustomResourceDefinition ") {
					unstructured.RemoveNestedField(object, "metadata", "annotations", "helm.sh/resource-policy")
				}
			}
			if len(want) < 6 {
				t.Fatalf("only %d objects: the test would prove nothing", len(want))
			}
			same(t, want, got)
		})
	}
}

const everythingPatch = `
patches:
- target: {kind: Deployment}
  patch: |
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: postrider-manager}
    spec:
      replicas: 2
      template:
        metadata: {labels: {team: mail}, annotations: {note: "yes"}}
        spec:
          priorityClassName: system-cluster-critical
          imagePullSecrets: [{name: registry}]
          nodeSelector: {kubernetes.io/os: linux}
          tolerations: [{key: mail, operator: Exists}]
          affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname}]}}
          topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]
          containers:
          - name: manager
            imagePullPolicy: Always
            resources: {limits: {memory: 1Gi}, requests: {cpu: 1, memory: 1Gi}}
- target: {kind: Deployment}
  patch: |
    - {op: add, path: /spec/template/spec/containers/0/args/-, value: --cluster-domain=corp.example}
    - {op: add, path: /spec/template/spec/containers/0/env/-, value: {name: GOMAXPROCS, value: "1"}}
- target: {kind: NetworkPolicy}
  patch: |
    $patch: delete
    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata: {name: postrider-manager}
`

const everythingValues = `
replicas: 2
podLabels: {team: mail}
podAnnotations: {note: "yes"}
priorityClassName: system-cluster-critical
imagePullSecrets: [{name: registry}]
nodeSelector: {kubernetes.io/os: linux}
tolerations: [{key: mail, operator: Exists}]
affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname}]}}
topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]
image: {pullPolicy: Always}
resources: {limits: {memory: 1Gi}, requests: {cpu: 1, memory: 1Gi}}
extraArgs: [--cluster-domain=corp.example]
extraEnv: [{name: GOMAXPROCS, value: "1"}]
networkPolicy: {enabled: false}
`

// TestChartAndDefinitions: they are templates, so that an upgrade upgrades them; an uninstallation leaves them, unless
// told otherwise; and they can be left out.
func TestChartAndDefinitions(t *testing.T) {
	for values, want := range map[string]struct {
		definitions int
		policy      string
	}{
		"{}":                     {3, "keep"},
		"crds: {keep: false}":    {3, ""},
		"crds: {install: false}": {0, ""},
	} {
		count := 0
		for key, object := range chart(t, "postrider-system", values) {
			if !strings.HasPrefix(key, "CustomResourceDefinition ") {
				continue
			}
			count++
			if policy, _, _ := unstructured.NestedString(object, "metadata", "annotations", "helm.sh/resource-policy"); policy != want.policy {
				t.Errorf("%s: %s has the resource policy %q", values, key, policy)
			}
		}
		if count != want.definitions {
			t.Errorf("%s: %d definitions; want %d", values, count, want.definitions)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "config/helm/crds")); err == nil {
		t.Error("config/helm/crds is there: Helm would never upgrade what is in it")
	}
}

// TestChartRefuses: the schema knows what values there are.
func TestChartRefuses(t *testing.T) {
	for values, word := range map[string]string{
		"image: {tga: v1}":                                "tga",
		"replicas: two":                                   "replicas",
		"image: {digest: 0123}":                           "digest",
		"image: {digest: 'sha256:abc'}":                   "digest",
		"imagePullSecrets: [registry]":                    "imagePullSecrets",
		"podAnnotations: {note: true}":                    "note",
		"networkPolicy: {enabled: yes-please}":            "enabled",
		"image: {repository: 'a/b@sha256:abc'}":           "repository",
		"{namespaced: true, monitoring: {enabled: true}}": "scrape",
	} {
		out, err := render(t, "postrider-system", values)
		if err == nil || !strings.Contains(out, word) {
			t.Errorf("%s: %v; want a complaint about %s, not\n%s", values, err, word, out)
		}
	}
}

// TestEveryValueHasASchema, so that a value that is mistyped is told.
func TestEveryValueHasASchema(t *testing.T) {
	values := parseOne(t, "config/helm/values.yaml")
	schema, _, _ := unstructured.NestedMap(parseOne(t, "config/helm/values.schema.json"), "properties")
	delete(schema, "global") // Helm's own
	have, want := slices.Sorted(maps.Keys(schema)), slices.Sorted(maps.Keys(values))
	if !slices.Equal(have, want) {
		t.Errorf("the schema has %v, the values are %v", have, want)
	}
}

// chart renders the chart.
func chart(t *testing.T, namespace, values string) objects {
	t.Helper()
	out, err := render(t, namespace, values)
	if err != nil {
		t.Fatalf("helm template: %v\n%s", err, out)
	}
	return parse(t, out)
}

func render(t *testing.T, namespace, values string) (string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program(t, "bin/tools/helm"), "template", "postrider", filepath.Join(root, "config/helm"),
		"--namespace", namespace, "--values", file)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+t.TempDir(), "HELM_CONFIG_HOME="+t.TempDir(), "HELM_DATA_HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// same compares two sets of objects.
func same(t *testing.T, want, got objects) {
	t.Helper()
	for key := range maps.Keys(got) {
		if want[key] == nil {
			t.Errorf("%s is in the chart alone", key)
		}
	}
	for key, object := range want {
		if got[key] == nil {
			t.Errorf("%s is not in the chart", key)
			continue
		}
		if diff := cmp.Diff(object, got[key]); diff != "" {
			t.Errorf("%s differs, config/ (-) and config/helm (+). What config/manager says, config/helm/templates/manager.yaml says too.\n%s", key, diff)
		}
	}
}

// parseOne reads a file that holds one YAML or JSON document.
func parseOne(t *testing.T, path string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := yaml.Unmarshal(data, &object); err != nil {
		t.Fatal(err)
	}
	return object
}
