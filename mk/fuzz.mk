# SPDX-License-Identifier: Apache-2.0
# `make fuzz`: libFuzzer (clang) on the parsers of bytes that come from outside, each for FUZZ_SECONDS, under ASan and UBSan.
FUZZ_SECONDS ?= 60
FUZZ_CC ?= clang
FUZZ_FLAGS := -std=c11 -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
FUZZERS := $(patsubst tests/fuzz/%.c,build/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_OBJS := $(foreach d,base net transfer migration,$(patsubst src/%.c,build/fuzz/obj/%.o,$(wildcard src/$(d)/*.c)))

build/fuzz/obj/%.o: src/%.c | $(DEPS)
	@echo "  FUZZCC  $<"
	$(Q)mkdir -p $(@D) && $(FUZZ_CC) $(CPPFLAGS) -U_FORTIFY_SOURCE $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -MMD -MP -c -o $@ $<

build/fuzz/lib.a: $(FUZZ_OBJS)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

build/fuzz/fuzz_%: tests/fuzz/fuzz_%.c build/fuzz/lib.a
	@echo "  FUZZ    $@"
	$(Q)$(FUZZ_CC) $(CPPFLAGS) -U_FORTIFY_SOURCE -Isrc $(FUZZ_FLAGS) -fsanitize=fuzzer -o $@ $< build/fuzz/lib.a $(LIBS)

# A crash leaves its input in build/fuzz/; rerun the program with that file to see it again.  Leaks are looked for at the end.
fuzz: $(FUZZERS)
	$(Q)set -e; for f in $(FUZZERS); do mkdir -p $$f.corpus; \
		echo "  RUN     $$f"; $$f -max_total_time=$(FUZZ_SECONDS) -timeout=60 -max_len=16384 -detect_leaks=0 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1 \
		-artifact_prefix=$(CURDIR)/$$f. $(CURDIR)/$$f.corpus </dev/null; done

.PHONY: fuzz
