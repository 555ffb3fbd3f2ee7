# SPDX-License-Identifier: Apache-2.0
# Debian's kernel, cgroup v2 only, systemd: in a virtual machine under software emulation (tests/vm, docs/testing.md).  Not part of `make check`: it takes hours.
# VM_SUITES: which (unit, or of these memory alone; boxes runtime container move).  VM_DRIVER: the kubelet's cgroup driver (systemd, cgroupfs).
VM_SUITES ?= unit boxes runtime container move

check-vm: all tests workloads runtime-test container-test images
	$(Q)tests/deps.sh qemu-system-x86 e2fsprogs
	$(Q)LAB_NAME=$${LAB_NAME:-vm} tests/vm/vm run $(VM_SUITES)

.PHONY: check-vm
