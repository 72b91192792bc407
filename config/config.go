// Package config holds the manifests that install the operator, for programs that install it. The same files are what
// kustomize reads; nothing else belongs here.
package config

import "embed"

// Installed are the manifests of config/default, with the kustomizations that list them.
//
//go:embed default/kustomization.yaml crd/kustomization.yaml crd/bases/*.yaml rbac/*.yaml manager/*.yaml
var Installed embed.FS
