# SPDX-License-Identifier: Apache-2.0
# `make check`: everything, from cold.  Each suite can be run alone by its command.

check-layers:
	$(Q)tests/check-layers.sh

# The lab's programs (Kubernetes, Liqo, a Debian root) are built once into a cache outside the tree.
lab:
	$(Q)tests/lab/lab build

SUITES := \
	"unit=make -s check-unit" \
	"sim=make -s sim SIM_SCHEDULES=1000000" \
	"fuzz=make -s fuzz-short" \
	"sanitizers=make -s SAN=1 check-unit" \
	"kube-api=tests/api/kube/check.sh" \
	"api=tests/api/run.sh" \
	"runtime=tests/runtime/run.sh" \
	"runtime-v2=CGROUP=2 tests/runtime/run.sh" \
	"container=tests/container/run.sh" \
	"e2e=make -s check-e2e" \
	"faults=make -s faults-fast" \
	"soak=make -s soak N=10"

check: all tests check-layers lab
	$(Q)tests/check.sh $(SUITES)

.PHONY: check check-layers lab
