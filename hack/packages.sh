#!/usr/bin/env bash
# Installs the Debian packages that are missing of a group, and starts none of their services.
#
#   hack/packages.sh cluster...    what the throwaway cluster runs
#   hack/packages.sh peers...      what the end-to-end tests talk to
set -euo pipefail

packages=()
for group in "$@"; do
	case $group in
	cluster) packages+=(containerd runc containernetworking-plugins iptables iproute2 conntrack socat) ;;
	peers) packages+=(swaks libnet-ssleay-perl postfix unbound python3-dkim) ;;
	*)
		echo "packages: there is no group $group" >&2
		exit 2
		;;
	esac
done

missing=()
for package in "${packages[@]}"; do
	[[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) == ii* ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

if ((EUID != 0)); then
	echo "missing Debian packages; as root: apt-get install ${missing[*]}" >&2
	exit 1
fi

# A package's service would take ports and outlive the test: policy-rc.d is Debian's way to say no.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
	trap 'rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod +x "$policy"
fi

echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { apt-get update -q && apt-get install -qy --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
	tail -n 30 "$log" >&2
	echo "apt-get failed; the whole log is in $log" >&2
	exit 1
fi
rm -f "$log"
