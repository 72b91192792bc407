#!/usr/bin/env bash
# Runs the scenarios on the throwaway cluster, which is up and has the image: builds them here, runs them inside its
# network.
#
#   test/e2e/run.sh [FLAGS]      flags of the test binary, such as -test.run=TestDeliver
set -euo pipefail
cd "$(dirname "$0")"
bin=$PWD/../../bin

../../hack/step.sh "building the scenarios" go test -c -tags e2e -o "$bin/e2e.test" .
"$bin/cluster" exec "$bin/tools/gotestsum" --format standard-verbose --raw-command -- \
	go tool test2json -p test/e2e "$bin/e2e.test" -test.v=test2json -test.timeout=30m "$@"
