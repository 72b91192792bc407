package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

const (
	manifestName  = "postrider.krew.yaml"
	checksumsName = "checksums.txt"
)

// list writes the manifest for krew, with the checksums of the archives that it names, the provenance of all files, and
// their checksums.
func list(dir, template string, o origin) error {
	text, err := os.ReadFile(template)
	if err != nil {
		return err
	}
	manifest, err := fill(string(text), o.version, func(archive string) (string, error) { return checksum(filepath.Join(dir, archive)) })
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, manifestName), []byte(manifest), 0o644); err != nil {
		return err
	}
	if err := writeProvenance(dir, o); err != nil {
		return err
	}
	return writeChecksums(dir)
}

// uri matches a line of the template that says where an archive is; the line after it says its checksum.
var uri = regexp.MustCompile(`uri: (\S+)\n(\s+sha256: )SHA256`)

// fill puts the version and the checksums into the template.
func fill(template, version string, checksum func(archive string) (string, error)) (string, error) {
	var failed error
	text := strings.ReplaceAll(template, "VERSION", version)
	text = uri.ReplaceAllStringFunc(text, func(lines string) string {
		part := uri.FindStringSubmatch(lines)
		sum, err := checksum(baseName(part[1]))
		if err != nil && failed == nil {
			failed = err
		}
		return "uri: " + part[1] + "\n" + part[2] + sum
	})
	// What the template says of itself is no use to who installs the plugin.
	_, text, _ = strings.Cut(text, "apiVersion:")
	return "apiVersion:" + text, failed
}

// writeChecksums lists every file of a directory as sha256sum does, so that `sha256sum --check` reads it.
func writeChecksums(dir string) error {
	sums, err := checksums(dir, checksumsName)
	if err != nil {
		return err
	}
	var lines strings.Builder
	for _, f := range sums {
		fmt.Fprintf(&lines, "%s  %s\n", f.sum, f.name)
	}
	return os.WriteFile(filepath.Join(dir, checksumsName), []byte(lines.String()), 0o644)
}

// summed is a file and its SHA-256.
type summed struct{ name, sum string }

// checksums are those of the files of a directory, by name, but for one that is yet to be written.
func checksums(dir, but string) ([]summed, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var sums []summed
	for _, f := range files {
		if f.IsDir() || f.Name() == but {
			continue
		}
		sum, err := checksum(filepath.Join(dir, f.Name()))
		if err != nil {
			return nil, err
		}
		sums = append(sums, summed{f.Name(), sum})
	}
	return sums, nil
}

func checksum(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", sha256.Sum256(data)), nil
}
