# shellcheck shell=bash
# Each machine has its own subtree in every cgroup hierarchy of the host; what
# lies outside the subtree is never touched. It is also how the lab knows its
# own processes.

cgroup_v2_only() { [ -e /sys/fs/cgroup/cgroup.controllers ]; }

# cgroup_hierarchies: the mount points of the host's hierarchies, into the array
# of that name.
cgroup_hierarchies=()
if cgroup_v2_only; then
	cgroup_hierarchies=(/sys/fs/cgroup)
else
	for h in /sys/fs/cgroup/*; do
		# links (cpu -> cpu,cpuacct) are the same hierarchy again
		if [ ! -L "$h" ] && [ -e "$h/cgroup.procs" ]; then cgroup_hierarchies+=("$h"); fi
	done
fi

# cgroup_trees [NAME]: the directories of the lab, or of one machine, that exist;
# into the array trees.
cgroup_trees() {
	local h
	trees=()
	for h in "${cgroup_hierarchies[@]}"; do
		if [ -d "$h/$LAB_CGROUP/${1:-}" ]; then trees+=("$h/$LAB_CGROUP/${1:-}"); fi
	done
}

# A new cpuset is empty and takes no process: it has to be filled from its parent.
cgroup_make() {
	local h d f
	mkdir -p "${cgroup_hierarchies[@]/%//$LAB_CGROUP/$1}"
	for h in "${cgroup_hierarchies[@]}"; do
		for d in "$h/$LAB_CGROUP" "$h/$LAB_CGROUP/$1"; do
			if [ -e "$d/cpuset.mems" ] && ! cgroup_v2_only; then
				for f in cpus mems; do echo "$(<"${d%/*}/cpuset.$f")" >"$d/cpuset.$f"; done
			fi
			if cgroup_v2_only; then sed 's/[^ ]*/+&/g' "$h/cgroup.controllers" >"${d%/*}/cgroup.subtree_control"; fi
		done
	done
	# version 2 forbids processes in a group whose children have controllers
	if cgroup_v2_only; then mkdir -p "/sys/fs/cgroup/$LAB_CGROUP/$1/init"; fi
}

# Put this shell into a machine's groups.
cgroup_join() {
	local h leaf=$LAB_CGROUP/$1
	if cgroup_v2_only; then leaf=$leaf/${2:-init}; fi
	for h in "${cgroup_hierarchies[@]}"; do
		echo $BASHPID >"$h/$leaf/cgroup.procs"
	done
}

# Every process of the lab, or of one machine of it. A process outside our own
# pid namespace shows as 0, which to kill would mean ourselves.
cgroup_procs() {
	local trees
	cgroup_trees "${1:-}"
	[ ${#trees[@]} -gt 0 ] || return 0
	find "${trees[@]}" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -un | grep -vx 0 || true
}

# A frozen process does not die of SIGKILL under version 1, so thaw, parents
# first; then kill until nothing is left.
cgroup_kill() {
	local trees f end=$((SECONDS + 20)) procs
	cgroup_trees "${1:-}"
	while procs=$(cgroup_procs "${1:-}") && [ -n "$procs" ]; do
		[ $SECONDS -lt $end ] || return 1
		find "${trees[@]}" -name freezer.state -o -name cgroup.freeze 2>/dev/null | sort | while read -r f; do
			case $f in
			*state) echo THAWED >"$f" || true ;;
			*) echo 0 >"$f" || true ;;
			esac
		done 2>/dev/null
		# shellcheck disable=SC2086
		kill -KILL $procs 2>/dev/null || true
		sleep 0.1
	done
}

# Remove the (empty) groups; children first. A group whose last process has just
# died can still be busy.
cgroup_remove() {
	local trees n
	for n in 1 2 3 4 5 6 7 8 9 10; do
		cgroup_trees "${1:-}"
		[ ${#trees[@]} -gt 0 ] || return 0
		find "${trees[@]}" -depth -type d -exec rmdir {} + 2>/dev/null || true
		sleep 0.1
	done
}
