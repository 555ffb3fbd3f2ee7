#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The points of include/base/fault.h are in the fault build, and not in the release build.  Without the first half the second could pass for the wrong reason.
set -eu
cd "$(dirname "$0")/../.."
programs="controller agent runtime"
words='podmigration[-/]faults|fault_point|fault_state|controller\.delete|monitor\.open|source\.dump'
bad=0
for p in $programs; do
	if { strings -a "build/bin/podmigration-$p"; nm -a "build/bin/podmigration-$p"; } | grep -E "$words"; then
		echo "FAIL podmigration-$p: the release build has fault points" >&2
		bad=$((bad + 1))
	fi
	[ ! -e "build/faults/bin/podmigration-$p" ] || strings -a "build/faults/bin/podmigration-$p" | grep -qE "$words" || {
		echo "FAIL podmigration-$p: the fault build has no fault points, so this test shows nothing" >&2
		bad=$((bad + 1))
	}
done
exit $((bad > 0))
