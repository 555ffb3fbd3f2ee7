#!/bin/bash
# podmigration-runtime with real runc and CRIU on a machine of the lab (tests/lab), one without Kubernetes: driven as containerd's shim and the agent drive it.
# One line per check; ends "N passed, N failed".  SAN=1: the same with the sanitizers' build.  KEEP_LAB=1: the machine stays (lab down ends it).
# CGROUP=2: in a view of the machine that has cgroup v2 only; where the kernel's controllers belong to v1 it has none of them, but the freezer is there.
set -eu
cd "$(dirname "$0")/../.."
export LAB_NAME=${LAB_NAME:-rt}
lab=${LAB:-tests/lab/lab}
build=build${SAN:+/san}
dir=/opt/runtime-test

# The lab's own parts, up to a machine with runc and CRIU that no cluster is started on.
machine_up() (
	LAB_HOME=$PWD/tests/lab
	shopt -s nullglob
	for part in common check knobs cgroup cache image machine network link liqo verbs up down; do
		# shellcheck source=/dev/null
		. "$LAB_HOME/lib/$part.sh"
	done
	prepare 1 root tools shim
	network_exists || network_make
	# shellcheck disable=SC2046
	machine_start a "$(machine_layers $(has_sys_resource || echo shim) tools root)"
	unlock
)

[ -n "${BUILT:-}" ] || make -s ${SAN:+SAN=1} runtime-test
$lab exec a true 2>/dev/null || machine_up
trap '[ -n "${KEEP_LAB:-}" ] || $lab down' EXIT

$lab exec a rm -rf $dir
for f in runtime_test app lib; do $lab cp a $build/tests/runtime/$f $dir/; done
for f in bin libexec; do $lab cp a $build/node/$f $dir/; done
# Folders of the product and of the kubelet that are the test's alone.
$lab exec a unshare --mount bash -euc '
	mkdir -p /run/podmigration /var/lib/podmigration /var/lib/kubelet
	for d in /run/podmigration /var/lib/podmigration /var/lib/kubelet; do mount -t tmpfs tmpfs $d; done
	ip netns del rtpod 2>/dev/null || rm -f /run/netns/rtpod
	ip netns add rtpod
	ip -n rtpod link set lo up
	case $1 in 2) umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup ;; esac
	shift
	export ASAN_OPTIONS=detect_leaks=0
	exec "$@"' x "${CGROUP:-}" $dir/runtime_test $dir/bin/podmigration-runtime /run/netns/rtpod ${SUITE:+"$SUITE"}
