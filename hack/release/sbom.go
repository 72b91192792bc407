package main

import (
	"cmp"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

// bom is a bill of materials in CycloneDX 1.6, as JSON: https://cyclonedx.org/docs/1.6/json/. Here is the part of it that we
// have something to say for.
type bom struct {
	Schema       string       `json:"$schema"`
	Format       string       `json:"bomFormat"`
	SpecVersion  string       `json:"specVersion"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	// Timestamp is that of the commit, RFC 3339: equal sources give equal octets.
	Timestamp string    `json:"timestamp"`
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version,omitempty"`
	PURL       string     `json:"purl,omitempty"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn,omitempty"`
}

// sumProperty holds the checksum of a module as go.sum has it: a hash of a list of files, not of one file.
const sumProperty = "postrider:go.sum"

// program is a built Go program and what it says of its making.
type program struct {
	component
	modules []component
}

// writeBOM writes the bill of materials of a program; with an image, of that image and all programs in it.
func writeBOM(out string, o origin, files []string) error {
	var programs []program
	for _, file := range files {
		p, err := readProgram(file, o.version)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		programs = append(programs, p)
	}
	b := ofProgram(programs[0])
	if o.image != "" {
		b = ofImage(o.image, programs)
	}
	b.Metadata.Timestamp = o.made
	data, err := json.MarshalIndent(b, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(out, append(data, '\n'), 0o644)
}

// readProgram reads what the Go linker has written into a program.
func readProgram(file, version string) (program, error) {
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return program{}, err
	}
	sum, err := checksum(file)
	if err != nil {
		return program{}, err
	}
	p := program{component: programComponent(info, version)}
	p.Hashes = []hash{{"SHA-256", sum}}
	for _, m := range info.Deps {
		p.modules = append(p.modules, moduleComponent(m))
	}
	p.modules = append(p.modules, library("std", strings.TrimPrefix(info.GoVersion, "go")))
	return p, nil
}

// programComponent is the program itself: its package is the part of the PURL behind the #.
func programComponent(info *debug.BuildInfo, version string) component {
	c := library(info.Main.Path, version)
	c.Type, c.Name = "application", filepath.Base(info.Path)
	c.PURL += "#" + strings.TrimPrefix(strings.TrimPrefix(info.Path, info.Main.Path), "/")
	c.Ref = c.PURL
	return c
}

func moduleComponent(m *debug.Module) component {
	if m.Replace != nil {
		m = m.Replace
	}
	c := library(m.Path, m.Version)
	if m.Sum != "" {
		c.Properties = []property{{sumProperty, m.Sum}}
	}
	return c
}

// library is a Go module. A PURL of the type golang is in lower case, and its plus signs are written as %2B.
func library(path, version string) component {
	purl := "pkg:golang/" + strings.ToLower(path) + "@" + strings.ReplaceAll(version, "+", "%2B")
	return component{Type: "library", Ref: purl, Name: path, Version: version, PURL: purl}
}

func newBOM(subject component) bom {
	return bom{
		Schema: "http://cyclonedx.org/schema/bom-1.6.schema.json", Format: "CycloneDX", SpecVersion: "1.6", Version: 1,
		Metadata: metadata{Component: subject},
	}
}

func ofProgram(p program) bom {
	b := newBOM(p.component)
	b.Components = p.modules
	b.Dependencies = []dependency{{p.Ref, refs(p.modules)}}
	return b
}

// ofImage lists the programs of an image, which are at its root, what they are made of, and the trust store.
func ofImage(image string, programs []program) bom {
	name, digest, _ := strings.Cut(image, "@")
	repository, _ := splitTag(name)
	purl := "pkg:oci/" + strings.ToLower(filepath.Base(repository)) + "@" + strings.ReplaceAll(digest, ":", "%3A") + "?repository_url=" + repository
	root := component{Type: "container", Ref: purl, Name: repository, Version: digest, PURL: purl}
	b := newBOM(root)
	b.Components = []component{{Type: "file", Ref: "ca-certificates", Name: "/etc/ssl/certs/ca-certificates.crt"}}
	dependsOn := []string{"ca-certificates"}
	for _, p := range programs {
		b.Components = append(append(b.Components, p.component), p.modules...)
		b.Dependencies = append(b.Dependencies, dependency{p.Ref, refs(p.modules)})
		dependsOn = append(dependsOn, p.Ref)
	}
	b.Dependencies = append(b.Dependencies, dependency{root.Ref, dependsOn})
	slices.SortFunc(b.Components, func(a, c component) int { return cmp.Compare(a.Ref, c.Ref) })
	b.Components = slices.CompactFunc(b.Components, func(a, c component) bool { return a.Ref == c.Ref })
	return b
}

// splitTag takes the tag off the name of an image: what follows a colon before the last slash is a port.
func splitTag(name string) (repository, tag string) {
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		return name[:colon], name[colon+1:]
	}
	return name, ""
}

func refs(components []component) []string {
	var list []string
	for _, c := range components {
		list = append(list, c.Ref)
	}
	return list
}
