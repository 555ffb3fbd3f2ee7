# SPDX-License-Identifier: Apache-2.0
# `make fuzz`: libFuzzer (clang) on each parser of bytes that come from outside, each for SECONDS, under ASan and UBSan.  `make fuzz-short`: what is in
# tests/fuzz/corpus once, and then a moment of search each; part of `make check`.
SECONDS ?= 60
FUZZ_CC ?= clang
FUZZ_FLAGS := -std=c11 -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
FUZZ_CPP = $(CPPFLAGS) -U_FORTIFY_SOURCE -Isrc
FUZZERS := $(patsubst tests/fuzz/%.c,build/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))

# The shared layers are one library for all; a program's own parts are linked only to the fuzzers named here (two programs may use one name).
FUZZ_OF_agent := hello journal monitors order receive
FUZZ_OF_runtime := args fill request spec tar

fuzz_objs = $(patsubst src/%.c,build/fuzz/obj/%.o,$(filter-out %/main.c,$(wildcard src/$(1)/*.c)))
FUZZ_SHARED_O := $(foreach d,$(SHARED),$(call fuzz_objs,$(d)))

FUZZ_DEPS := build/fuzz/.deps
$(FUZZ_DEPS): | $(DEPS)
	$(Q)tests/fuzz/deps.sh
	$(Q)mkdir -p $(@D) && touch $@

build/fuzz/obj/%.o: src/%.c | $(FUZZ_DEPS) $(PROTO_C)
	@echo "  FUZZCC  $<"
	$(Q)mkdir -p $(@D) && $(FUZZ_CC) $(FUZZ_CPP) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -MMD -MP -c -o $@ $<

build/fuzz/lib.a: $(FUZZ_SHARED_O) $(PROTO_O)
	$(Q)rm -f $@ && $(AR) rcs $@ $^
build/fuzz/agent.a: $(call fuzz_objs,agent)
	$(Q)rm -f $@ && $(AR) rcs $@ $^
build/fuzz/runtime.a: $(call fuzz_objs,runtime)
	$(Q)rm -f $@ && $(AR) rcs $@ $^
$(FUZZ_OF_agent:%=build/fuzz/fuzz_%): build/fuzz/agent.a
$(FUZZ_OF_runtime:%=build/fuzz/fuzz_%): build/fuzz/runtime.a

build/fuzz/fuzz_%: tests/fuzz/fuzz_%.c tests/fuzz/fuzz.h build/fuzz/lib.a
	@echo "  FUZZ    $@"
	$(Q)$(FUZZ_CC) $(FUZZ_CPP) $(FUZZ_FLAGS) -fsanitize=fuzzer -MMD -MP -o $@ $< $(filter-out build/fuzz/lib.a,$(filter %.a,$^)) build/fuzz/lib.a $(LIBS)

# A crash leaves its input in build/fuzz/found/; rerun the program with that file to see it again, and put it into tests/fuzz/corpus once it is understood.
fuzz: $(FUZZERS)
	$(Q)tests/fuzz/run.sh $(SECONDS) $(FUZZERS)

fuzz-short:
	$(Q)$(MAKE) -s -j2 $(FUZZERS)
	$(Q)tests/fuzz/run.sh 2 $(FUZZERS)

.PHONY: fuzz fuzz-short
