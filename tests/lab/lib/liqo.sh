# shellcheck shell=bash
# Liqo: the real controllers, authentication and offloading, installed and peered
# by its own liqoctl. Only the network fabric is off (see ../liqo/values.yaml).

# liqo_install CLUSTER
liqo_install() {
	local log=$LAB_DIR/machines/$1/liqo-install.log
	# shellcheck disable=SC2016
	in_machine "$1" bash -euc '
		. /usr/local/lib/lab/env
		liqoctl install --version "$(cat /opt/liqo/version)" --local-chart-path /opt/liqo/chart \
			--cluster-id "$NODE" --api-server-url "https://$NODE_IP:6443" \
			--pod-cidr "$POD_CIDR" --service-cidr "$SERVICE_CIDR" \
			--values /usr/local/lib/lab/values.yaml --disable-telemetry --disable-kernel-version-check \
			--skip-confirm --timeout 300s' </dev/null >"$log" 2>&1 ||
		die "Liqo could not be installed in $1: $(tail -n 2 "$log" | tr '\n' ' ') (all of it: $log)"
}

# liqo_peer PROVIDER: a becomes its consumer. Tried twice: right after the
# installation a webhook may not answer yet.
liqo_peer() {
	local log=$LAB_DIR/machines/$1/liqo-peer.log n
	in_machine "$1" cat /etc/kubernetes/admin.conf | in_machine a tee "/etc/kubernetes/provider-$1.conf" >/dev/null
	for n in 1 2; do
		in_machine a liqoctl peer --remote-kubeconfig "/etc/kubernetes/provider-$1.conf" --networking-disabled \
			--cpu 8 --memory 16Gi --pods 100 --skip-confirm --timeout 120s </dev/null >>"$log" 2>&1 && break
		[ $n = 1 ] || die "peering of a with $1 failed: $(tail -n 2 "$log" | tr '\n' ' ') (all of it: $log)"
	done
	# liqoctl returns before the virtual node exists
	wait_for 120 in_machine a kubectl wait --for=condition=Ready "node/$1" --timeout=5s ||
		die "virtual node $1 does not become Ready: lab kubectl a get pods -A"
}

liqo_offload_demo() {
	in_machine a kubectl apply -f /usr/local/lib/lab/demo.yaml >/dev/null
	in_machine a kubectl wait -n demo --for=jsonpath='{.status.offloadingPhase}'=Ready \
		namespaceoffloading/offloading --timeout=60s >/dev/null || die "namespace demo was not offloaded"
}
