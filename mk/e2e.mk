# SPDX-License-Identifier: Apache-2.0
# Images, whole migrations in two real clusters, and the demonstration.

WORKLOADS := $(patsubst tests/apps/%.c,$(BUILD)/apps/%,$(wildcard tests/apps/*.c))

# Workloads of the tests: static, so that an image is one file.
$(BUILD)/apps/%: tests/apps/%.c $(wildcard tests/apps/*.h)
	@echo "  APP     $@"
	$(Q)mkdir -p $(@D) && $(CC) -D_GNU_SOURCE $(CFLAGS) -static -s -o $@ $<
workloads: $(WORKLOADS)

images: all node
	$(Q)BUILD=$(BUILD) deploy/image/build.sh $(BUILD)/image

demo: images workloads lab
	$(Q)tests/demo.sh

# E2E_ARGS: options of tests/e2e/run.py, such as --case NAME.
check-e2e: images workloads lab
	$(Q)tests/e2e/selftest.py >/dev/null 2>&1 || { tests/e2e/selftest.py; exit 1; }
	$(Q)tests/e2e/run.py $(E2E_ARGS)

# make check-containerd LAB_CONTAINERD=1.7.35: what touches containerd most, with another version of it (docs/testing.md).  Not part of `make check`.
CONTAINERD_CASES := install-again install-in-use strategies containerd-restart default-runtime emptydir rootfs deployment life together one-pid-namespace locked-down inside logs-exec-exit \
	crash-barrier leftovers
check-containerd: images workloads
	$(Q)test -n "$(LAB_CONTAINERD)" || { echo "which containerd?  make check-containerd LAB_CONTAINERD=2.4.2"; exit 1; }
	$(Q)LAB_NAME=$${LAB_NAME:-containerd} LAB_CONTAINERD=$(LAB_CONTAINERD) tests/lab/lab build
	$(Q)LAB_NAME=$${LAB_NAME:-containerd} LAB_CONTAINERD=$(LAB_CONTAINERD) tests/e2e/run.py $(addprefix --case ,$(CONTAINERD_CASES)) $(E2E_ARGS)

# Both clusters of a running lab (LAB_NAME, as for tests/lab/lab) get podmigration, as deploy/ says.
install-lab: images workloads lab
	$(Q)LAB_NAME=$${LAB_NAME:-lab} tests/e2e/run.py --install-only $(E2E_ARGS)

.PHONY: workloads images demo check-e2e check-containerd install-lab
