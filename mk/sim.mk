# SPDX-License-Identifier: Apache-2.0
# `make sim`: the state machine against SIM_SCHEDULES seeded schedules of crashes, lost messages and people, and the broken machines that must be caught.
# One again, with everything that happens: build/sim/sim --seed N [--mutant NAME].
SIM_SCHEDULES ?= 1000000
SIM_FIRST ?= 1
SIM_SRC := $(wildcard tests/sim/*.c) $(wildcard src/migration/machine*.c) src/migration/phase.c
# Optimised whatever the tree is built with: it is the number of schedules that counts.
SIM_FLAGS := -std=c11 -O3 -g $(WARN)

build/sim/sim: $(SIM_SRC) $(wildcard tests/sim/*.h include/migration/*.h)
	@echo "  SIM     $@"
	$(Q)mkdir -p $(@D) && $(CC) -D_GNU_SOURCE -Iinclude $(filter-out,$(SIM_FLAGS)) -o $@ $(SIM_SRC)

sim: build/sim/sim
	$(Q)build/sim/sim --schedules $(SIM_SCHEDULES) --first $(SIM_FIRST)

.PHONY: sim
