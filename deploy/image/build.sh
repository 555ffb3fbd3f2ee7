#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# build.sh [OUTDIR]: the two images, without Docker, from the built binaries and the libraries this machine has for them. Writes OUTDIR/controller.tar
# and OUTDIR/agent.tar (OCI layouts: `ctr images import`, `docker load`, `skopeo copy oci-archive:..`) and prints the name and digest of each.
# Default of OUTDIR: build/image. BUILD (default build) is the folder of the binaries. IMAGE_PREFIX (default localhost/podmigration) and VERSION (default: the Makefile's) make the names.
set -eu
cd "$(dirname "$0")/../.."

build=${BUILD:-build}
out=${1:-$build/image}
prefix=${IMAGE_PREFIX:-localhost/podmigration}
version=${VERSION:-$(sed -n 's/^VERSION := //p' Makefile)}
user=65532

die() {
	echo "build.sh: $*" >&2
	exit 1
}
# shellcheck source=../../tests/lab/lib/image.sh
. tests/lab/lib/image.sh # image_make

# base ROOT: what every program expects to find.
base() {
	mkdir -p "$1"/{etc/ssl/certs,tmp,usr/bin,proc,sys,dev}
	chmod 1777 "$1/tmp"
	printf 'root:x:0:0:root:/:/sbin/nologin\nnonroot:x:%s:%s:nonroot:/:/sbin/nologin\n' $user $user >"$1/etc/passwd"
	printf 'root:x:0:\nnonroot:x:%s:\n' $user >"$1/etc/group"
	echo 'hosts: files dns' >"$1/etc/nsswitch.conf"
	cp /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/"
}

# program ROOT BINARY: the binary, its loader and all libraries that the loader would take, under the paths where it looks for them.
program() {
	local lib
	[ -x "$2" ] || die "no $2: make all node first"
	strip -o "$1/usr/bin/$(basename "$2")" "$2"
	ldd "$2" | grep -q 'not found' && die "$2 lacks a library: $(ldd "$2" | grep 'not found')"
	ldd "$2" | awk '$2 == "=>" { print $3 } $1 ~ /^\// { print $1 }' | while read -r lib; do
		[ -e "$1$lib" ] || install -D -m 755 "$lib" "$1$lib"
	done
}

# image NAME ROOT CONFIG: same content, same digest.
image() {
	find "$2" -exec touch -h -d @"${SOURCE_DATE_EPOCH:-0}" {} +
	echo "$prefix/$1@$(image_make "$out/$1.tar" "$prefix/$1:$version" "$2" "$3")"
}

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
mkdir -p "$out"

base "$root/controller"
program "$root/controller" "$build/bin/podmigration-controller"
image controller "$root/controller" '{"Entrypoint": ["/usr/bin/podmigration-controller"], "User": "65532:65532"}'

base "$root/agent"
program "$root/agent" "$build/bin/podmigration-agent"
# what `podmigration-agent install` puts on nodes
mkdir -p "$root/agent/usr/lib/podmigration/node"
cp -r "$build/node/bin" "$build/node/libexec" "$root/agent/usr/lib/podmigration/node/"
strip "$root"/agent/usr/lib/podmigration/node/{bin,libexec}/*
image agent "$root/agent" '{"Entrypoint": ["/usr/bin/podmigration-agent"]}'
