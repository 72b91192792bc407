#!/usr/bin/env bash
# Runs every fuzz target of the tree for a while each.
#
#   hack/fuzz.sh [DURATION]
set -euo pipefail
cd "$(dirname "$0")/.."
duration=${1:-20s}

count=0
while IFS=: read -r file target; do
	hack/step.sh "fuzzing $target in ${file%/*}" \
		go test "./${file%/*}" -run '^$' -fuzz "^$target\$" -fuzztime "$duration"
	count=$((count + 1))
done < <(git grep -oE "^func Fuzz[A-Za-z0-9_]+" -- "*_test.go" | sed "s/:func /:/")

if ((count == 0)); then
	echo "fuzz: no fuzz target found" >&2
	exit 1
fi
echo "fuzz: $count targets, $duration each, nothing found"
