# SPDX-License-Identifier: Apache-2.0
# Real applications moved under load, and the table of what works: make apps [APPS="redis nginx"] [APPS_ARGS="--moves 2"] (docs/applications.md).

apps: images workloads lab
	$(Q)tests/apps/selftest.py >/dev/null 2>&1 || { tests/apps/selftest.py; exit 1; }
	$(Q)tests/apps/run.py $(APPS_ARGS) $(APPS)

# Two of them, there and back: the short form.
apps-check:
	$(Q)$(MAKE) apps APPS_ARGS="--moves 2" APPS="redis nginx"

.PHONY: apps apps-check
