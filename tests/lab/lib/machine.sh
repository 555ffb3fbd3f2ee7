# shellcheck shell=bash
# Machines: a node each, made of namespaces. They are seen from the host here;
# what runs inside is in ../machine.

# Layers of a machine's root, top first.
machine_layers() {
	local kind layers=
	for kind; do layers=$layers${layers:+:}${cache_path[$kind]}; done
	echo "$layers"
}

# What a machine's own scripts know of it.
machine_env() {
	cat <<X
NODE=$1
NODE_IP=$(node_ip "$1")
POD_CIDR=$(pod_cidr "$1")
SERVICE_CIDR=$(service_cidr "$1")
API_SERVICE_IP=$(service_cidr "$1" | sed 's,0/16,1,')
CGROUP_DRIVER=${LAB_CGROUP_DRIVER:-cgroupfs}
PATIENCE=${LAB_PATIENCE:-1}
X
}

# machine_start NAME LAYERS
machine_start() {
	local name=$1 layers=$2 dir=$LAB_DIR/machines/$1 lib unshare pid
	lib=$dir/upper/usr/local/lib/lab
	mkdir -p "$dir"/{upper,work,root} "$lib"
	cp "$LAB_HOME"/machine/*.sh "$LAB_HOME"/liqo/*.yaml "$lib/"
	mkdir -p "$dir/upper/etc"
	echo "$name" >"$dir/upper/etc/hostname"
	machine_env "$name" >"$lib/env"
	cgroup_make "$name"
	(
		exec 8>&- </dev/null >"$dir/boot.log" 2>&1
		cgroup_join "$name" .
		NODE=$name DIR=$dir LOWER=$layers exec setsid unshare --cgroup --mount --pid --fork --uts --ipc --net \
			--propagation private bash "$LAB_HOME/machine/assemble.sh"
	) &
	unshare=$!
	wait_for 60 machine_assembled_or_dead $unshare || true
	machine_assembled $unshare ||
		die "machine $name did not start: $(tail -n 3 "$dir/boot.log")"
	pid=$(child_of $unshare)
	if cgroup_v2_only; then echo $unshare >"/sys/fs/cgroup/$LAB_CGROUP/$name/init/cgroup.procs"; fi
	readlink "/proc/$pid/ns/pid" "/proc/$pid/ns/mnt" "/proc/$pid/ns/net" >"$dir/namespaces"
	echo "$pid $(start_time "$pid")" >"$dir/pid"
	network_attach "$name"
}

# child_of PID: its (only) child. The kernel has this file if it has checkpointing.
child_of() {
	local child=
	read -r child _ 2>/dev/null <"/proc/$1/task/$1/children" || true
	echo "$child"
}

machine_assembled() { [ -e "/proc/$(child_of "$1")/root/run/lab/assembled" ]; }
machine_assembled_or_dead() { machine_assembled "$1" || ! kill -0 "$1"; }

# start_time PID: a pid alone may mean another process by now; with its start
# time (field 22 of stat) it does not.
start_time() {
	local stat
	[ -r "/proc/$1/stat" ] && read -r stat <"/proc/$1/stat" || return 0
	# the name, in parentheses, may hold anything
	read -r -a stat <<<"${stat##*) }"
	echo "${stat[19]}"
}

# The host's pid of a machine's pid 1.
machine_pid() {
	local pid at
	[ -s "$LAB_DIR/machines/$1/pid" ] || die "no machine $1 in lab $LAB_NAME (lab up?)"
	read -r pid at <"$LAB_DIR/machines/$1/pid"
	[ "$(start_time "$pid")" = "$at" ] || die "machine $1 of lab $LAB_NAME is dead (lab down, lab up)"
	echo "$pid"
}

machine_alive() { (machine_pid "$1") >/dev/null 2>&1; }

# in_machine NAME CMD..: run CMD inside; standard streams and exit code are its own.
in_machine() {
	local name=$1 pid
	shift
	pid=$(machine_pid "$name")
	(
		exec 8>&-
		cgroup_join "$name"
		exec nsenter --target "$pid" --mount --pid --uts --ipc --net --cgroup --root \
			env -i -C /root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
			HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 KUBECONFIG=/etc/kubernetes/admin.conf "$@"
	)
}

component() { in_machine "$1" bash /usr/local/lib/lab/component.sh "${@:2}"; }

# The control plane alone, up to an API server that answers.
control_plane_start() {
	in_machine "$1" bash -euc 'bash /usr/local/lib/lab/pki.sh; bash /usr/local/lib/lab/config.sh'
	component "$1" launch etcd
	component "$1" launch apiserver
}

control_plane_ready() { component "$1" ready apiserver; }

# The rest is started when the API server is ready: sooner, each would be told
# that it has no rights yet, and wait ever longer before it asks again.
node_start() {
	local c
	for c in kcm scheduler kubelet kube-proxy; do
		component "$1" launch $c
	done
}

# Ready, and a pod may be made: without its default service account the API server refuses one.
node_ready() {
	in_machine "$1" kubectl wait --for=condition=Ready "node/$1" --timeout=5s &&
		in_machine "$1" kubectl get serviceaccount default -n default -o name
}
