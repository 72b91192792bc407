#!/usr/bin/env bash
# Makes everything that a release publishes, in dist/. It publishes and signs nothing. The same commit and Go release make the
# same octets, wherever and whenever.
#
#   VERSION=v1.2.3 IMG=NAME@sha256:… [BUILDER=URI] hack/release.sh
#
# The image is pushed before, and named by its digest: that is what the installer, the chart and the bundle run. BUILDER is who
# runs this, as the provenance names it.
set -euo pipefail
cd "$(dirname "$0")/.."
source hack/step.sh

if [[ ! ${VERSION:-} =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]]; then
	echo "release: VERSION is v1.2.3 or v1.2.3-rc.1, not '${VERSION:-}'" >&2
	exit 2
fi
if [[ ! ${IMG:-} =~ ^[^@]+@sha256:[0-9a-f]{64}$ ]]; then
	echo "release: IMG is the image by its digest, NAME@sha256:…, not '${IMG:-}'" >&2
	exit 2
fi
if [[ -n $(git status --porcelain) ]]; then
	echo 'release: commit first: a release says of which commit it is' >&2
	exit 2
fi
number=${VERSION#v}
export CGO_ENABLED=0

made=$(TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ)

# build makes programs as the Makefile and the Dockerfile do: without what git says, which is not there in every checkout.
build() {
	local out=$1 more=$2
	shift 2
	go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION$more" -o "$out/" "$@"
}

bom() { go run ./hack/release bom -version "$VERSION" -made "$made" "$@"; }

plugin() {
	local os=$1 arch=$2 dir out=dist/kubectl-postrider_${VERSION}_$1_$2
	dir=$(mktemp -d)
	GOOS=$os GOARCH=$arch build "$dir" " -X main.image=$IMG" ./cmd/postrider
	bom -out "$out.cdx.json" "$dir"/postrider*
	GOOS=$os GOARCH=$arch go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/postrider |
		sort -u | sed '/^$/d' | go run ./hack/release licences >"$dir/THIRD-PARTY.txt"
	go run ./hack/release pack -program "$dir"/postrider* -licences "$dir/THIRD-PARTY.txt" -out "$out"
	rm -r "$dir"
}

# What the image holds: the programs are not published by themselves.
image() {
	local arch=$1 dir
	dir=$(mktemp -d)
	GOOS=linux GOARCH=$arch build "$dir" "" ./cmd/manager ./cmd/relay
	bom -image "$IMG" -out "dist/postrider-image_${VERSION}_linux_$arch.cdx.json" "$dir/manager" "$dir/relay"
	rm -r "$dir"
}

# The chart of a release names the image by its digest.
chart() {
	local dir name=${IMG%@*}
	if [[ ${name##*/} == *:* ]]; then name=${name%:*}; fi
	dir=$(mktemp -d)
	cp -r config/helm "$dir/postrider"
	sed -i "s#^  repository: .*#  repository: $name#; s#^  digest: \"\"#  digest: ${IMG#*@}#" "$dir/postrider/values.yaml"
	chmod -R u=rwX,go=rX "$dir/postrider"
	find "$dir/postrider" -exec touch -d @0 {} +
	bin/tools/helm package "$dir/postrider" --version "$number" --app-version "$VERSION" --destination dist
	rm -r "$dir"
}

bundle() {
	bin/kube/kubectl kustomize config/default | go run ./hack/bundle -version "$number" -image "$IMG" -out dist/bundle
	tar -C dist --sort=name --mode=u=rwX,go=rX --owner=0 --group=0 --mtime=@0 -czf "dist/postrider-bundle_$VERSION.tar.gz" bundle
	rm -r dist/bundle
}

rm -rf dist
mkdir dist
for os in linux darwin windows; do
	for arch in amd64 arm64; do
		step "the plugin for $os/$arch" plugin "$os" "$arch"
	done
done
for arch in amd64 arm64; do
	step "what the image holds for linux/$arch" image "$arch"
done
step "the installer" make build-installer IMG="$IMG"
step "the chart" chart
step "the bundle" bundle
step "the krew manifest, the provenance and the checksums" go run ./hack/release list -version "$VERSION" -image "$IMG" \
	-commit "$(git rev-parse HEAD)" -builder "${BUILDER:-}" -dir dist
