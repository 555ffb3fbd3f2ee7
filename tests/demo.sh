#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# make demo: two real clusters on this machine, podmigration in both, and a pod with two containers (64 and 16 MiB of memory) moved from one to the other.
# KEEP=1 leaves the clusters up. LAB_NAME (default demo) names them.
set -eu
cd "$(dirname "$0")/.."

export LAB_NAME=${LAB_NAME:-demo}
lab=tests/lab/lab
ns=demo
pod=web
migration=web-to-b

say() { printf '\n== %s\n' "$*"; }
k() { "$lab" kubectl a "$@"; }

# The state of things, when something went wrong; then one sentence.
fail() {
	trap - EXIT
	{
		echo
		k get podmigration -n $ns $migration -o jsonpath='{range .status.conditions[*]}{.type}={.status} {.reason}: {.message}{"\n"}{end}' || true
		for c in a b; do
			echo "-- agent in cluster $c:"
			"$lab" kubectl "$c" logs -n podmigration-agent ds/podmigration-agent --tail=15 || true
		done
		echo "-- controller:"
		k logs -n podmigration-system -l app.kubernetes.io/name=podmigration-controller --tail=15 || true
	} >&2 2>&1
	[ "${KEEP:-}" = 1 ] || "$lab" down >/dev/null 2>&1 || true
	echo "demo: failed: $*" >&2
	exit 1
}
trap 'fail "a command of this script failed (line $LINENO)"' ERR
trap '[ "${KEEP:-}" = 1 ] || "$lab" down >/dev/null 2>&1' EXIT

say "two clusters, a and b, peered with Liqo (namespace $ns is offloaded)"
"$lab" status 2>/dev/null | grep -q '^b: [0-9]' || "$lab" up

say "podmigration in both, from deploy/kustomize"
tests/e2e/run.py --install-only
k get pods -n podmigration-system -o wide
for c in a b; do "$lab" kubectl "$c" get pods -n podmigration-agent -o wide --no-headers; done

say "a pod in cluster a, two containers, each counting milliseconds"
k delete podmigration,pod --all -n $ns --wait=true >/dev/null 2>&1
k apply -f - <<X
apiVersion: v1
kind: Pod
metadata: {name: $pod, namespace: $ns}
spec:
  nodeSelector: {kubernetes.io/hostname: a}
  terminationGracePeriodSeconds: 1
  containers:
  - {name: one, image: "localhost/e2e/counter:1", args: ["64", /state/count], env: [{name: NAME, value: one}]}
  - {name: two, image: "localhost/e2e/counter:1", args: ["16", /state/count], env: [{name: NAME, value: two}]}
X
k wait -n $ns pod/$pod --for=condition=Ready --timeout=240s

# ticks POD N: follows the logs until both containers have counted N lines.
ticks() {
	local c lines
	for c in one two; do
		lines=$(timeout 240 "$lab" kubectl a logs -f -n $ns "$1" -c $c 2>/dev/null | grep -m "$2" ' tick ' || true)
		[ "$(grep -c . <<<"$lines")" = "$2" ] || fail "container $c of pod $1 does not count"
		echo "$lines"
	done
}
ticks $pod 3

say "the PodMigration"
manifest="apiVersion: podmigration.dev/v1alpha1
kind: PodMigration
metadata: {name: $migration, namespace: $ns}
spec:
  podName: $pod
  destination: {liqoCluster: b}"
echo "$manifest"
begin=$EPOCHREALTIME
k apply -f - <<<"$manifest"
k wait -n $ns podmigration/$migration --for=jsonpath='{.status.completionTime}' --timeout=480s >/dev/null 2>&1 ||
	fail "the PodMigration did not end within 480 s"
end=$EPOCHREALTIME
status=$(k get podmigration -n $ns $migration -o json)
phase=$(jq -r .status.phase <<<"$status")
[ "$phase" = Succeeded ] ||
	fail "the PodMigration ended $phase: $(jq -r '.status.conditions[] | select(.type == "Succeeded") | "\(.reason): \(.message)"' <<<"$status")"
k get podmigration -n $ns $migration -o wide

say "the pod goes on in cluster b; its logs, read through cluster a"
moved=$(jq -r .status.destinationPod.name <<<"$status")
k get pods -n $ns -o wide
ticks "$moved" 3

say "where the time went"
jq -r '
	def us: capture("^(?<s>[^.Z]+)(\\.(?<f>[0-9]+))?Z$") | ((.s + "Z") | fromdateiso8601) * 1000000 + ((((.f // "0") + "000000")[0:6]) | tonumber);
	def table: . as $t | range(0; length) as $i
		| "\($t[$i][0])\t\($t[$i][1])\t" + (if $i > 0 then "+\((($t[$i][1] | us) - ($t[$i - 1][1] | us)) / 1000) ms" else "" end);
	([.status.phaseTransitionTimestamps[]? | [.phase, .time]] | table),
	([.status.source.timeline[]? | [.step, .time]] | table),
	(.status.source.containers[]? | "container \(.name)\tdump \((.dumpMicros // 0) / 1000) ms, restore \((.restoreMicros // 0) / 1000) ms\t\((.bytes // 0) / 1048576 | floor) MiB of memory"),
	"together\tfrozen for \(.status.downtime // "?")\t\(.status.transferred // "?") sent"' <<<"$status" | column -t -s "$(printf '\t')"

# The largest pause that the programs themselves noticed, in their whole life.
gap=0
for c in one two; do
	lines=$(k logs -n $ns "$moved" -c $c)
	odd=$(grep -E -m 1 'CORRUPT|FILE| start tick' <<<"$lines" || true)
	[ -z "$odd" ] || fail "container $c complains: $odd"
	n=$(sed -n 's/.* tick .* gap=\([0-9]*\) .*/\1/p' <<<"$lines" | tail -n 1)
	[ "${n:-0}" -le "$gap" ] || gap=$n
done
[ "$gap" -gt 0 ] || fail "the programs told no gap"

trap - ERR EXIT
[ "${KEEP:-}" = 1 ] || "$lab" down >/dev/null 2>&1
ms=$(((${end/./} - ${begin/./}) / 1000))
printf '\ndemo: ok containers=2 gap_ms=%d apply_to_succeeded_s=%d.%03d\n' "$gap" $((ms / 1000)) $((ms % 1000))
