# shellcheck shell=bash
# Each machine has its own subtree in every cgroup hierarchy of the host; what
# lies outside the subtree is never touched. It is also how the lab knows its
# own processes.

cgroup_v2_only() { [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; }

# The mount points of the host's hierarchies.
cgroup_hierarchies() {
	if cgroup_v2_only; then
		echo /sys/fs/cgroup
		return
	fi
	local h
	for h in /sys/fs/cgroup/*; do
		# links (cpu -> cpu,cpuacct) are the same hierarchy again
		[ ! -L "$h" ] && [ -e "$h/cgroup.procs" ] && echo "$h"
	done
	return 0
}

# A new cpuset is empty and takes no process: it has to be filled from its parent.
cgroup_make() {
	local h d
	for h in $(cgroup_hierarchies); do
		for d in "$LAB_CGROUP" "$LAB_CGROUP/$1"; do
			[ -d "$h/$d" ] || mkdir "$h/$d"
			if [ -e "$h/cpuset.cpus" ]; then
				cat "$(dirname "$h/$d")/cpuset.cpus" >"$h/$d/cpuset.cpus"
				cat "$(dirname "$h/$d")/cpuset.mems" >"$h/$d/cpuset.mems"
			fi
			if cgroup_v2_only; then
				sed 's/[^ ]*/+&/g' "$h/cgroup.controllers" >"$(dirname "$h/$d")/cgroup.subtree_control"
			fi
		done
	done
	# version 2 forbids processes in a group whose children have controllers
	cgroup_v2_only && mkdir -p "/sys/fs/cgroup/$LAB_CGROUP/$1/init"
	return 0
}

# Put this shell into a machine's groups.
cgroup_join() {
	local h leaf=$LAB_CGROUP/$1
	cgroup_v2_only && leaf=$leaf/${2:-init}
	for h in $(cgroup_hierarchies); do
		echo $BASHPID >"$h/$leaf/cgroup.procs"
	done
}

# Every process of the lab, or of one machine of it.
cgroup_procs() {
	local h
	for h in $(cgroup_hierarchies); do
		[ -d "$h/$LAB_CGROUP/${1:-}" ] || continue
		find "$h/$LAB_CGROUP/${1:-}" -name cgroup.procs -exec cat {} + 2>/dev/null || true
	done | sort -un | grep -vx 0 || true
}

# A frozen process does not die of SIGKILL under version 1, so thaw, parents
# first; then kill until nothing is left.
cgroup_kill() {
	local h f end=$((SECONDS + 20)) procs
	while procs=$(cgroup_procs "${1:-}") && [ -n "$procs" ]; do
		[ $SECONDS -lt $end ] || return 1
		for h in $(cgroup_hierarchies); do
			[ -d "$h/$LAB_CGROUP/${1:-}" ] || continue
			find "$h/$LAB_CGROUP/${1:-}" -name freezer.state 2>/dev/null | sort | while read -r f; do
				echo THAWED 2>/dev/null >"$f" || true
			done
			find "$h/$LAB_CGROUP/${1:-}" -name cgroup.freeze 2>/dev/null | sort | while read -r f; do
				echo 0 2>/dev/null >"$f" || true
			done
		done
		# shellcheck disable=SC2086
		kill -KILL $procs 2>/dev/null || true
		sleep 0.1
	done
}

# Remove the (empty) groups; children first.
cgroup_remove() {
	local h n
	for h in $(cgroup_hierarchies); do
		[ -d "$h/$LAB_CGROUP/${1:-}" ] || continue
		for n in 1 2 3 4 5 6 7 8 9 10; do
			find "$h/$LAB_CGROUP/${1:-}" -depth -type d -exec rmdir {} + 2>/dev/null || true
			[ -d "$h/$LAB_CGROUP/${1:-}" ] || break
			sleep 0.1
		done
	done
}
