# shellcheck shell=bash
# lab down: whatever state a lab is in, also after a crash half way up, nothing
# of it is left. What belongs to the lab is known by its cgroups and namespaces,
# never by a program's name.

# Processes in a machine's namespaces that are not in its groups: somebody else's
# nsenter, or one that an agent moved. Trusted only while the machine's pid 1
# lives: later the kernel may have given the same numbers to others.
strangers() {
	local ns match=()
	machine_alive "$1" && [ -s "$LAB_DIR/machines/$1/namespaces" ] || return 0
	while read -r ns; do # such as net:[4026532251]
		match+=(${match[0]:+-o} -lname "${ns//[/\\[}")
	done <"$LAB_DIR/machines/$1/namespaces"
	find /proc/[0-9]*/ns -maxdepth 1 \( "${match[@]}" \) 2>/dev/null | cut -d/ -f3 | sort -un
}

machine_down() {
	local dir=$LAB_DIR/machines/$1 p
	p=$(strangers "$1")
	# shellcheck disable=SC2086
	[ -z "$p" ] || kill -KILL $p 2>/dev/null || true
	cgroup_kill "$1" || say "processes of $1 do not die: $(cgroup_procs "$1" | tr '\n' ' ')"
	cgroup_remove "$1"
	[ ! -e "/sys/class/net/v-$1" ] || ip link del "v-$1"
	! network_exists || ip -n "$LAB_NETNS" link del "v-$1" 2>/dev/null || true
	rm -rf --one-file-system "$dir"
}

lab_remove() {
	cgroup_kill || true
	cgroup_remove
	! network_exists || ip netns del "$LAB_NETNS"
	rm -rf --one-file-system "$LAB_DIR"
	knobs_restore
}

verb_down() {
	local m
	check_name
	check_root
	lock "$LAB_BASE/$LAB_NAME.lock"
	for m in "$LAB_DIR"/machines/*/; do machine_down "$(basename "$m")"; done
	lab_remove
	rm -f "$LAB_BASE/$LAB_NAME.lock"
	remains || die "lab $LAB_NAME is not wholly gone"
	step "lab $LAB_NAME is gone"
}

# Prints what is left of the lab; succeeds if there is nothing.
remains() {
	local h trees left=0
	cgroup_trees
	for h in "${trees[@]}"; do
		say "left: cgroup $h"
		left=1
	done
	for h in $(cgroup_procs); do
		say "left: process $h ($(cat "/proc/$h/comm" 2>/dev/null))"
		left=1
	done
	! network_exists || { say "left: network namespace $LAB_NETNS"; left=1; }
	[ ! -e "$LAB_DIR" ] || { say "left: $LAB_DIR"; left=1; }
	while read -r h; do
		say "left: mount $h"
		left=1
	done < <(awk -v d="$LAB_DIR" 'index($5, d "/") == 1 || $5 == d { print $5 }' /proc/self/mountinfo)
	return $left
}
