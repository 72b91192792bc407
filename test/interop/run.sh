#!/usr/bin/env bash
# Runs the scenarios with real peers in namespaces of their own: the whole of loopback, port 53 and port 25 are theirs,
# nothing reaches another network, and every daemon ends with the test.
#
#   test/interop/run.sh [FLAGS]      flags of the test binary, such as -test.run=TestDovecot
set -euo pipefail
cd "$(dirname "$0")"
bin=$PWD/../../bin

../../hack/step.sh "building the scenarios" go test -c -tags interop -o "$bin/interop.test" .
dir=$(mktemp -d /tmp/interop-XXXXXX)
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir"
# Exim wants the user and the group that its package would have made.
(cat /etc/passwd && echo 'Debian-exim:x:65534:65534::/nonexistent:/usr/sbin/nologin') >"$dir/passwd"
(cat /etc/group && echo 'Debian-exim:x:65534:') >"$dir/group"

inside='
	mount --bind "$1/passwd" /etc/passwd
	mount --bind "$1/group" /etc/group
	ip link set lo up
	export POSTRIDER_INTEROP=$1
	shift
	exec "$@"'
unshare --net --mount --pid --fork --kill-child --mount-proc -- bash -euc "$inside" - "$dir" \
	"$bin/tools/gotestsum" --format standard-verbose --raw-command -- \
	go tool test2json -p test/interop "$bin/interop.test" -test.v=test2json -test.timeout=10m "$@"
