package main

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

const (
	provenanceName = "provenance.intoto.json"
	source         = "https://github.com/postrider/postrider"
	// buildType is where a reader finds what the parameters mean.
	buildType = source + "/blob/main/docs/security.md#what-is-in-a-release"
	// anyone is the builder where nobody says who runs the recipe.
	anyone = source + "/blob/main/hack/release.sh"
)

// statement says what files were made of, and how: an in-toto Statement v1 with the predicate of SLSA Provenance v1.
type statement struct {
	Type          string     `json:"_type"`
	Subject       []resource `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     provenance `json:"predicate"`
}

type resource struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest"`
}

type provenance struct {
	BuildDefinition struct {
		BuildType            string     `json:"buildType"`
		ExternalParameters   parameters `json:"externalParameters"`
		ResolvedDependencies []resource `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	RunDetails struct {
		Builder builder `json:"builder"`
	} `json:"runDetails"`
}

// parameters are what the recipe is run with, and the Go release it is run by.
type parameters struct {
	Version string `json:"version"`
	Image   string `json:"image"`
	Go      string `json:"go"`
}

type builder struct {
	ID string `json:"id"`
}

// origin is what a release is made from, when its commit was made, and by whom it is built.
type origin struct {
	version, image, commit, made, builder string
}

// writeProvenance writes the statement about all files of a directory. It names neither time nor machine: equal sources give
// equal octets.
func writeProvenance(dir string, o origin) error {
	s := statement{Type: "https://in-toto.io/Statement/v1", PredicateType: "https://slsa.dev/provenance/v1"}
	sums, err := checksums(dir, provenanceName)
	if err != nil {
		return err
	}
	for _, f := range sums {
		s.Subject = append(s.Subject, resource{Name: f.name, Digest: map[string]string{"sha256": f.sum}})
	}
	definition := &s.Predicate.BuildDefinition
	definition.BuildType, definition.ExternalParameters = buildType, parameters{o.version, o.image, runtime.Version()}
	s.Predicate.RunDetails.Builder.ID = cmp.Or(o.builder, anyone)
	modules, err := materials(dir)
	if err != nil {
		return err
	}
	definition.ResolvedDependencies = append([]resource{
		{URI: "git+" + source, Digest: map[string]string{"gitCommit": o.commit}},
		imageResource(o.image),
	}, modules...)
	data, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, provenanceName), append(data, '\n'), 0o644)
}

// imageResource is the image that the installer, the chart and the bundle name: this recipe finds it built.
func imageResource(image string) resource {
	name, digest, _ := strings.Cut(image, "@")
	return resource{URI: "oci://" + name, Digest: map[string]string{"sha256": strings.TrimPrefix(digest, "sha256:")}}
}

// materials are the modules that the bills of materials in the directory list.
func materials(dir string) ([]resource, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.cdx.json"))
	if err != nil {
		return nil, err
	}
	found := map[string]resource{}
	for _, file := range files {
		var b bom
		if data, err := os.ReadFile(file); err != nil {
			return nil, err
		} else if err := json.Unmarshal(data, &b); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, c := range b.Components {
			for _, p := range c.Properties {
				digest, err := dirHash(p.Value)
				if p.Name != sumProperty {
					continue
				} else if err != nil {
					return nil, fmt.Errorf("%s: %s: %w", file, c.Name, err)
				}
				found[c.PURL] = resource{URI: c.PURL, Digest: map[string]string{"dirHash": digest}}
			}
		}
	}
	list := make([]resource, 0, len(found))
	for _, r := range found {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b resource) int { return cmp.Compare(a.URI, b.URI) })
	return list, nil
}

// dirHash is a checksum of go.sum as in-toto wants it: in hexadecimal, without h1.
func dirHash(sum string) (string, error) {
	data, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sum, "h1:"))
	if err != nil {
		return "", fmt.Errorf("the checksum %q: %w", sum, err)
	}
	return hex.EncodeToString(data), nil
}
