package archive

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWrite(t *testing.T) {
	source := filepath.Join(t.TempDir(), "relay")
	if err := os.WriteFile(source, []byte("a program"), 0o755); err != nil {
		t.Fatal(err)
	}
	image := Image{
		Name:       "example.com/postrider:dev",
		User:       "65532",
		Entrypoint: []string{"/relay"},
		Files:      []File{{source, "/relay"}, {source, "/etc/ssl/a.pem"}, {source, "/etc/ssl/b.pem"}},
	}
	var first, second bytes.Buffer
	for _, out := range []*bytes.Buffer{&first, &second} {
		if err := Write(out, image); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("equal input gave different archives")
	}

	files := untar(t, first.Bytes())
	var entries []manifest
	if err := json.Unmarshal(files["manifest.json"], &entries); err != nil {
		t.Fatal(err)
	}
	var c config
	if err := json.Unmarshal(files[entries[0].Config], &c); err != nil {
		t.Fatal(err)
	}
	layer := files[entries[0].Layers[0]]
	if want := "sha256:" + hexDigest(layer); c.RootFS.DiffIDs[0] != want {
		t.Errorf("the layer's digest is %s, the configuration says %s", want, c.RootFS.DiffIDs[0])
	}
	if c.Config.User != "65532" || c.Config.Entrypoint[0] != "/relay" {
		t.Errorf("process: %+v", c.Config)
	}
	want := map[string][]byte{
		"etc/": {}, "etc/ssl/": {},
		"relay": []byte("a program"), "etc/ssl/a.pem": []byte("a program"), "etc/ssl/b.pem": []byte("a program"),
	}
	if diff := cmp.Diff(want, untar(t, layer)); diff != "" {
		t.Errorf("layer (-want +got):\n%s", diff)
	}
}

func TestWriteNamesTheMissingFile(t *testing.T) {
	err := Write(io.Discard, Image{Name: "x", Files: []File{{"/nowhere/relay", "/relay"}}})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestWriteRefusesAProgramThatNeedsALoader(t *testing.T) {
	err := Write(io.Discard, Image{Name: "x", Files: []File{{"/bin/sh", "/sh"}}})
	if err == nil || !strings.Contains(err.Error(), "CGO_ENABLED=0") {
		t.Errorf("got %v", err)
	}
}

func untar(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	in := tar.NewReader(bytes.NewReader(data))
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(in); err != nil {
			t.Fatal(err)
		}
	}
}
