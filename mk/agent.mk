# SPDX-License-Identifier: Apache-2.0
# The test of the agents' driver links the agents' objects, but for main(): it compares their deeds with the tables.
AGENT_TEST_O := $(filter-out %/main.o,$(call objs,agent))

$(BUILD)/tests/test_agent_driver: tests/unit/test_agent_driver.c $(AGENT_TEST_O) $(LIB) | $(DEPS)
	@echo "  TEST    $@"
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) -Isrc $(CFLAGS) $(LDFLAGS) -o $@ $< $(AGENT_TEST_O) $(LIB) -lcmocka $(LIBS)

# Tests that have one of the agents' files in themselves (and play what it calls), and link the others.
define agent_part_test
$(BUILD)/tests/test_agent_$(1): tests/unit/test_agent_$(1).c $(filter-out %/$(1).o,$(AGENT_TEST_O)) $(LIB) | $(DEPS)
	@echo "  TEST    $$@"
	$$(Q)mkdir -p $$(@D) && $$(CC) $$(CPPFLAGS) -Isrc $$(CFLAGS) $$(LDFLAGS) -o $$@ $$< $(filter-out %/$(1).o,$(AGENT_TEST_O)) $$(LIB) -lcmocka $$(LIBS)
endef
$(foreach part,control daemon destination destination_deeds health source source_connections source_deeds source_dump source_filled source_inspect,$(eval $(call agent_part_test,$(part))))
