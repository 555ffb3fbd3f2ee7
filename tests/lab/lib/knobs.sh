# shellcheck shell=bash
# Settings of the whole host that a lab changes: written down before, put back by
# the last lab that goes down. kubelet sets the kernel and vm ones itself, as on
# any node.

knobs_file=/run/podmigration-lab.knobs
knobs=(fs.pipe-max-size fs.pipe-user-pages-soft fs.inotify.max_user_instances
	vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops)

knobs_set() {
	local k
	if [ ! -e $knobs_file ]; then
		for k in "${knobs[@]}"; do
			! sysctl -n "$k" >/dev/null 2>&1 || echo "$k=$(sysctl -n "$k")"
		done >$knobs_file.new
		mv $knobs_file.new $knobs_file
	fi
	[ "$(sysctl -n fs.inotify.max_user_instances)" -ge 1024 ] || sysctl -qw fs.inotify.max_user_instances=1024
	has_sys_resource && return
	# CRIU's page pipes may be larger than the default only with CAP_SYS_RESOURCE
	sysctl -qw fs.pipe-max-size=4194304 fs.pipe-user-pages-soft=0
	say "no CAP_SYS_RESOURCE here: the host's fs.pipe-max-size and fs.pipe-user-pages-soft are raised, and the machines preload a"
	say "shim that answers CRIU's prlimit of other users' processes (lab only, an ordinary node needs neither; docs/lab.md)"
}

knobs_restore() {
	local h k lab
	[ -e $knobs_file ] || return 0
	for h in "${cgroup_hierarchies[@]}"; do
		for lab in "$h"/pmlab-*; do
			[ ! -d "$lab" ] || return 0 # another lab is up
		done
	done
	while read -r k; do sysctl -qw "$k" || true; done <$knobs_file
	rm $knobs_file
}
