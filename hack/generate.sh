#!/bin/sh
# Writes everything that is generated from Go types. `make generate` builds the tools first; `make verify` fails
# when what is committed differs.
set -eu
cd "$(dirname "$0")/.."

bin/tools/controller-gen object paths=./api/...
bin/tools/controller-gen crd paths=./api/... output:crd:dir=config/crd/bases
go run ./hack/apidoc >docs/api.md
