# shellcheck shell=bash
# Can this host carry a lab? Every complaint is one line that says what to do.

tool_of=(debootstrap:debootstrap ip:iproute2 tc:iproute2 nft:nftables gcc:gcc jq:jq sysctl:procps
	nsenter:util-linux unshare:util-linux flock:util-linux tar:tar)

missing_tools() {
	local t
	for t in "${tool_of[@]}"; do
		command -v "${t%:*}" >/dev/null || echo "$t"
	done
}

# lab build installs what apt has.
install_tools() {
	local t packages=()
	for t in $(missing_tools); do packages+=("${t#*:}"); done
	[ -e /usr/include/linux/if_tun.h ] || packages+=(libc6-dev)
	if [ ${#packages[@]} -gt 0 ]; then
		command -v apt-get >/dev/null || die "missing tools: ${packages[*]}, and no apt-get to install them"
		say "installing on this host: ${packages[*]}"
		mkdir -p "$LAB_CACHE/log"
		{
			apt-get update &&
				DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}"
		} </dev/null >"$LAB_CACHE/log/apt.log" 2>&1 ||
			die "apt-get could not install ${packages[*]}: $LAB_CACHE/log/apt.log"
	fi
	# without its lists apt does not know its own mirror
	[ -n "${LAB_MIRROR:-$(apt_mirror)}" ] || apt-get update </dev/null >/dev/null 2>&1 || true
	command -v go >/dev/null || die "missing tool: go (1.26 or newer)"
}

check_root() { [ "$(id -u)" = 0 ] || die "must be root: machines are made of namespaces and cgroups"; }

check_tools() {
	local t
	for t in $(missing_tools); do
		die "missing tool: ${t%:*} (lab build installs it; Debian package ${t#*:})"
	done
}

# Features are tried, not looked up: a kernel can have them built in or as modules.
check_kernel() {
	local h try
	modprobe -qa overlay veth bridge nf_tables tun 2>/dev/null || true
	grep -qw overlay /proc/filesystems || die "kernel lacks overlayfs"
	try=$(unshare --mount --pid --fork --uts --ipc --net --cgroup bash -c '
		ip link add name v0 type veth peer name v1 || { echo veth pairs; exit 0; }
		ip link add name br0 type bridge || { echo bridges; exit 0; }
		nft add table inet t || echo nf_tables' 2>/dev/null) || try="a kind of namespace"
	[ -z "$try" ] || die "kernel lacks $try"
	[ -e "/proc/$$/task/$$/children" ] || die "kernel lacks CONFIG_PROC_CHILDREN (and so, likely, all that CRIU needs)"
	[ -e /dev/userfaultfd ] || [ -e /proc/sys/vm/unprivileged_userfaultfd ] || die "kernel lacks userfaultfd"
	[ ${#cgroup_hierarchies[@]} -gt 0 ] || die "no cgroups are mounted at /sys/fs/cgroup"
	if cgroup_v2_only; then
		h=$(</sys/fs/cgroup/cgroup.controllers)
		for try in cpu memory pids; do
			[[ " $h " == *" $try "* ]] || die "no $try cgroup controller"
		done
	else
		h=$(</proc/self/cgroup)
		for try in freezer cpu memory pids devices cpuset; do
			[[ $h =~ [:,]${try}[:,] ]] || die "no $try cgroup controller"
		done
	fi
}

# check_room DIRECTORY GIGABYTES WHAT
check_room() {
	local free
	mkdir -p "$1"
	free=$(df -k --output=avail "$1" | tail -n 1)
	[ "$free" -ge $(($2 * 1024 * 1024)) ] || die "too little disk for $3: $((free / 1024)) MiB free in $1, $2 GiB needed"
}

# About 800 MB of memory a cluster with Liqo.
check_memory() {
	local free need=$(($1 * 1000))
	free=$(($(awk '/MemAvailable/ { print $2 }' /proc/meminfo) / 1024))
	[ $free -ge $need ] || die "too little memory: $free MiB available, $need MiB needed for $1 cluster(s)"
}

check_name() {
	[[ $LAB_NAME =~ ^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$ ]] ||
		die "bad LAB_NAME: $LAB_NAME (small letters, digits and dashes)"
	[[ -z $lab_containerd || $lab_containerd =~ ^[12]\.[0-9]+\.[0-9]+(-[a-z0-9.]+)?$ ]] ||
		die "bad LAB_CONTAINERD: $lab_containerd (a version of containerd such as 1.7.35 or 2.4.2; none: Debian's)"
	case $LAB_CACHE$LAB_BASE in
	*[:,\\]*) die "LAB_STATE and PODMIGRATION_CACHE must not contain ':' ',' or '\\': they become mount options" ;;
	esac
}

has_sys_resource() {
	local caps
	caps=$(awk '/^CapEff/ { print $2 }' /proc/self/status)
	(((0x$caps >> 24) & 1))
}
