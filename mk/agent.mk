# SPDX-License-Identifier: Apache-2.0
# The test of the agents' driver links the agents' objects, but for main(): it compares their deeds with the tables.
AGENT_TEST_O := $(filter-out %/main.o,$(call objs,agent))

$(BUILD)/tests/test_agent_driver: tests/unit/test_agent_driver.c $(AGENT_TEST_O) $(LIB) | $(DEPS)
	@echo "  TEST    $@"
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) -Isrc $(CFLAGS) $(LDFLAGS) -o $@ $< $(AGENT_TEST_O) $(LIB) -lcmocka $(LIBS)

# The daemon's test has its functions in itself, and plays the workers.
AGENT_DAEMON_TEST_O := $(filter-out %/daemon.o,$(AGENT_TEST_O))

$(BUILD)/tests/test_agent_daemon: tests/unit/test_agent_daemon.c $(AGENT_DAEMON_TEST_O) $(LIB) | $(DEPS)
	@echo "  TEST    $@"
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) -Isrc $(CFLAGS) $(LDFLAGS) -o $@ $< $(AGENT_DAEMON_TEST_O) $(LIB) -lcmocka $(LIBS)
