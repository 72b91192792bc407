package main

import (
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/postrider/postrider/test/kubetest"
)

// objects are manifests as values, by kind and name.
func objects(t *testing.T, manifests string) (all map[string]any, order []string) {
	t.Helper()
	all = map[string]any{}
	for _, text := range strings.Split("\n"+manifests, "\n---\n") {
		var object map[string]any
		if err := yaml.Unmarshal([]byte(text), &object); err != nil {
			t.Fatal(err)
		}
		if len(object) > 0 {
			key := object["kind"].(string) + "/" + object["metadata"].(map[string]any)["name"].(string)
			all[key] = object
			order = append(order, key)
		}
	}
	return all, order
}

// What it prints is what kustomize makes of config/default.
func TestInstallGenerate(t *testing.T) {
	code, out, complaint := cli(t, "install", "generate", "--image", "ghcr.io/postrider/postrider:dev")
	if code != 0 {
		t.Fatalf("exit code %d, %s", code, complaint)
	}
	binaries, err := kubetest.Binaries("../..")
	if err != nil {
		t.Fatal(err)
	}
	made, err := exec.Command(binaries+"/kubectl", "kustomize", "../../config/default").Output()
	if err != nil {
		t.Fatal(err)
	}
	got, order := objects(t, out)
	want, _ := objects(t, string(made))
	if diff := cmp.Diff(want, got); diff != "" || len(want) < 10 {
		t.Errorf("of %d objects (- kustomize, + ours):\n%s", len(want), diff)
	}
	if order[0] != "Namespace/postrider-system" || !strings.HasPrefix(order[1], "CustomResourceDefinition/") {
		t.Errorf("in the order %v", order)
	}
}

func TestInstallElsewhere(t *testing.T) {
	code, out, complaint := cli(t, "install", "generate", "-n", "mail-operator", "--image", "registry.example/p@sha256:1")
	if code != 0 || strings.Contains(out, "postrider-system") || strings.Contains(out, "postrider:dev") || strings.Count(out, "registry.example/p@sha256:1") != 2 {
		t.Errorf("exit code %d, %s\n%s", code, complaint, out)
	}
	for _, args := range [][]string{{"-n", "Not A Namespace"}, {"--image", ""}, {"--image", "a b"}} {
		if code, _, _ := cli(t, slices.Concat([]string{"install", "generate"}, args)...); code != exitUsage {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
	var help bytes.Buffer
	if run(t.Context(), []string{"postrider", "completion", "bash"}, streams{nil, &help, &help}) != exitOK || !strings.Contains(help.String(), "bash completion") {
		t.Error("there is no completion")
	}
}
