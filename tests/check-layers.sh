#!/bin/bash
# A folder of src/ includes only headers of its own and of folders before it in the list of layers (docs/architecture.md).
set -eu
cd "$(dirname "$0")/.."
layers="base net kube container transfer migration controller agent runtime plugin"
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
# Every reason a person can read is explained.
for reason in $(sed -nE 's/^[[:space:]]R\(([A-Za-z]+), ".*/\1/p' include/migration/reason.h); do
	grep -q "^| $reason |" docs/troubleshooting.md || { echo "docs: reason $reason is not in docs/troubleshooting.md" >&2; bad=1; }
done
[ $bad = 0 ] && echo "layers: ok"
exit $bad
