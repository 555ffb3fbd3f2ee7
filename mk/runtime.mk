# SPDX-License-Identifier: Apache-2.0
# The runtime's tests on a node (tests/runtime/run.sh), and its unit tests, which link its objects but for main().

RT := $(BUILD)/tests/runtime
RT_O := $(patsubst tests/runtime/%.c,$(RT)/obj/%.o,$(filter-out tests/runtime/app.c,$(wildcard tests/runtime/*.c)))

$(RT)/obj/%.o: tests/runtime/%.c | $(DEPS)
	@echo "  CC      $<"
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

# An rpath, not LD_LIBRARY_PATH: runc and criu, its children, must have the node's libraries.
$(RT)/runtime_test: $(RT_O) $(LIB)
	@echo "  TEST    $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(if $(SAN),-static-libasan -static-libubsan) -Wl,--disable-new-dtags,-rpath,'$$ORIGIN/lib' -o $@ $(RT_O) $(LIB) -lcjson -lm
	$(Q)rm -rf $(RT)/lib && mkdir -p $(RT)/lib
	$(Q)ldd $@ | awk '$$2 == "=>" && $$1 !~ /^lib(c|m|pthread|dl|rt)\.so/ { print $$3 }' | xargs -r cp -Lt $(RT)/lib

$(RT)/app: tests/runtime/app.c | $(DEPS)
	@echo "  TEST    $@"
	$(Q)mkdir -p $(@D) && $(CC) -std=gnu11 -O2 -Wall -Wextra -Werror -static -o $@ $<

runtime-test: $(RT)/runtime_test $(RT)/app node

$(BUILD)/tests/test_runtime_%: tests/unit/test_runtime_%.c $(filter-out %/main.o,$(call objs,runtime)) $(LIB) | $(DEPS)
	@echo "  TEST    $@"
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) -Isrc $(CFLAGS) $(LDFLAGS) -o $@ $< $(filter %.o,$^) $(LIB) -lcmocka $(LIBS)

# It has the file in itself.
$(BUILD)/tests/test_runtime_claim: tests/unit/test_runtime_claim.c src/runtime/claim.c tests/unit/fsyncs.h $(LIB) | $(DEPS)
	@echo "  TEST    $@"
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) -Isrc $(CFLAGS) $(LDFLAGS) -o $@ $< $(LIB) -lcmocka $(LIBS)

.PHONY: runtime-test
