// Package crd holds the generated CustomResourceDefinitions, for programs that install or run them. The files
// are made from api/v1alpha1 by hack/generate.sh; nothing else belongs here.
package crd

import "embed"

// Bases are the definitions, one YAML file each, in the directory "bases".
//
//go:embed bases/*.yaml
var Bases embed.FS
