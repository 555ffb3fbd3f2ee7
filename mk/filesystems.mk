# SPDX-License-Identifier: Apache-2.0
# Files on ext4, xfs and btrfs, whatever this machine's disk has: docs/testing.md. Not part of `make check`: the moves take a quarter of an hour.
check-filesystems: tests images workloads lab
	$(Q)tests/deps.sh xfsprogs btrfs-progs
	$(Q)tests/filesystems.sh unit $(BUILD)/tests/test_transfer_tree $(BUILD)/tests/test_transfer_tree_ahead
	$(Q)tests/filesystems.sh moves rootfs emptydir files-odd files-many files-busy locked-down there-and-back

.PHONY: check-filesystems
