#!/bin/bash
# Runs as pid 1 of a machine's new namespaces and turns them into a node: puts
# the root file system together, enters it, hands over to init.
# Environment: NODE, DIR (the machine's directory), LOWER (overlay layers).
set -eu
R=$DIR/root

if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; then
	# The group that is ours when the cgroup namespace is made becomes its root;
	# only then move down, since version 2 wants no process in that root.
	cgroups=v2
else
	cgroups=$(cut -d: -f2 /proc/self/cgroup)
fi

hostname "$NODE"
mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$DIR/upper,workdir=$DIR/work" "$R"
mount -t proc proc "$R/proc"
mount -t sysfs sysfs "$R/sys"
mount -t tmpfs -o mode=755 tmpfs "$R/run"
mount -t tmpfs -o mode=1777 tmpfs "$R/tmp"

if [ "$cgroups" = v2 ]; then
	mount -t cgroup2 cgroup2 "$R/sys/fs/cgroup"
	echo 0 >"$R/sys/fs/cgroup/init/cgroup.procs"
else
	mount -t tmpfs -o mode=755 tmpfs "$R/sys/fs/cgroup"
	for c in $cgroups; do
		at=$R/sys/fs/cgroup/${c#name=}
		mkdir "$at"
		case $c in
		name=*) mount -t cgroup -o "none,$c" cgroup "$at" ;;
		*) mount -t cgroup -o "$c" cgroup "$at" ;;
		esac
		case $c in *,*) for one in ${c//,/ }; do ln -s "$c" "$R/sys/fs/cgroup/$one"; done ;; esac
	done
fi

mount -t tmpfs -o mode=755 tmpfs "$R/dev"
for d in null zero full random urandom tty fuse userfaultfd kmsg net/tun; do
	[ ! -e "/dev/$d" ] || { mkdir -p "$(dirname "$R/dev/$d")" && cp -a "/dev/$d" "$R/dev/$d"; }
done
mkdir "$R/dev/pts" "$R/dev/shm" "$R/dev/mqueue"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$R/dev/pts"
ln -s pts/ptmx "$R/dev/ptmx"
mount -t tmpfs -o mode=1777 tmpfs "$R/dev/shm"
mount -t mqueue mqueue "$R/dev/mqueue"
ln -s /proc/self/fd "$R/dev/fd" # bash's <(..) needs it
ln -s /proc/self/fd/0 "$R/dev/stdin"
ln -s /proc/self/fd/1 "$R/dev/stdout"
ln -s /proc/self/fd/2 "$R/dev/stderr"

# On the disk itself: containerd's overlay snapshots cannot lie on an overlay.
for d in containerd kubelet etcd; do
	mkdir -p "$R/var/lib/$d" "$DIR/$d"
	mount --bind "$DIR/$d" "$R/var/lib/$d"
done

cd "$R"
mkdir -p .host
pivot_root . .host
umount -l /.host
rmdir /.host
# Pods that mount host paths with bidirectional propagation need shared mounts,
# as systemd makes them on an ordinary node.
mount --make-rshared /

ip link set lo up
mkdir -p /run/lab
: >/run/lab/assembled
exec /usr/local/lib/lab/init
