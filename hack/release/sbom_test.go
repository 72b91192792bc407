package main

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const testImage = "registry.example.com:5000/postrider:v1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// TestBOMListsTheModules: a bill of materials lists what the go command says that the program is made of, no more and no less,
// and the program that it is of.
func TestBOMListsTheModules(t *testing.T) {
	relay := build(t, "./cmd/relay")
	out := filepath.Join(t.TempDir(), "relay.cdx.json")
	if err := writeBOM(out, noImage(), []string{relay}); err != nil {
		t.Fatal(err)
	}
	b := readBOM(t, out)
	if diff := cmp.Diff(modulesOf(t, "./cmd/relay"), librariesOf(b)); diff != "" {
		t.Errorf("other modules than the go command says:\n%s", diff)
	}
	if b.Metadata.Timestamp != testOrigin().made {
		t.Errorf("it is of %s", b.Metadata.Timestamp)
	}
	program := b.Metadata.Component
	if sum, err := checksum(relay); err != nil || program.Name != "relay" || program.Version != "v1.2.3" || program.Hashes[0] != (hash{"SHA-256", sum}) ||
		program.PURL != "pkg:golang/github.com/postrider/postrider@v1.2.3#cmd/relay" {
		t.Errorf("it is of %+v", program)
	}
	for _, c := range b.Components {
		if c.Name != "std" && (len(c.Properties) != 1 || !strings.HasPrefix(c.Properties[0].Value, "h1:")) {
			t.Errorf("%s comes without its checksum", c.Name)
		}
	}
}

// TestBOMOfAnImage: that of an image lists the programs in it, and each module once.
func TestBOMOfAnImage(t *testing.T) {
	programs := []string{build(t, "./cmd/relay"), build(t, "./hack/sink")}
	out := filepath.Join(t.TempDir(), "image.cdx.json")
	if err := writeBOM(out, testOrigin(), programs); err != nil {
		t.Fatal(err)
	}
	b := readBOM(t, out)
	if diff := cmp.Diff(modulesOf(t, "./cmd/relay", "./hack/sink"), librariesOf(b)); diff != "" {
		t.Errorf("other modules than the go command says:\n%s", diff)
	}
	image := b.Metadata.Component
	if want := "pkg:oci/postrider@sha256%3A0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef?repository_url=registry.example.com:5000/postrider"; image.PURL != want {
		t.Errorf("the image is %s", image.PURL)
	}
	for i, name := range []string{"relay", "sink"} {
		sum, err := checksum(programs[i])
		if at := slices.IndexFunc(b.Components, func(c component) bool { return c.Type == "application" && c.Name == name }); err != nil ||
			at < 0 || b.Components[at].Hashes[0].Content != sum {
			t.Errorf("%s is not in the image as it is: %v", name, err)
		}
	}
	for _, d := range b.Dependencies {
		for _, ref := range append(d.DependsOn, d.Ref) {
			if ref != image.Ref && !slices.ContainsFunc(b.Components, func(c component) bool { return c.Ref == ref }) {
				t.Errorf("%s is nothing that is listed", ref)
			}
		}
	}
}

// What is no Go program has no bill of materials.
func TestBOMOfNoProgram(t *testing.T) {
	if err := writeBOM(filepath.Join(t.TempDir(), "x"), noImage(), []string{"../../LICENSE"}); err == nil {
		t.Error("no error")
	}
}

func noImage() origin {
	o := testOrigin()
	o.image = ""
	return o
}

// build builds a program of ours.
func build(t *testing.T, pkg string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(pkg))
	run := exec.CommandContext(t.Context(), "go", "build", "-o", out, pkg)
	run.Dir = filepath.Join("..", "..")
	if text, err := run.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", pkg, err, text)
	}
	return out
}

// modulesOf are the modules that packages need, as the go command says, and the standard library.
func modulesOf(t *testing.T, packages ...string) []string {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", append([]string{"list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}"}, packages...)...)
	list.Dir = filepath.Join("..", "..")
	text, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	version, err := exec.CommandContext(t.Context(), "go", "env", "GOVERSION").Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := append(strings.Split(strings.TrimSpace(string(text)), "\n"), "std "+strings.TrimSpace(strings.TrimPrefix(string(version), "go")))
	slices.Sort(modules)
	return slices.DeleteFunc(slices.Compact(modules), func(m string) bool { return m == "" })
}

func librariesOf(b bom) []string {
	var list []string
	for _, c := range b.Components {
		if c.Type == "library" {
			list = append(list, c.Name+" "+c.Version)
		}
	}
	slices.Sort(list)
	return list
}

func readBOM(t *testing.T, name string) bom {
	t.Helper()
	var b bom
	if err := json.Unmarshal(read(t, name), &b); err != nil {
		t.Fatal(err)
	}
	return b
}
