# SPDX-License-Identifier: Apache-2.0
# Unit tests of the controller link its objects (the library holds only what the programs share), but for its main().
$(BUILD)/tests/test_controller_%: tests/unit/test_controller_%.c $(filter-out %/main.o,$(call objs,controller)) $(LIB) | $(DEPS)
	@echo "  TEST    $@"
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) -Isrc $(CFLAGS) $(LDFLAGS) -o $@ $< $(filter %.o,$^) $(LIB) -lcmocka $(LIBS)
