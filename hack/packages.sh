#!/usr/bin/env bash
# Installs the Debian packages that are missing of a group, and starts none of their services.
#
#   hack/packages.sh cluster...    what the throwaway cluster runs
#   hack/packages.sh crash...      what the long form of the crash tests needs
#   hack/packages.sh peers...      what the end-to-end tests talk to
#   hack/packages.sh interop...    what the tests with real peers talk to; Exim, which cannot be installed beside
#                                  Postfix, is unpacked in bin/peers
set -euo pipefail

cd "$(dirname "$0")/.."
packages=()
unpack=()
for group in "$@"; do
	case $group in
	cluster) packages+=(containerd runc containernetworking-plugins iptables iproute2 conntrack socat) ;;
	crash) packages+=(strace) ;;
	peers) packages+=(apache2-utils swaks libnet-ssleay-perl postfix unbound python3-dkim) ;;
	interop)
		packages+=(swaks libnet-ssleay-perl postfix unbound python3 python3-dkim dovecot-lmtpd dovecot-imapd opendkim rspamd haproxy prometheus chromium-headless-shell)
		packages+=(libgnutls-dane0 libidn12) # what Exim needs
		unpack+=(exim4-daemon-light)
		;;
	*)
		echo "packages: there is no group $group" >&2
		exit 2
		;;
	esac
done

missing=()
packed=()
for package in "${packages[@]}"; do
	[[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) == ii* ]] || missing+=("$package")
done
for package in "${unpack[@]}"; do
	[[ -d bin/peers/$package ]] || packed+=("$package")
done
((${#missing[@]} + ${#packed[@]})) || exit 0

if ((EUID != 0)); then
	echo "missing Debian packages, which root could install: ${missing[*]} ${packed[*]}" >&2
	exit 1
fi

# A package's service would take ports and outlive the test: policy-rc.d is Debian's way to say no.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
	trap 'rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod +x "$policy"
fi

# fetch unpacks packages that cannot be installed.
fetch() {
	local package dir
	for package in "${packed[@]}"; do
		dir=$(mktemp -d) && (cd "$dir" && apt-get download -q -o APT::Sandbox::User=root "$package") &&
			dpkg-deb -x "$dir"/*.deb "$dir/unpacked" && mkdir -p bin/peers && mv "$dir/unpacked" "bin/peers/$package" &&
			rm -rf "$dir" || return 1
	done
}

echo "installing ${missing[*]} ${packed[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { apt-get update -q && apt-get install -qy --no-install-recommends "${missing[@]}" && fetch; } >"$log" 2>&1; then
	tail -n 30 "$log" >&2
	echo "apt-get failed; the whole log is in $log" >&2
	exit 1
fi
rm -f "$log"
