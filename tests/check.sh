#!/bin/bash
# Runs the test suites named on the command line (NAME=COMMAND), each bounded and with a log of its own, and adds up what they say.
# A suite says "N passed, N failed" on a line of its own, or is cmocka's; one that says nothing, says 0 passed, or exits non-zero has failed.
set -u
cd "$(dirname "$0")/.."
logs=build/check
mkdir -p $logs
passed=0
failed=0
for suite in "$@"; do
	name=${suite%%=*}
	command=${suite#*=}
	log=$logs/$name.log
	start=$(date +%s)
	timeout -k 20 "${SUITE_TIMEOUT:-2400}" bash -c "$command" >"$log" 2>&1 </dev/null
	rc=$?
	p=$(sed -nE 's/^(\[  PASSED  \] ([0-9]+) test.*|.*\b([0-9]+) passed, [0-9]+ failed.*)$/\2\3/p' "$log" | awk '{s+=$1} END {print s+0}')
	f=$(sed -nE 's/^(\[  FAILED  \] ([0-9]+) test.*|.*\b[0-9]+ passed, ([0-9]+) failed.*)$/\2\3/p' "$log" | awk '{s+=$1} END {print s+0}')
	if [ $rc != 0 ] || [ "$p" = 0 ]; then
		[ "$f" = 0 ] && f=1
	fi
	printf '%-14s %4d passed %4d failed  %4d s\n' "$name" "$p" "$f" $(($(date +%s) - start))
	if [ "$f" != 0 ]; then
		echo "--- $name: last lines of $log (exit $rc)"
		grep -aE 'FAIL|not ok|ERROR|error:' "$log" | tail -n 15
		tail -n 25 "$log"
		echo "---"
	fi
	passed=$((passed + p))
	failed=$((failed + f))
done
echo "$passed passed, $failed failed"
[ $failed = 0 ] && [ $passed != 0 ]
