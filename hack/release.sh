#!/usr/bin/env bash
# Makes everything that a release publishes, in dist/. It publishes nothing.
#
#   VERSION=v1.2.3 IMG=NAME@sha256:… hack/release.sh
#
# The image is pushed before, and named by its digest: that is what the installer, the chart and the bundle run.
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
number=${VERSION#v}

plugin() {
	local os=$1 arch=$2 dir
	dir=$(mktemp -d)
	CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o "$dir/" ./cmd/postrider
	GOOS=$os GOARCH=$arch go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/postrider |
		sort -u | sed '/^$/d' | go run ./hack/release licences >"$dir/THIRD-PARTY.txt"
	go run ./hack/release pack -program "$dir"/postrider* -licences "$dir/THIRD-PARTY.txt" -out "dist/kubectl-postrider_${VERSION}_${os}_${arch}"
	rm -r "$dir"
}

# The chart of a release names the image by its digest.
chart() {
	local dir name=${IMG%@*}
	if [[ ${name##*/} == *:* ]]; then name=${name%:*}; fi
	dir=$(mktemp -d)
	cp -r config/helm "$dir/postrider"
	sed -i "s#^  repository: .*#  repository: $name#; s#^  digest: \"\"#  digest: ${IMG#*@}#" "$dir/postrider/values.yaml"
	bin/tools/helm package "$dir/postrider" --version "$number" --app-version "$VERSION" --destination dist
	rm -r "$dir"
}

bundle() {
	bin/kube/kubectl kustomize config/default | go run ./hack/bundle -version "$number" -image "$IMG" -out dist/bundle
	tar -C dist --sort=name --owner=0 --group=0 --mtime=@0 -czf "dist/postrider-bundle_$VERSION.tar.gz" bundle
	rm -r dist/bundle
}

rm -rf dist
mkdir dist
for os in linux darwin windows; do
	for arch in amd64 arm64; do
		step "the plugin for $os/$arch" plugin "$os" "$arch"
	done
done
step "the installer" make build-installer IMG="$IMG"
step "the chart" chart
step "the bundle" bundle
step "the krew manifest and the checksums" go run ./hack/release list -version "$VERSION" -dir dist
