#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Files on file systems other than that of this machine, each in an image of its own. Ends with "N passed, N failed".
#   filesystems.sh unit TEST ..   the unit tests of trees, on ext4, xfs and btrfs
#   filesystems.sh moves CASE ..  whole migrations (tests/e2e) between nodes whose disks are xfs, then btrfs; some 14 GB sparse
set -u
what=$1
shift
place=$(mktemp -d "${TMPDIR:-/tmp}/podmigration-filesystems-XXXXXX") || exit 1
disk=$place/disk
log=$place/log
passed=0
failed=0

clean() {
	umount "$disk" 2>/dev/null
	rm -rf --one-file-system "$place"
}
trap clean EXIT

# fresh TYPE SIZE: an empty file system at $disk, so that what a failed test leaves is in nobody's way.
fresh() {
	umount "$disk" 2>/dev/null
	rm -f "$place/image"
	mkdir -p "$disk" && truncate -s "$2" "$place/image" && "mkfs.$1" -q "$place/image" >/dev/null 2>&1 && mount -o loop "$place/image" "$disk" || {
		echo "no $1 can be made or mounted here"
		failed=$((failed + 1))
		return 1
	}
	rmdir "$disk/lost+found" 2>/dev/null || true
}

unit() {
	local type test
	for type in ext4 xfs btrfs; do
		for test; do
			fresh $type 1500M || continue
			TEST_PLACE=$disk timeout 600 "$test" >"$log" 2>&1 </dev/null || {
				failed=$((failed + 1))
				grep -v '^\[ RUN\|^\[       OK' "$log"
			}
			passed=$((passed + $(grep -c '^\[       OK' "$log")))
			echo "$type $(basename "$test"): $(grep -c '^\[       OK' "$log") passed"
		done
	done
}

moves() {
	local type n f cases=()
	for n; do cases+=(--case "$n"); done
	for type in xfs btrfs; do
		fresh $type 14G || continue
		echo "nodes on $type:"
		LAB_STATE=$disk LAB_NAME=fs-$type timeout 1500 tests/e2e/run.py "${cases[@]}" </dev/null 2>&1 | tee "$log"
		n=$(sed -nE '$s/^([0-9]+) passed, [0-9]+ failed$/\1/p' "$log")
		f=$(sed -nE '$s/^[0-9]+ passed, ([0-9]+) failed$/\1/p' "$log")
		passed=$((passed + ${n:-0}))
		failed=$((failed + ${f:-1}))
	done
}

$what "$@"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
