#!/bin/sh
# Writes everything that is generated from api/v1alpha1. `make verify` runs it and fails on a difference.
set -eu
cd "$(dirname "$0")/.."

controller_gen="go run sigs.k8s.io/controller-tools/cmd/controller-gen@v0.23.0"

$controller_gen object paths=./api/...
$controller_gen crd paths=./api/... output:crd:dir=config/crd/bases
