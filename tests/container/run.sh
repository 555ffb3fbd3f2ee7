#!/bin/bash
# The container layer on a real node: runc, CRIU, cgroups and containerd of a lab cluster (tests/lab), first from the node itself, then as the
# agent sees it: another root, the node's pid namespace, everything through /proc/1/root; then once more on the node in a view that has cgroup v2 only, where the
# controllers belong to v1 without any of them (no pod of the cluster is asked there).  One line per check; ends "N passed, N failed".
set -eu
cd "$(dirname "$0")/../.."
export LAB_NAME=${LAB_NAME:-ct}
lab=${LAB:-tests/lab/lab}
bin=build/tests/container
dir=/opt/container-test

[ -n "${BUILT:-}" ] || make -s container-test
$lab up 1 --no-liqo || [ -n "${KEEP_LAB:-}" ]
trap '[ -n "${KEEP_LAB:-}" ] || $lab down' EXIT

# The pod: one container that counts in its own file system.
root=$(mktemp -d)
mkdir -p "$root/tmp"
cp $bin/app "$root/app"
image=$($lab image a localhost/counter:1 "$root" '["/app", "count", "/tmp", "4"]')
rm -r "$root"
$lab kubectl a delete pod counter --ignore-not-found
$lab kubectl a create -f - <<YAML
apiVersion: v1
kind: Pod
metadata: {name: counter}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: counting, image: "$image", imagePullPolicy: Never}
  - {name: second, image: "$image", imagePullPolicy: Never}
YAML
$lab kubectl a wait --for=condition=Ready pod/counter --timeout=60s
uid=$($lab kubectl a get pod counter -o 'jsonpath={.metadata.uid}')

# A bare root for the agent's view: only the program, its libraries and /proc.
for f in container_test app lib; do $lab cp a $bin/$f $dir/; done
$lab exec a mkdir -p $dir/libexec
$lab cp a build/lib/blinkers.so $dir/libexec/
$lab exec a bash -euc '
	dir=$1
	mkdir -p $dir/agent-root/{proc,dev,tmp,run,opt} /run/container-test
	cp -aL /lib /lib64 $dir/agent-root/ 2>/dev/null || true
	mkdir -p $dir/agent-root$dir && cp -a $dir/{container_test,app,lib} $dir/agent-root$dir/
' x $dir

one() {
	echo "# $1"
	shift
	$lab exec a "$@" || true
}
{
	one "on the node" $dir/container_test 0 /run/container-test /run/containerd/containerd.sock "$uid" counting
	one "beside the node, as the agent" unshare --mount --net --ipc --uts --cgroup bash -euc '
		mount --rbind /proc "$1/agent-root/proc"
		shift
		exec chroot "$@"' x $dir $dir/agent-root $dir/container_test 1 /run/container-test /run/containerd/containerd.sock "$uid" second
	one "on the node, cgroup v2 only" unshare --mount bash -euc '
		umount -R /sys/fs/cgroup
		mount -t cgroup2 cgroup2 /sys/fs/cgroup
		exec "$@"' x $dir/container_test 0 /run/container-test
} | tee $bin/log | grep -v ' passed, '
grep ' passed, ' $bin/log | awk '{ p += $1; f += $3 } END { print p + 0 " passed, " f + 0 " failed"; exit f > 0 || NR != 3 }'
