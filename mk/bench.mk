# SPDX-License-Identifier: Apache-2.0
# What a migration costs, beside the way of others, in one run: make bench [N=3] [QUICK=1] [ROWS="two one"] (docs/performance.md).

bench: images workloads lab
	$(Q)N="$(N)" QUICK="$(QUICK)" ROWS="$(ROWS)" tests/bench/bench.py

# The baseline alone needs no product.
bench-seated: workloads lab
	$(Q)N="$(N)" QUICK="$(QUICK)" ROWS="$(ROWS)" tests/bench/bench.py --seated-only

.PHONY: bench bench-seated
