#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The CRD and podmigration-controller against a real kube-apiserver and etcd, which are started for it (tests/lab) unless KUBECONFIG names one.
# The controller runs with the rights of deploy/. Ends with "N passed, N failed". MAIN: another program in the place of the tests (make bench-controller).
set -eu
cd "$(dirname "$0")/../.."
controller=${CONTROLLER:-build/bin/podmigration-controller}
[ -x "$controller" ] || make -s build/bin/podmigration-controller
logs=${LOGS:-build/check/api}
mkdir -p "$logs"
rm -f "$logs"/controller-*.log
restart=()
if [ -z "${KUBECONFIG:-}" ]; then
	export LAB_NAME=${LAB_NAME:-api-test}
	tests/lab/lab apiserver down >/dev/null 2>&1 || true
	trap 'tests/lab/lab apiserver down >/dev/null 2>&1 </dev/null' EXIT
	KUBECONFIG=$(tests/lab/lab apiserver up </dev/null | tail -n 1)
	apply() { tests/lab/lab kubectl api apply --server-side -f - >/dev/null; }
	restart=(tests/lab/lab restart api apiserver)
	# of the same cache as that API server
	KUBE_CONTROLLER_MANAGER=$(ls -t "${PODMIGRATION_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/podmigration}"/k8s-*/usr/local/bin/kube-controller-manager | head -n 1)
	export KUBE_CONTROLLER_MANAGER
else
	apply() { kubectl --kubeconfig "$KUBECONFIG" apply --server-side -f - >/dev/null; }
fi
for ns in podmigration-system podmigration-agent; do
	printf 'apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n' $ns | apply
done
for f in crds/*.yaml deploy/kustomize/controller/rbac/{agent,cluster,system}.yaml deploy/kustomize/users/roles.yaml \
	deploy/kustomize/agent/guard-pods.yaml deploy/kustomize/liqo/rbac.yaml; do
	apply <"$f"
done
python3 -B "${MAIN:-tests/api/controller/main.py}" "$KUBECONFIG" "$controller" "$logs" "${restart[@]}" </dev/null
