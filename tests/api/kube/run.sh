#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# run.sh KUBECONFIG [COMMAND..]: the Kubernetes client against the fake API server and against the real one that KUBECONFIG names ("-": the fake only).
# COMMAND restarts the real API server.  One line per check; the last line is "N passed, N failed".  SAN=1: with ASan and UBSan.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../../.."
[ $# -ge 1 ] || { echo "usage: $0 KUBECONFIG|- [RESTART-COMMAND..]" >&2; exit 2; }
kubeconfig=$1
shift
make -s ${SAN:+SAN=$SAN} kube-test || exit 1
program=$PWD/build${SAN:+/san}/tests/kube-client
dir=$(mktemp -d)
fakes=()
end() {
	[ ${#fakes[@]} = 0 ] || kill "${fakes[@]}" 2>/dev/null
	rm -rf "$dir"
}
trap end EXIT

"$here/pki.sh" "$dir" || exit 1
fake() { # PORT-FILE CERTIFICATE
	python3 "$here/fake.py" "$dir" "$dir/$1" "$2" </dev/null &
	fakes+=($!)
	for _ in $(seq 100); do
		[ -s "$dir/$1" ] && return
		sleep 0.1
	done
	echo "FAIL fake.py does not start"
	exit 1
}
fake port server
fake port2 server2
cat >"$dir/kubeconfig" <<X
apiVersion: v1
kind: Config
current-context: fake
clusters: [{name: fake, cluster: {server: "https://127.0.0.1:$(cat "$dir/port")/", certificate-authority: ca.crt}}]
users: [{name: test, user: {client-certificate: client.crt, client-key: client.key}}]
contexts: [{name: fake, context: {cluster: fake, user: test}}]
X

timeout 300 "$program" fake "$dir/kubeconfig" "$dir" >"$dir/out" 2>"$dir/err" </dev/null || echo "FAIL the program ended with $?" >>"$dir/ends"
if [ "$kubeconfig" != - ]; then
	timeout 500 "$program" real "$kubeconfig" "$@" >>"$dir/out" 2>>"$dir/err" </dev/null || echo "FAIL the program ended with $?" >>"$dir/ends"
fi
grep -av '^[0-9]* passed, [0-9]* failed$' "$dir/out"
cat "$dir/err"
passed=$(grep -ac '^ok ' "$dir/out")
failed=$(grep -ac '^FAIL ' "$dir/out")
# A program that ended badly without a failed check has crashed, hung or leaked.
if [ -s "$dir/ends" ] && [ "$failed" = 0 ]; then
	cat "$dir/ends"
	failed=1
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
