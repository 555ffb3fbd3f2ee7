# SPDX-License-Identifier: Apache-2.0
# `make verify [N=10]`: memory, page by page.  Programs that write, map, unmap, move, fork and read wildly are sent in rounds and stopped, and every page is compared with
# what was sent; others run while theirs is filled, and look at every page themselves.
verify: $(BUILD)/tests/test_transfer_track $(BUILD)/tests/test_runtime_fill
	$(Q)set -e; for i in $$(seq $(or $(N),10)); do for t in $^; do timeout 300 $$t >$(BUILD)/verify.log 2>&1 || { cat $(BUILD)/verify.log; exit 1; }; \
		grep -h "verified\|half\|copying" $(BUILD)/verify.log || true; done; done

# Both ends of real migrations, in the instant before the commit; in a lab, with the build that has points to stop at: make verify-moves [N=2].
verify-moves: faults-images
	$(Q)N="$(N)" tests/faults/verify.py

.PHONY: verify verify-moves
