// Package bundle owns the archive that is sent to those who help: it takes objects and texts, takes secrets out of all of
// them, and writes a tar.gz. It refuses to ask anybody for anything, and to hold what did not go through the Redactor.
package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// Bundle is an archive that is being written.
type Bundle struct {
	redact  Redactor
	dir     string
	now     time.Time
	zipped  *gzip.Writer
	archive *tar.Writer
	missing []string
}

// New begins an archive whose files are in a directory dir.
func New(w io.Writer, dir string, redact Redactor, now time.Time) *Bundle {
	zipped := gzip.NewWriter(w)
	return &Bundle{redact: redact, dir: dir, now: now, zipped: zipped, archive: tar.NewWriter(zipped)}
}

// Object adds a value as YAML.
func (b *Bundle) Object(name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var plain any
	if err := json.Unmarshal(data, &plain); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	text, err := yaml.Marshal(b.redact.Object(plain))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return b.file(name+".yaml", text)
}

// Text adds a text, such as a log.
func (b *Bundle) Text(name string, text []byte) error {
	return b.file(name, []byte(b.redact.Text(strings.ToValidUTF8(string(text), "\uFFFD"))))
}

// Missing notes what could not be had, and why.
func (b *Bundle) Missing(what string, err error) {
	b.missing = append(b.missing, what+": "+b.redact.Text(err.Error()))
}

// Lacks are the notes of what is missing.
func (b *Bundle) Lacks() []string { return b.missing }

// Close writes what is missing, and the end.
func (b *Bundle) Close() error {
	var failed error
	if len(b.missing) > 0 {
		failed = b.file("missing.txt", []byte(strings.Join(b.missing, "\n")+"\n"))
	}
	return errors.Join(failed, b.archive.Close(), b.zipped.Close())
}

func (b *Bundle) file(name string, data []byte) error {
	header := &tar.Header{Name: path.Join(b.dir, name), Mode: 0o600, Size: int64(len(data)), ModTime: b.now}
	if err := b.archive.WriteHeader(header); err != nil {
		return err
	}
	_, err := io.Copy(b.archive, bytes.NewReader(data))
	return err
}
