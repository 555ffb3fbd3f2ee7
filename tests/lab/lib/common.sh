# shellcheck shell=bash
# Names, places, messages. Everything a lab owns is named after LAB_NAME, so
# that two labs can stand side by side.

LAB_NAME=${LAB_NAME:-lab}
LAB_CACHE=${PODMIGRATION_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/podmigration}
LAB_BASE=${LAB_STATE:-/var/lib/podmigration-lab}
LAB_DIR=$LAB_BASE/$LAB_NAME
LAB_NETNS=pmlab-$LAB_NAME
LAB_CGROUP=pmlab-$LAB_NAME

LAB_CLUSTERS=(a b c d e)   # index 1..; the control plane of `lab apiserver` has index 9
LAB_COMPONENTS=(etcd apiserver kcm scheduler kubelet containerd kube-proxy)

lab_begin=$EPOCHREALTIME

say() { printf 'lab: %s\n' "$*" >&2; }

die() {
	say "$*"
	exit 1
}

# step TEXT: seconds since this command began, and what has been reached.
step() {
	local now=$EPOCHREALTIME
	local ms=$(((${now/./} - ${lab_begin/./}) / 1000))
	printf '%4d.%ds  %s\n' $((ms / 1000)) $((ms % 1000 / 100)) "$*" >&2
}

# Only one up, down or build of the same thing at a time. The descriptor must
# not reach what the lab leaves running, or the lock would stay: long-lived
# children are started with 8>&-.
lock() {
	mkdir -p "$(dirname "$1")"
	exec 8>"$1"
	flock -n 8 || {
		say "waiting for another lab command ($1)"
		flock -w 2400 8 || die "the other lab command does not end: $1"
	}
}

unlock() { exec 8>&-; }

# wait_for SECONDS CMD..: repeat CMD until it succeeds. Generous everywhere: the
# machine may be busy with other labs. A slow one (an emulated one) gets LAB_PATIENCE
# times as long.
wait_for() {
	local end=$((SECONDS + $1 * ${LAB_PATIENCE:-1}))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.1
	done
}

# parallel COMPLAINT FUNCTION ARG..: FUNCTION once for each ARG, at the same time;
# ends the program with COMPLAINT if one fails.
# Never call this, or any function of more than a line, from a condition (if, &&,
# ||, !): set -e does not hold inside it then, whatever it says itself.
parallel() {
	local complaint=$1 f=$2 arg pid failed=0 pids=()
	shift 2
	for arg; do
		"$f" "$arg" &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do
		wait "$pid" || failed=1
	done
	[ $failed = 0 ] || die "$complaint"
}

# The index of a cluster fixes its addresses.
index_of() {
	local i
	[ "$1" != api ] || { echo 9; return; }
	for i in "${!LAB_CLUSTERS[@]}"; do
		[ "${LAB_CLUSTERS[$i]}" != "$1" ] || { echo $((i + 1)); return; }
	done
	die "no such cluster: $1 (clusters are named ${LAB_CLUSTERS[*]})"
}

node_ip() { echo "172.30.0.1$(index_of "$1")"; }
pod_cidr() { echo "10.$(index_of "$1")0.0.0/24"; }
service_cidr() { echo "10.$(index_of "$1")6.0.0/16"; }

# The machines of this lab that have been started, in order.
machines() {
	local d
	for d in "$LAB_DIR"/machines/*/pid; do
		basename "$(dirname "$d")"
	done
}

# The same without the lone control plane of `lab apiserver`.
clusters() { machines | grep -vx api || true; }
