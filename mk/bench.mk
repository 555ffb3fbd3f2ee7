# SPDX-License-Identifier: Apache-2.0
# What a migration costs, beside the way of others, in one run: make bench [N=3] [QUICK=1] [ROWS="two one"] (docs/performance.md).

bench: images workloads lab
	$(Q)N="$(N)" QUICK="$(QUICK)" ROWS="$(ROWS)" tests/bench/bench.py

# The baseline alone needs no product.
bench-seated: workloads lab
	$(Q)N="$(N)" QUICK="$(QUICK)" ROWS="$(ROWS)" tests/bench/bench.py --seated-only

# Against an earlier build/bench.json: make bench-compare OLD=FILE
bench-compare:
	$(Q)tests/bench/compare.py $(OLD)

# The controller against a real kube-apiserver and etcd: memory, events a second, failover.
bench-controller: all lab
	$(Q)MAIN=tests/bench/controller.py LAB_NAME=$${LAB_NAME:-bench-controller} LOGS=build/check/bench-controller tests/api/run.sh

# What the agents' stream costs a core, without any cluster.
bench-stream: $(BUILD)/bench/stream
	$(Q)$<

$(BUILD)/bench/stream: tests/bench/stream.c tests/unit/stream_pair.h $(LIB) | $(DEPS)
	@echo "  LD      $@"
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $< $(LIB) -lcmocka $(LIBS)

# What a watch event costs the controller, without any cluster; WRAPPER="valgrind --tool=callgrind" counts instructions.
bench-watch: $(BUILD)/bench/watch
	$(Q)tests/bench/watch.py $< $(WRAPPER)

$(BUILD)/bench/watch: tests/bench/watch.c $(filter-out %/main.o,$(call objs,controller)) $(LIB) | $(DEPS)
	@echo "  LD      $@"
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) -Isrc $(CFLAGS) $(LDFLAGS) -o $@ $< $(filter %.o,$^) $(LIB) $(LIBS)

.PHONY: bench-stream bench-watch bench bench-seated bench-compare bench-controller
