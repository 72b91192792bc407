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

// list writes the manifest for krew, with the checksums of the archives that it names, and the checksums of all files.
func list(dir, version, template string) error {
	text, err := os.ReadFile(template)
	if err != nil {
		return err
	}
	manifest, err := fill(string(text), version, func(archive string) (string, error) { return checksum(filepath.Join(dir, archive)) })
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, manifestName), []byte(manifest), 0o644); err != nil {
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
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var lines strings.Builder
	for _, f := range files {
		if f.IsDir() || f.Name() == checksumsName {
			continue
		}
		sum, err := checksum(filepath.Join(dir, f.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&lines, "%s  %s\n", sum, f.Name())
	}
	return os.WriteFile(filepath.Join(dir, checksumsName), []byte(lines.String()), 0o644)
}

func checksum(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", sha256.Sum256(data)), nil
}
