// Package archive writes container images as docker-archive files, which containerd, Docker and Podman load. It
// packs static programs onto an empty base: one layer, no base image, no container engine. Equal input gives equal
// octets.
package archive

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
)

// Image is what to pack.
type Image struct {
	// Name is the reference that the image is loaded under, tag included.
	Name string
	// User is the numeric user of its processes, "65532" or "65532:65532"; empty for root.
	User string
	// Entrypoint may be empty: a pod then names its command.
	Entrypoint []string
	Files      []File
}

// File is one file of the image. Its directories come by themselves.
type File struct {
	// Source is the file on disk, whose mode is kept.
	Source string
	// Path is where it is in the image, absolute.
	Path string
}

// config is the part of an image's configuration that a runtime needs (OCI image-spec, config.md).
type config struct {
	Architecture string  `json:"architecture"`
	OS           string  `json:"os"`
	Config       process `json:"config"`
	RootFS       rootFS  `json:"rootfs"`
}

type process struct {
	User       string   `json:"User,omitempty"`
	Entrypoint []string `json:"Entrypoint,omitempty"`
	Env        []string `json:"Env,omitempty"`
	WorkingDir string   `json:"WorkingDir,omitempty"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

// manifest is the entry of an image in manifest.json.
type manifest struct {
	Config   string   `json:"Config"`
	RepoTags []string `json:"RepoTags"`
	Layers   []string `json:"Layers"`
}

// Write writes the image to w.
func Write(w io.Writer, image Image) error {
	layer, err := pack(image.Files)
	if err != nil {
		return fmt.Errorf("packing the files of %s: %w", image.Name, err)
	}
	digest := hexDigest(layer)
	configJSON, err := json.Marshal(config{
		Architecture: runtime.GOARCH,
		OS:           "linux",
		Config:       process{User: image.User, Entrypoint: image.Entrypoint, Env: []string{"PATH=/"}, WorkingDir: "/"},
		RootFS:       rootFS{Type: "layers", DiffIDs: []string{"sha256:" + digest}},
	})
	if err != nil {
		return err
	}
	entry := manifest{
		Config:   hexDigest(configJSON) + ".json",
		RepoTags: []string{image.Name},
		Layers:   []string{digest + ".tar"},
	}
	manifestJSON, err := json.Marshal([]manifest{entry})
	if err != nil {
		return err
	}
	out := tar.NewWriter(w)
	for _, f := range []struct {
		name string
		data []byte
	}{{entry.Config, configJSON}, {entry.Layers[0], layer}, {"manifest.json", manifestJSON}} {
		if err := add(out, f.name, 0o644, f.data); err != nil {
			return fmt.Errorf("writing %s: %w", f.name, err)
		}
	}
	return out.Close()
}

// pack makes the layer: the files, each after the directories it needs.
func pack(files []File) ([]byte, error) {
	var layer bytes.Buffer
	out := tar.NewWriter(&layer)
	var made []string
	for _, f := range files {
		for _, dir := range parents(f.Path) {
			if slices.Contains(made, dir) {
				continue
			}
			made = append(made, dir)
			if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}); err != nil {
				return nil, err
			}
		}
		if err := static(f.Source); err != nil {
			return nil, err
		}
		info, err := os.Stat(f.Source)
		if err != nil {
			return nil, err
		}
		data, err := os.ReadFile(f.Source)
		if err != nil {
			return nil, err
		}
		if err := add(out, strings.TrimPrefix(f.Path, "/"), int64(info.Mode().Perm()), data); err != nil {
			return nil, err
		}
	}
	if err := out.Close(); err != nil {
		return nil, err
	}
	return layer.Bytes(), nil
}

// static refuses a program that needs a loader: on an empty base it would fail as "no such file or directory".
func static(file string) error {
	program, err := elf.Open(file)
	var other *elf.FormatError
	if errors.As(err, &other) || errors.Is(err, io.EOF) {
		return nil // no program at all
	}
	if err != nil {
		return err
	}
	defer program.Close()
	for _, part := range program.Progs {
		if part.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is not static: build it with CGO_ENABLED=0", file)
		}
	}
	return nil
}

// parents lists the directories above a file, outermost first, the root left out.
func parents(file string) []string {
	var dirs []string
	for dir := path.Dir(strings.TrimPrefix(file, "/")); dir != "."; dir = path.Dir(dir) {
		dirs = append(dirs, dir)
	}
	slices.Reverse(dirs)
	return dirs
}

func add(out *tar.Writer, name string, mode int64, data []byte) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data))}
	if err := out.WriteHeader(header); err != nil {
		return err
	}
	_, err := out.Write(data)
	return err
}

func hexDigest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
