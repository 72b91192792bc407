#!/usr/bin/env bash
# Builds the Kubernetes programs that tests and the throwaway cluster run, from the modules that go.mod pins.
#
#   hack/kube/build.sh [NAME...]    default: all of them; envtest needs etcd, kube-apiserver and kubectl
set -euo pipefail
cd "$(dirname "$0")"

version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
IFS=. read -r major minor _ <<<"${version#v}"

# Without these a server reports v0.0.0, and clients refuse it.
stamp=k8s.io/component-base/version
ldflags="-X $stamp.gitVersion=$version -X $stamp.gitMajor=$major -X $stamp.gitMinor=$minor"

names=("$@")
if ((${#names[@]} == 0)); then
	names=(etcd kubectl kube-apiserver kubelet kube-controller-manager kube-scheduler kube-proxy)
fi

targets=()
for name in "${names[@]}"; do
	case $name in
	etcd) targets+=("etcd=go.etcd.io/etcd/server/v3") ;;
	*) targets+=("$name=k8s.io/kubernetes/cmd/$name") ;;
	esac
done
exec ../gobuild.sh . ../../bin/kube -ldflags "$ldflags" "${targets[@]}"
