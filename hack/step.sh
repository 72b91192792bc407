#!/usr/bin/env bash
# Runs a command as one visible step: what it does, and how long it took.
#
#   hack/step.sh WHAT COMMAND...
set -euo pipefail

what=$1
shift
begin=$(date +%s%N)
printf '==> %s\n' "$what"
status=0
"$@" || status=$?
ms=$((($(date +%s%N) - begin) / 1000000))
if ((status)); then
	printf 'FAILED after %d.%d s: %s\n' $((ms / 1000)) $((ms % 1000 / 100)) "$what" >&2
	exit $status
fi
printf '    %d.%d s\n' $((ms / 1000)) $((ms % 1000 / 100))
