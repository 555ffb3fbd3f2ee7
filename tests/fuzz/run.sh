#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# run.sh SECONDS FUZZER ..: each fuzzer first takes every input of tests/fuzz/corpus/NAME (also what once broke it), then searches for SECONDS, two at a time.
# What it finds worth keeping goes to build/fuzz/corpus/NAME and is where the next run goes on.  Ends with `N passed, N failed`.
set -u
cd "$(dirname "$0")/../.."
seconds=$1
shift
out=$PWD/build/fuzz       # some fuzzers change their folder
result=$(mktemp)
mkdir -p $out/found $out/log $out/corpus

# one FUZZER: a line, and exit status 1 when something was found.
one() {
	local name=${1##*/fuzz_} log rc line
	log=$out/log/$name
	mkdir -p "$out/corpus/$name"
	timeout -k 10 $((seconds * 2 + 120)) "$1" -max_total_time="$seconds" -timeout=20 -max_len=16384 -rss_limit_mb=2048 -print_final_stats=1 \
		-artifact_prefix="$out/found/$name." "$out/corpus/$name" "$PWD/tests/fuzz/corpus/$name" >"$log" 2>&1 </dev/null
	rc=$?
	line=$(awk '/number_of_executed_units/ {n=$2} /average_exec_per_sec/ {s=$2} /peak_rss_mb/ {m=$2} / cov: / {for (i=1;i<NF;i++) if ($i=="cov:") c=$(i+1)}
		END {printf "%9d inputs  %6d /s  %5d places  %4d MB", n, s, c, m}' "$log")
	if [ $rc = 0 ]; then
		printf 'ok   %-11s %s\n' "$name" "$line"
	else
		printf 'FAIL %-11s %s (exit %d, %s)\n' "$name" "$line" $rc "$log"
		grep -aE 'ERROR|SUMMARY|runtime error|Test unit written' "$log" | head -n 5
	fi
	return $((rc != 0))
}
export -f one
export seconds out

printf '%s\0' "$@" | xargs -0 -n1 -P2 bash -c 'one "$0" && echo p >&3 || echo f >&3' 3>"$result"
p=$(grep -c p "$result")
f=$(grep -c f "$result")
rm -f "$result"
echo "$p passed, $f failed"
[ "$f" = 0 ] && [ "$p" = $# ]
