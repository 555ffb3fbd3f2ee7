#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The Kubernetes client's tests (run.sh) with a real kube-apiserver and etcd started for them by the lab.
set -eu
cd "$(dirname "$0")/../../.."
export LAB_NAME=${LAB_NAME:-kube-test}
lab=tests/lab/lab
$lab apiserver down >/dev/null 2>&1 || true
trap '$lab apiserver down >/dev/null 2>&1' EXIT
kubeconfig=$($lab apiserver up | tail -n 1)
tests/api/kube/run.sh "$kubeconfig" "$PWD/$lab" restart api apiserver
