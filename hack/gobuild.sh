#!/usr/bin/env bash
# Builds pinned Go programs, says what and how long it took, and does nothing for one that is up to date.
#
#   hack/gobuild.sh MODULE OUT [-ldflags FLAGS] NAME=PACKAGE...
#
# MODULE is the directory whose go.mod pins the versions. A program is up to date when it was built here from the
# same go.mod, go.sum, flags and Go release.
set -euo pipefail

module=$1 out=$2
shift 2
ldflags="-s -w"
if [[ $1 == -ldflags ]]; then
	ldflags+=" $2"
	shift 2
fi

mkdir -p "$out/.built"
out=$(cd "$out" && pwd)
cd "$module"
inputs=$(cat go.mod go.sum <(go version) <(echo "$ldflags") | sha256sum | cut -d' ' -f1)

for target in "$@"; do
	name=${target%%=*} package=${target#*=}
	stamp=$out/.built/$name
	if [[ -x $out/$name && $(cat "$stamp" 2>/dev/null) == "$inputs" ]]; then
		continue
	fi
	printf '%-44s' "building $name"
	begin=$SECONDS
	CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -trimpath -ldflags "$ldflags" -o "$out/$name" "$package"
	echo "$inputs" >"$stamp"
	printf '%4d s\n' $((SECONDS - begin))
done
