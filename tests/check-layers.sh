#!/bin/bash
# A folder of src/ includes only headers of its own and of folders before it in the list of layers (docs/architecture.md).
set -eu
cd "$(dirname "$0")/.."
layers="base net kube container transfer migration controller agent runtime plugin preload"
# Exceptions to "all before it": what may be included besides one's own folder.
allowed() {
	case $1 in
	base) echo "" ;;
	net) echo "base migration" ;;           # migration/reason.h only: error reasons are one enum
	kube) echo "base" ;;
	container) echo "base migration" ;;
	transfer) echo "base net migration" ;;
	migration) echo "base" ;;
	controller) echo "base net kube migration" ;;
	agent) echo "base net kube container transfer migration runtime" ;;
	runtime) echo "base migration" ;;
	plugin) echo "base migration" ;;
	preload) echo "container runtime" ;;    # container/blinkers.h, runtime/joiner.h only: it is loaded into CRIU, without any other code of ours
	esac
}
bad=0
for dir in $layers; do
	ok=" $dir $(allowed "$dir") proto "
	while IFS=: read -r file line text; do
		inc=${text#*\"}
		inc=${inc%%/*}
		[ "$inc" = "${text#*\"}" ] && continue          # "x.h": of the same folder
		case "$ok" in
		*" $inc "*) ;;
		*) echo "layers: $file:$line: src/$dir may not include $inc/: $text" >&2; bad=1 ;;
		esac
	done < <(grep -nE '^#include "[a-z_]+/' -r "src/$dir" "include/$dir" 2>/dev/null)
done
# Functions that lose bounds or run a shell are not used at all.
if grep -nE '\b(strcpy|strcat|sprintf|vsprintf|strtok|atoi|atol|gmtime|localtime|system|popen|gets|alloca)\(' -r src include; then
	echo "layers: banned functions are used in the lines above" >&2
	bad=1
fi
# A program that defines what the library defines too takes its own without a word from the linker, and gets another function than its header says.
if [ -f build/libpodmigration.a ]; then
	defined() { nm -g --defined-only "$@" 2>/dev/null | awk 'NF == 3 {print $3}' | sort -u; }
	for program in controller agent runtime plugin; do
		twice=$(comm -12 <(defined build/libpodmigration.a) <(defined build/obj/$program/*.o))
		[ -z "$twice" ] || { echo "src/$program defines what the library defines: $twice" >&2; bad=1; }
	done
fi
# Every reason a person can read is explained.
for reason in $(sed -nE 's/^[[:space:]]R\(([A-Za-z]+), ".*/\1/p' include/migration/reason.h); do
	grep -q "^| $reason |" docs/troubleshooting.md || { echo "docs: reason $reason is not in docs/troubleshooting.md" >&2; bad=1; }
done
# Every metric, too, and no other is.
metrics() { grep -ohE '"(podmigration|controller_runtime|workqueue|leader_election)_[a-z_]+"' src/controller/metrics.c src/agent/health.c | tr -d '"' | sort -u; }
for metric in $(diff <(metrics) <(sed '/^## Alerts/,$d' docs/monitoring.md | grep -oE '^\| `.*' | cut -d'|' -f2 | grep -oE '`[a-z_]+' | tr -d '`' | sort -u) | sed -n 's/^[<>] //p'); do
	echo "docs: metric $metric is not both in docs/monitoring.md and in the programs" >&2
	bad=1
done
# Every test that the list of threats names is there: `test_FILE::NAME` (or `::NAME`, of the same file), e2e `CASE`, fuzz `NAME`, SUITE "words of a check".
threats() { sed -n '/^## Threats/,/^### Not closed/p' docs/security.md; }
file=""
for t in $(threats | grep -oE '`(test_[a-z0-9_]+)?::[a-z0-9_]+`' | tr -d '`'); do
	[ "${t%%::*}" = "" ] || file=tests/unit/${t%%::*}.c
	grep -qE "\b${t##*::}\(void \*\*state\)" "$file" 2>/dev/null || { echo "docs/security.md: no test $t in $file" >&2; bad=1; }
done
for t in $(threats | grep -oE 'e2e `[a-z0-9-]+`(, `[a-z0-9-]+`)*' | grep -oE '`[^`]+`' | tr -d '`'); do
	grep -qE "\"$t\":" tests/e2e/cases_*.py || { echo "docs/security.md: no case $t in tests/e2e" >&2; bad=1; }
done
for t in $(threats | grep -oE 'fuzz `[a-z0-9-]+`(, `[a-z0-9-]+`)*' | grep -oE '`[^`]+`' | tr -d '`'); do
	[ -f "tests/fuzz/fuzz_$t.c" ] || { echo "docs/security.md: no fuzzer $t" >&2; bad=1; }
done
while read -r suite words; do
	case $suite in api) where=tests/api/controller ;; kube-api) where=tests/api/kube ;; *) where=tests/$suite ;; esac
	while read -r w; do
		w=${w//\"/}
		# a name that is put together when the test runs ends here with ".."
		grep -rqF -- "${w% ..}" "$where" || { [ "$w" != "${w% ..}" ] && grep -rqF -- "$(sed -E 's/^[a-z]+: [a-z]+ //' <<<"${w% ..}" | cut -d' ' -f1-2)" "$where"; } ||
			{ echo "docs/security.md: no check \"$w\" in $where" >&2; bad=1; }
	done < <(grep -oE '"[^"]+"' <<<"$words")
done < <(threats | grep -oE '(kube-api|api|runtime) "[^"]+"(, "[^"]+")*')
[ $bad = 0 ] && echo "layers: ok"
exit $bad
