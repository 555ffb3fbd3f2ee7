#!/bin/bash
# deps.sh [PACKAGE ..]: installs what the build and the tests need from Debian (or, instead, the packages named), when something is missing. Needs root and apt.
set -eu
need="gcc make pkg-config libcurl4-openssl-dev libssl-dev libcjson-dev libyaml-dev libprotobuf-c-dev protobuf-c-compiler
libxxhash-dev liblz4-dev libbpf-dev libcmocka-dev python3 jq curl openssl git file"
[ $# = 0 ] || need="$*"
miss=""
for p in $need; do
	dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q "install ok installed" || miss="$miss $p"
done
[ -z "$miss" ] && exit 0
[ "$(id -u)" = 0 ] || { echo "deps: not root; install these packages:$miss" >&2; exit 1; }
echo "deps: installing$miss"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $miss >/dev/null
