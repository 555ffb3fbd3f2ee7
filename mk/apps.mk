# SPDX-License-Identifier: Apache-2.0
# Real applications moved under load, and the table of what works: make apps [APPS="redis nginx"] [APPS_ARGS="--moves 2"] (docs/applications.md).

apps: images workloads lab
	$(Q)tests/apps/run.py $(APPS_ARGS) $(APPS)

# Two of them, there and back, for `make check`.
apps-check: images workloads lab
	$(Q)tests/apps/run.py --moves 2 redis nginx

.PHONY: apps apps-check
