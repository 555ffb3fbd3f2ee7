# SPDX-License-Identifier: Apache-2.0
# The container layer's tests on a node (tests/container/run.sh): a program and the libraries it needs beside it, since the node has others.

CT := $(BUILD)/tests/container
CT_O := $(patsubst tests/container/%.c,$(CT)/obj/%.o,$(filter-out tests/container/app.c,$(wildcard tests/container/*.c)))

$(CT)/obj/%.o: tests/container/%.c | $(DEPS)
	@echo "  CC      $<"
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

CT_LIB := $(foreach d,base migration container,$(call objs,$(d))) $(PROTO_O)

# An rpath, not LD_LIBRARY_PATH: runc and criu, its children, must have the node's libraries.
$(CT)/container_test: $(CT_O) $(CT_LIB)
	@echo "  TEST    $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -Wl,--disable-new-dtags,-rpath,'$$ORIGIN/lib' -o $@ $(CT_O) $(CT_LIB) $(LIBS)
	$(Q)rm -rf $(CT)/lib && mkdir -p $(CT)/lib
	$(Q)ldd $@ | awk '$$2 == "=>" && $$1 !~ /^lib(c|m|pthread|dl|rt)\.so/ { print $$3 }' | xargs -r cp -Lt $(CT)/lib

$(CT)/app: tests/container/app.c | $(DEPS)
	@echo "  TEST    $@"
	$(Q)mkdir -p $(@D) && $(CC) -std=gnu11 -O2 -Wall -Wextra -Werror -static -o $@ $<

container-test: $(CT)/container_test $(CT)/app $(BUILD)/lib/blinkers.so

.PHONY: container-test
