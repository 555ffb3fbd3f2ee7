# SPDX-License-Identifier: Apache-2.0
# `make sim`: the state machine against SIM_SCHEDULES seeded schedules of crashes, lost messages and people, and the broken machines that must be caught.
# One schedule again, with everything that happens in it: build/sim/sim --seed N [--mutant NAME] [--focus BITS].
SIM_SCHEDULES ?= 1000000
SIM_FIRST ?= 1
SIM_SRC := $(wildcard tests/sim/*.c) $(wildcard src/migration/machine*.c) src/migration/phase.c

# Optimised whatever the tree is built with: it is the number of schedules that counts.
build/sim/sim: $(SIM_SRC) $(wildcard tests/sim/*.h include/migration/*.h)
	@echo "  SIM     $@"
	$(Q)mkdir -p $(@D) && $(CC) -D_GNU_SOURCE -Iinclude -std=c11 -O3 -g $(WARN) -o $@ $(SIM_SRC)

# The drawing in docs/ is the table's.
state-machine: build/sim/sim
	$(Q)build/sim/sim --draw

sim: build/sim/sim
	$(Q)build/sim/sim --draw | diff -u docs/state-machine.md - || { echo "FAIL docs/state-machine.md: make -s state-machine >docs/state-machine.md"; exit 1; }
	$(Q)build/sim/sim --schedules $(SIM_SCHEDULES) --first $(SIM_FIRST)

.PHONY: sim state-machine
