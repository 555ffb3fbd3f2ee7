# SPDX-License-Identifier: Apache-2.0
# podmigration: `make demo` and `make check` need nothing installed by hand on Debian 12 (see README.md).

VERSION := 0.1.0
SAN ?=
FAULTS ?=
BUILD := build$(if $(SAN),/san,)$(if $(FAULTS),/faults,)
CC ?= gcc
V ?=
Q := $(if $(V),,@)

PKGS := libcurl openssl libcjson yaml-0.1 libprotobuf-c libxxhash liblz4
ifneq ($(wildcard /usr/include/cjson/cJSON.h),)
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
endif
LIBS := -lcurl -lssl -lcrypto -lcjson -lyaml -lprotobuf-c -lxxhash -llz4 -lbpf -lm -lpthread

# Banned functions do not compile (include/base/banned.h); _FORTIFY_SOURCE needs optimisation.
CPPFLAGS += -D_GNU_SOURCE -Iinclude -I$(BUILD)/gen -DPM_VERSION_STRING='"$(VERSION)"' $(PKG_CFLAGS)
WARN := -Wall -Wextra -Wshadow -Wconversion -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror
# Points at which tests stop a program (include/base/fault.h); nothing of them is in any other build.
CPPFLAGS += $(if $(FAULTS),-DPM_FAULTS,)
CFLAGS ?= -O2 -g
CFLAGS += -std=c11 $(WARN) -fstack-protector-strong -fno-common -MMD -MP
# A program loads the libraries that it uses, not all that the list names.
LDFLAGS += -Wl,-z,relro,-z,now,--as-needed
ifeq ($(SAN),)
CPPFLAGS += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
CFLAGS += -fPIE
LDFLAGS += -pie
else
CFLAGS += -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LDFLAGS += -fsanitize=address,undefined
endif

# The layers, lowest first: a folder may include headers only of those before it (checked by `make check-layers`).
LAYERS := base net kube container transfer migration controller agent runtime plugin preload
SHARED := base net kube container transfer migration
PROTO := $(wildcard src/container/proto/*.proto)
PROTO_C := $(PROTO:src/container/proto/%.proto=$(BUILD)/gen/proto/%.pb-c.c)
PROTO_O := $(PROTO_C:.c=.o)

objs = $(patsubst src/%.c,$(BUILD)/obj/%.o,$(wildcard src/$(1)/*.c))
LIB := $(BUILD)/libpodmigration.a
LIB_OBJS := $(foreach d,$(SHARED),$(call objs,$(d)))
BINS := $(addprefix $(BUILD)/bin/,podmigration-controller podmigration-agent podmigration-runtime) $(BUILD)/bin/kubectl-migrate
UNIT := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c))

MAKEFLAGS += -r

all: $(BINS) node

# What the build needs and the machine lacks is installed once (Debian; root).
DEPS := build/.deps
$(DEPS):
	$(Q)tests/deps.sh
	$(Q)mkdir -p build && touch $@

$(BUILD)/gen/proto/%.pb-c.c: src/container/proto/%.proto | $(DEPS)
	@echo "  PROTO   $<"
	$(Q)mkdir -p $(@D) && protoc-c --proto_path=src/container/proto --c_out=$(@D) $<
$(BUILD)/gen/proto/%.pb-c.o: $(BUILD)/gen/proto/%.pb-c.c
	@echo "  CC      $<"
	$(Q)$(CC) $(CPPFLAGS) $(filter-out $(WARN),$(CFLAGS)) -c -o $@ $<

$(BUILD)/obj/%.o: src/%.c | $(DEPS) $(PROTO_C)
	@echo "  CC      $<"
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

.SECONDARY: $(PROTO_C)

$(LIB): $(LIB_OBJS) $(PROTO_O)
	@echo "  AR      $@"
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/bin/podmigration-%: $(LIB)
	@echo "  LD      $@"
	$(Q)mkdir -p $(@D) && $(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) $(LIBS)
$(BUILD)/bin/podmigration-controller: $(call objs,controller)
$(BUILD)/bin/podmigration-agent: $(call objs,agent)
# A person's program: it runs kubectl, and links only what it uses of the libraries.
$(BUILD)/bin/kubectl-migrate: $(call objs,plugin) $(LIB)
	@echo "  LD      $@"
	$(Q)mkdir -p $(@D) && $(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) -lcjson -lm
# The runtime is copied onto nodes of any distribution: static, with src/base only and no library (it reads JSON by itself).
$(BUILD)/bin/podmigration-runtime: $(call objs,runtime) $(LIB)
	@echo "  LD      $@"
	$(Q)mkdir -p $(@D) && $(CC) $(CFLAGS) $(if $(SAN),$(LDFLAGS) -static-libasan -static-libubsan,-static) -o $@ $(filter %.o,$^) $(LIB)

# Loaded into CRIU of any distribution (src/preload/): it brings no library along, and what it needs is in every C library.
$(BUILD)/lib/%.so: src/preload/%.c $(wildcard src/preload/*.h) | $(DEPS)
	@echo "  LD      $@"
	$(Q)mkdir -p $(@D) && $(CC) -D_GNU_SOURCE -Iinclude -std=c11 $(WARN) -O2 -g -MMD -MP -fPIC -fvisibility=hidden -fno-stack-protector -shared -nostdlib -Wl,-z,relro,-z,now -o $@ $<

# What `podmigration-agent install` puts on a node, folder by folder.  What runc and CRIU find before the node's own is the same program under other names.
$(BUILD)/node/.stamp: $(BUILD)/bin/podmigration-runtime $(BUILD)/lib/blinkers.so $(BUILD)/lib/joiner.so
	$(Q)rm -rf $(@D) && mkdir -p $(@D)/bin $(@D)/libexec && cp $< $(@D)/bin/ && for n in tar criu; do cp $< $(@D)/libexec/$$n; done
	$(Q)cp $(filter %.so,$^) $(@D)/libexec/
	$(Q)touch $@
node: $(BUILD)/node/.stamp

$(BUILD)/tests/%: tests/unit/%.c $(LIB) | $(DEPS)
	@echo "  TEST    $@"
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) -Isrc $(CFLAGS) $(LDFLAGS) -o $@ $< $(LIB) -lcmocka $(LIBS)

# They load the libraries.
$(BUILD)/tests/test_preload_blinkers: $(BUILD)/lib/blinkers.so
$(BUILD)/tests/test_preload_joiner: $(BUILD)/lib/joiner.so

tests: $(UNIT)

check-unit: $(UNIT)
	$(Q)set -e; for t in $(UNIT); do timeout 120 $$t; done

check-san:
	$(Q)$(MAKE) SAN=1 all check-unit

clean:
	rm -rf build

.PHONY: all node tests check-unit check-san clean
-include $(shell find build -name "*.d" 2>/dev/null)
-include $(wildcard mk/*.mk)
