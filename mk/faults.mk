# SPDX-License-Identifier: Apache-2.0
# What becomes of a migration when something breaks (tests/faults), and whether a thousand of them leave anything behind (tests/soak).

# All rows, or FAULTS_ROWS="who/what/step ..", each part a pattern: FAULTS_ROWS="source-agent/kill/* */*/source.frozen".
faults: faults-images
	$(Q)tests/faults/faults.py

faults-fast: faults-images
	$(Q)tests/faults/selftest.py >/dev/null 2>&1 || { tests/faults/selftest.py; exit 1; }
	$(Q)tests/faults/faults.py --fast

# How soon a source that stands still goes on when its migration is cancelled: make rollback [N=3].
rollback: faults-images
	$(Q)N="$(N)" tests/faults/faults.py --rollback

faults-images: workloads lab check-faults-absent
	$(Q)$(MAKE) -s FAULTS=1 images

# The release programs know nothing of the points: no symbol, no name of a file or of a point.
check-faults-absent: all
	$(Q)tests/faults/absent.sh

soak: images workloads lab
	$(Q)tests/soak/soak.py $(or $(N),1000)

.PHONY: faults faults-fast rollback faults-images check-faults-absent soak
