#!/usr/bin/env bash
# Runs scenarios on the throwaway cluster, which is up and has the image: builds them here, runs them inside its network.
#
#   test/e2e/run.sh [NAME…]      the names of tests, such as TestDeliver; all without any
set -euo pipefail
cd "$(dirname "$0")"
bin=$PWD/../../bin

for name in "$@"; do
	grep -qE "^func $name\(t " ./*_test.go || { echo "there is no scenario $name" >&2; exit 1; }
done
chosen=$(IFS='|' && echo "$*")

../../hack/step.sh "building the scenarios" go test -c -tags e2e -o "$bin/e2e.test" .
"$bin/cluster" exec "$bin/tools/gotestsum" --format standard-verbose --raw-command -- \
	go tool test2json -p test/e2e "$bin/e2e.test" -test.v=test2json -test.timeout=90m ${chosen:+-test.run="^($chosen)\$"}
