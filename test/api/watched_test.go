package api_test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// TestWatchedInstallation: config/watched is config/default with what watches it, and the API server takes whom Prometheus
// shows itself as.
func TestWatchedInstallation(t *testing.T) {
	plain, watched := kustomize(t, "config/default"), kustomize(t, "config/watched")
	for name, object := range plain {
		if watched[name] != object {
			t.Errorf("config/watched has another %s, or none", name)
		}
	}
	added := []string{
		"PodMonitor postrider-operator", "PrometheusRule postrider", "ServiceAccount postrider-scraper",
		"Secret postrider-scraper", "ClusterRoleBinding postrider-scraper", "ConfigMap postrider-dashboard",
	}
	for _, name := range added {
		if watched[name] == "" {
			t.Errorf("config/watched has no %s", name)
		}
	}
	if len(watched) != len(plain)+len(added) {
		t.Errorf("%d objects; want %d and %d", len(watched), len(plain), len(added))
	}
	for _, name := range []string{"Namespace postrider-system", "ServiceAccount postrider-scraper", "Secret postrider-scraper",
		"ClusterRoleBinding postrider-scraper", "ConfigMap postrider-dashboard"} {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(watched[name]), &u.Object); err != nil {
			t.Fatal(err)
		}
		if err := server.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("test")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var dashboard struct{ Data map[string]string }
	if err := yaml.Unmarshal([]byte(watched["ConfigMap postrider-dashboard"]), &dashboard); err != nil {
		t.Fatal(err)
	}
	if !json.Valid([]byte(dashboard.Data["postrider.json"])) {
		t.Error("the dashboard is no JSON")
	}
}

// kustomize makes the objects of a directory, by kind and name.
func kustomize(t *testing.T, dir string) map[string]string {
	t.Helper()
	const root = "../.."
	binaries, err := findBinaries()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(binaries, "kubectl"), "kustomize", filepath.Join(root, dir)).Output()
	if err != nil {
		t.Fatalf("kustomize %s: %v", dir, err)
	}
	objects := map[string]string{}
	for _, text := range strings.Split(string(out), "\n---\n") {
		var o struct {
			Kind     string
			Metadata struct{ Name string }
		}
		if err := yaml.Unmarshal([]byte(text), &o); err != nil {
			t.Fatal(err)
		}
		objects[o.Kind+" "+o.Metadata.Name] = strings.TrimSpace(text)
	}
	return objects
}
