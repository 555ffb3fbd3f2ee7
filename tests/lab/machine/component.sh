#!/bin/bash
# shellcheck disable=SC2054,SC2206  # commas and unquoted constants in the argument lists
# component.sh VERB NAME [SIGNAL]: one component of a node.
#   launch   start it
#   ready    wait until it answers
#   start    launch, ready
#   stop, restart, kill, alive
# Pids in /run/lab/NAME.pid, output in /var/log/lab/NAME.log. Nothing watches over
# a component: who has been killed stays dead until it is started again.
set -eu
. /usr/local/lib/lab/env

pki=/etc/kubernetes/pki
do=$1
name=$2
signal=${3:-KILL}
pidfile=/run/lab/$name.pid
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root

command_of() {
	case $1 in
	etcd)
		# losing the last writes with the whole machine is fine here, waiting
		# for the disk is not
		command=(etcd --data-dir /var/lib/etcd/data --unsafe-no-fsync
			--listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379
			--listen-peer-urls http://127.0.0.1:2380)
		;;
	containerd) command=(containerd) ;;
	apiserver)
		command=(kube-apiserver --etcd-servers=http://127.0.0.1:2379
			--advertise-address="$NODE_IP" --service-cluster-ip-range="$SERVICE_CIDR"
			--tls-cert-file=$pki/apiserver.crt --tls-private-key-file=$pki/apiserver.key
			--client-ca-file=$pki/ca.crt
			--service-account-key-file=$pki/sa.pub --service-account-signing-key-file=$pki/sa.key
			--service-account-issuer=https://kubernetes.default.svc
			--authorization-mode=Node,RBAC --allow-privileged=true
			--kubelet-client-certificate=$pki/apiserver-kubelet.crt --kubelet-client-key=$pki/apiserver-kubelet.key
			--requestheader-allowed-names=front-proxy --requestheader-client-ca-file=$pki/ca.crt
			--requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-group-headers=X-Remote-Group
			--requestheader-username-headers=X-Remote-User
			--proxy-client-cert-file=$pki/front-proxy.crt --proxy-client-key-file=$pki/front-proxy.key
			# no DNS: by address, or `kubectl logs` looks for the node's name
			--kubelet-preferred-address-types=InternalIP)
		;;
	kcm)
		# the signing key serves Liqo too: its identities are certificate requests
		command=(kube-controller-manager --kubeconfig=/etc/kubernetes/kcm.conf
			--service-account-private-key-file=$pki/sa.key --root-ca-file=$pki/ca.crt
			--cluster-signing-cert-file=$pki/ca.crt --cluster-signing-key-file=$pki/ca.key
			--use-service-account-credentials --leader-elect=false)
		;;
	scheduler) command=(kube-scheduler --kubeconfig=/etc/kubernetes/scheduler.conf --leader-elect=false) ;;
	kubelet)
		command=(kubelet --config=/etc/kubernetes/kubelet.yaml --kubeconfig=/etc/kubernetes/kubelet.conf
			--hostname-override="$NODE" --node-ip="$NODE_IP")
		;;
	kube-proxy) command=(kube-proxy --config=/etc/kubernetes/kube-proxy.yaml --hostname-override="$NODE") ;;
	*)
		echo "no such component: $1 (etcd apiserver kcm scheduler kubelet containerd kube-proxy)" >&2
		exit 2
		;;
	esac
}

# alive: a pid may have been taken by another program since, so compare the name
alive() {
	[ -s "$pidfile" ] || return 1
	[ "$(cat "/proc/$(cat "$pidfile")/comm" 2>/dev/null)" = "${command[0]:0:15}" ]
}

# begun PID: it was a copy of this shell, then setsid, and is the program now, or has ended.  alive would take it for a stranger before: on a busy machine that is long enough.
begun() {
	local now
	while read -r now 2>/dev/null <"/proc/$1/comm" && [[ $now == bash || $now == setsid ]]; do sleep 0.02; done
}

launch() {
	! alive || return 0
	echo "--- $(date -u +%FT%TZ) start" >>"/var/log/lab/$name.log"
	setsid "${command[@]}" </dev/null >>"/var/log/lab/$name.log" 2>&1 &
	echo $! >"$pidfile"
	begun $!
}

# listening PORT: with bash alone, since this is asked ten times a second
listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

answers() {
	case $name in
	etcd) listening 2379 ;;
	containerd) ctr --connect-timeout 1s version >/dev/null 2>&1 ;;
	apiserver) listening 6443 && kubectl --kubeconfig /etc/kubernetes/admin.conf get --raw /readyz >/dev/null 2>&1 ;;
	kcm) listening 10257 ;;
	scheduler) listening 10259 ;;
	kubelet) listening 10248 && listening 10250 ;;
	kube-proxy) listening 10256 ;;
	esac
}

ready() {
	local end=$((SECONDS + 180 * PATIENCE))
	until answers; do
		alive || { echo "$name ended: $(tail -n 1 "/var/log/lab/$name.log")" >&2; exit 1; }
		[ $SECONDS -lt $end ] || { echo "$name does not answer (log: /var/log/lab/$name.log)" >&2; exit 1; }
		sleep 0.1
	done
}

# dead SECONDS: wait for the end.
dead() {
	local n
	for ((n = 0; n < $1 * 20; n++)); do
		alive || return 0
		sleep 0.05
	done
	return 1
}

stop() {
	alive || return 0
	kill -TERM "$(cat "$pidfile")" 2>/dev/null || true
	dead 10 || { kill -KILL "$(cat "$pidfile")" && dead 5; }
}

command_of "$name"
case $do in
launch | ready | stop | alive) "$do" ;;
start)
	launch
	ready
	;;
restart)
	stop
	launch
	ready
	;;
kill)
	alive || { echo "$name is not running" >&2; exit 1; }
	kill -"$signal" "$(cat "$pidfile")"
	;;
*)
	echo "component.sh: no such verb: $do" >&2
	exit 2
	;;
esac
