# SPDX-License-Identifier: Apache-2.0
# The Kubernetes client's own test program (tests/api/kube/check.sh): it needs only base and kube.

KUBE_TEST := $(BUILD)/tests/kube-client
KUBE_TEST_OBJS := $(patsubst tests/api/kube/%.c,$(BUILD)/obj/tests-kube/%.o,$(wildcard tests/api/kube/*.c))

$(BUILD)/obj/tests-kube/%.o: tests/api/kube/%.c | $(DEPS)
	@echo "  CC      $<"
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) -Isrc $(CFLAGS) -c -o $@ $<

$(KUBE_TEST): $(KUBE_TEST_OBJS) $(call objs,kube) $(call objs,base)
	@echo "  LD      $@"
	$(Q)mkdir -p $(@D) && $(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

kube-test: $(KUBE_TEST)

.PHONY: kube-test
