#!/bin/sh
# Writes everything that is generated: from the Go types, and from config/. `make generate` builds the tools first;
# `make verify` fails when what is committed differs.
set -eu
cd "$(dirname "$0")/.."

bin/tools/controller-gen object paths=./api/...
bin/tools/controller-gen crd paths=./api/... output:crd:dir=config/crd/bases
go run ./hack/apidoc >docs/api.md

# The chart and the bundle for the Operator Lifecycle Manager. A release makes its own bundle, with its version and the
# image's digest.
made=$(mktemp -d)
for kustomization in default namespaced watched; do
	bin/kube/kubectl kustomize "config/$kustomization" >"$made/$kustomization"
done
go run ./hack/chart -default "$made/default" -namespaced "$made/namespaced" -watched "$made/watched" -out config/helm/templates
go run ./hack/bundle -version 0.0.0-dev -image ghcr.io/postrider/postrider:dev -out bundle <"$made/default"
rm -r "$made"
