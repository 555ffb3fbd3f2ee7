#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs the test suites named on the command line (NAME=COMMAND), each bounded and with a log of its own, and adds up what they say.
# A suite says "N passed, N failed" on a line of its own, or is cmocka's; one that says nothing, says 0 passed, or exits non-zero has failed.
# A suite that failed is run once more, since these are real clusters on a machine of unknown load: as a whole, or only what failed where the suite knows how (CHECK_AGAIN=1).
# That is printed, and the log of the first run is kept (NAME.first.log). What fails twice has failed.
set -u
cd "$(dirname "$0")/.."
logs=build/check
mkdir -p $logs
passed=0
failed=0
again=0
good_then=0

count() { # LOG WORD: the sum of what the runners say
	sed -nE "s/^(\\[  $3  \\] ([0-9]+) test.*|.*\\b$2.*)\$/\\2\\3/p" "$1" | awk '{s+=$1} END {print s+0}'
}

# run NAME COMMAND: sets p and f, prints a line.
run() {
	local log=$logs/$1.log start rc
	start=$(date +%s)
	timeout -k 20 "${SUITE_TIMEOUT:-1800}" bash -c "$2" >"$log" 2>&1 </dev/null
	rc=$?
	p=$(count "$log" '([0-9]+) passed, [0-9]+ failed' PASSED)
	f=$(count "$log" '[0-9]+ passed, ([0-9]+) failed' FAILED)
	if [ $rc != 0 ] || [ "$p" = 0 ]; then
		[ "$f" = 0 ] && f=1
	fi
	printf '%-14s %4d passed %4d failed  %4d s\n' "$1" "$p" "$f" $(($(date +%s) - start))
	if [ "$f" != 0 ]; then
		echo "--- $1: from $log (exit $rc)"
		grep -aE 'FAIL|not ok|ERROR|error:' "$log" | tail -n 15 | cut -c1-300
		tail -n 12 "$log" | cut -c1-300
		echo "---"
	fi
}

for suite in "$@"; do
	rm -f "$logs/${suite%%=*}.json"
	run "${suite%%=*}" "${suite#*=}"
	if [ "$f" != 0 ]; then
		mv "$logs/${suite%%=*}.log" "$logs/${suite%%=*}.first.log"
		echo "${suite%%=*}: once more"
		CHECK_AGAIN=1 run "${suite%%=*}" "${suite#*=}"
		again=$((again + 1))
		[ "$f" = 0 ] && good_then=$((good_then + 1))
	fi
	passed=$((passed + p))
	failed=$((failed + f))
done
[ $again = 0 ] || echo "$again of $# suites needed a second try, with which $good_then came through: what failed first is in $logs/NAME.first.log"
echo "$passed passed, $failed failed"
[ $failed = 0 ] && [ $passed != 0 ]
