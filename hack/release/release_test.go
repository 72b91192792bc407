package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/postrider/postrider/test/unpack"
)

// krew is what krew reads of a manifest.
type krew struct {
	APIVersion, Kind string
	Metadata         struct{ Name string }
	Spec             struct {
		Version, Homepage, ShortDescription, Description string
		Platforms                                        []struct {
			Selector         struct{ MatchLabels map[string]string }
			URI, SHA256, Bin string
		}
	}
}

// TestRelease packs a program for every platform, and reads what it made as krew, sha256sum and people would.
func TestRelease(t *testing.T) {
	const version, template = "v1.2.3", "../../config/krew/postrider.yaml"
	dir := t.TempDir()
	for _, platform := range []string{"linux", "darwin", "windows"} {
		for _, arch := range []string{"amd64", "arm64"} {
			program := filepath.Join(t.TempDir(), "postrider")
			if platform == "windows" {
				program += ".exe"
			}
			if err := os.WriteFile(program, []byte("the program for "+platform+"/"+arch), 0o700); err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(dir, fmt.Sprintf("kubectl-postrider_%s_%s_%s", version, platform, arch))
			if err := pack(out, program, entry{"LICENSE", "../../LICENSE", 0o644}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := writeBOM(filepath.Join(dir, "a.cdx.json"), noImage(), []string{build(t, "./hack/sink")}); err != nil {
		t.Fatal(err)
	}
	if err := list(dir, template, testOrigin()); err != nil {
		t.Fatal(err)
	}
	var manifest krew
	if err := yaml.UnmarshalStrict(read(t, filepath.Join(dir, manifestName)), &manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" || manifest.Kind != "Plugin" || manifest.Metadata.Name != "postrider" ||
		manifest.Spec.Version != version || manifest.Spec.ShortDescription == "" || len(manifest.Spec.ShortDescription) > 50 {
		t.Errorf("krew would not take %+v", manifest)
	}
	if len(manifest.Spec.Platforms) != 6 {
		t.Errorf("%d platforms; want 6", len(manifest.Spec.Platforms))
	}
	for _, p := range manifest.Spec.Platforms {
		platform := p.Selector.MatchLabels["os"] + "/" + p.Selector.MatchLabels["arch"]
		archive := filepath.Join(dir, baseName(p.URI))
		if sum, err := checksum(archive); err != nil || sum != p.SHA256 {
			t.Errorf("%s: the manifest says %s, the archive %s (%v)", platform, p.SHA256, sum, err)
		}
		if content := contents(t, archive)[p.Bin]; content != "the program for "+platform {
			t.Errorf("%s: %s holds %q", platform, p.Bin, content)
		}
		if !strings.Contains(contents(t, archive)["LICENSE"], "Apache License") {
			t.Errorf("%s comes without the licence", platform)
		}
		if !strings.HasPrefix(p.URI, "https://github.com/postrider/postrider/releases/download/"+version+"/") {
			t.Errorf("%s is at %s", platform, p.URI)
		}
	}
	check := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", checksumsName)
	check.Dir = dir
	if out, err := check.CombinedOutput(); err != nil || strings.Count(string(out), ": OK") != 9 {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}
}

// A manifest that names an archive which is not there is not written.
func TestReleaseMissesAnArchive(t *testing.T) {
	if err := list(t.TempDir(), "../../config/krew/postrider.yaml", testOrigin()); err == nil {
		t.Error("no error")
	}
}

func testOrigin() origin {
	return origin{version: "v1.2.3", image: testImage, commit: "22544fd000000000000000000000000000000000", made: "2026-11-23T22:22:22Z"}
}

// TestProvenance: the statement is about every file that there is, by its checksum, and names the commit, the image and each
// module with its checksum.
func TestProvenance(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"install.yaml", "postrider-1.2.3.tgz"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeBOM(filepath.Join(dir, "sink.cdx.json"), noImage(), []string{build(t, "./hack/sink")}); err != nil {
		t.Fatal(err)
	}
	if err := writeProvenance(dir, testOrigin()); err != nil {
		t.Fatal(err)
	}
	var s statement
	first := read(t, filepath.Join(dir, provenanceName))
	if err := json.Unmarshal(first, &s); err != nil {
		t.Fatal(err)
	}
	if s.Type != "https://in-toto.io/Statement/v1" || s.PredicateType != "https://slsa.dev/provenance/v1" || len(s.Subject) != 3 {
		t.Fatalf("it is %+v", s)
	}
	for _, subject := range s.Subject {
		if sum, err := checksum(filepath.Join(dir, subject.Name)); err != nil || subject.Digest["sha256"] != sum {
			t.Errorf("%s has the checksum %v, the file %s (%v)", subject.Name, subject.Digest, sum, err)
		}
	}
	definition := s.Predicate.BuildDefinition
	from := definition.ResolvedDependencies
	if from[0].Digest["gitCommit"] != testOrigin().commit || !strings.HasSuffix(testImage, from[1].Digest["sha256"]) || from[1].URI != "oci://registry.example.com:5000/postrider:v1" {
		t.Errorf("it is made from %+v", from[:2])
	}
	if len(from)-2 != len(readBOM(t, filepath.Join(dir, "sink.cdx.json")).Components)-1 || len(from[2].Digest["dirHash"]) != 64 {
		t.Errorf("the modules are %+v", from[2:])
	}
	if err := writeProvenance(dir, testOrigin()); err != nil || !bytes.Equal(first, read(t, filepath.Join(dir, provenanceName))) {
		t.Errorf("a second time it is another: %v", err)
	}
}

// TestLicences: each library's terms are told, and a library without any is noticed.
func TestLicences(t *testing.T) {
	licenced, bare := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{"LICENSE.md": "do what you want", "NOTICE": "made by somebody", "main.go": "package main"} {
		if err := os.WriteFile(filepath.Join(licenced, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	if err := licences(strings.NewReader("example.com/a v1.0.0 "+licenced+"\n"), &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"example.com/a v1.0.0", "do what you want", "made by somebody"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("nothing says %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "package main") {
		t.Error("a source is taken for a licence")
	}
	for _, in := range []string{"", "example.com/b v1.0.0 " + bare, "example.com/c"} {
		if err := licences(strings.NewReader(in), io.Discard); err == nil {
			t.Errorf("%q: no error", in)
		}
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// contents reads an archive: its files by name.
func contents(t *testing.T, name string) map[string]string {
	t.Helper()
	files := map[string]string{}
	data := read(t, name)
	if strings.HasSuffix(name, ".zip") {
		in, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range in.File {
			r, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			files[f.Name] = all(t, r)
		}
		return files
	}
	archive, err := unpack.TarGz(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for of, f := range archive {
		if strings.HasPrefix(of, "kubectl-") && f.Mode&0o111 == 0 {
			t.Errorf("%s in %s cannot be run", of, name)
		}
		files[of] = f.Text
	}
	return files
}

func all(t *testing.T, r io.Reader) string {
	t.Helper()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
