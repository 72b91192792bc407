// Package packaging holds the ways to install Postrider against each other: what kustomize makes of config/ is the
// measure of the chart, of the bundle and of dist/install.yaml.
package packaging

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// root is the top of the tree.
const root = "../.."

// TestMain opens what the programs read that the tests run, so that `go test` knows when a result of its cache is stale.
func TestMain(m *testing.M) {
	for _, dir := range []string{"config", "bundle", "hack/bundle"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			file, err := os.Open(path)
			return errors.Join(err, file.Close())
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// objects are what is installed, by kind, namespace and name.
type objects map[string]map[string]any

// program is one that make builds, by its path from the root.
func program(t *testing.T, path string) string {
	t.Helper()
	name := filepath.Join(root, path)
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" && filepath.Base(path) == "kubectl" {
		name = filepath.Join(dir, "kubectl")
	}
	if _, err := os.Stat(name); err != nil {
		t.Fatalf("%v: run make helm kube-test", err)
	}
	return name
}

// output is what a command prints; it must not fail.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, stderr.String())
	}
	return string(out)
}

// parse reads a stream of YAML documents.
func parse(t *testing.T, text string) objects {
	t.Helper()
	found := objects{}
	for d := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096); ; {
		u := unstructured.Unstructured{}
		if err := d.Decode(&u.Object); errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatal(err)
		}
		if len(u.Object) == 0 {
			continue
		}
		key := fmt.Sprintf("%s %s/%s", u.GetKind(), u.GetNamespace(), u.GetName())
		if found[key] != nil {
			t.Errorf("%s is there twice", key)
		}
		found[key] = u.Object
	}
}

// kustomize renders a directory of config/ with an overlay on it, the text of a kustomization without its resources.
func kustomize(t *testing.T, dir, overlay string) objects {
	t.Helper()
	place := t.TempDir()
	absolute, err := filepath.Abs(filepath.Join(root, dir))
	if err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(place, absolute)
	if err != nil {
		t.Fatal(err)
	}
	text := "resources: [" + relative + "]\n" + overlay
	if err := os.WriteFile(filepath.Join(place, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return parse(t, output(t, program(t, "bin/kube/kubectl"), "kustomize", place))
}
