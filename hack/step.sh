#!/usr/bin/env bash
# Runs a command as one visible step: what it does, and how long it took. Sourced, it gives the function step, which
# takes functions too.
#
#   hack/step.sh WHAT COMMAND...

step() {
	local what=$1 begin status ms
	shift
	begin=$(date +%s%N)
	printf '==> %s\n' "$what"
	# Not `|| status=$?`: inside a condition, bash lets a function go on after an error.
	set +e
	(set -e && "$@")
	status=$?
	set -e
	ms=$((($(date +%s%N) - begin) / 1000000))
	if ((status)); then
		printf 'FAILED after %d.%d s: %s\n' $((ms / 1000)) $((ms % 1000 / 100)) "$what" >&2
		return $status
	fi
	printf '    %d.%d s\n' $((ms / 1000)) $((ms % 1000 / 100))
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
	set -euo pipefail
	step "$@"
fi
