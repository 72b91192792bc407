#!/usr/bin/env bash
# Fails when something committed is not what the tools would make of it.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
fail() {
	echo "verify: $1" >&2
	failed=1
}

generated() { git ls-files -co --exclude-standard -z -- api bundle config docs | sort -z | xargs -0 sha256sum; }
before=$(generated)
make generate
drift=$(diff <(echo "$before") <(generated)) || fail "generated files were stale; commit what make generate made of them:
$drift"

for module in . hack/kube hack/packaging hack/tools; do
	(cd "$module" && go mod tidy -diff >&2) || fail "$module/go.mod is not tidy: run go mod tidy there"
done

unformatted=$(git ls-files -z '*.go' | xargs -0 gofmt -l)
[[ -z $unformatted ]] || fail "not formatted (gofmt -w): $unformatted"

go vet -tags e2e,interop ./... || fail "go vet"
go test ./test/imports || fail "a package imports what it may not"

((failed == 0)) && echo "verify: generated files, modules, formatting and imports are as they should be"
exit $failed
