# shellcheck shell=bash
# lab up, lab apiserver: from nothing to clusters.

with_liqo=liqo # or empty
verb_up() {
	local n=2 list layers c
	while [ $# -gt 0 ]; do
		case $1 in
		--no-liqo) with_liqo= ;;
		[1-5]) n=$1 ;;
		*) die "usage: lab up [N] [--no-liqo]   (N from 1 to ${#LAB_CLUSTERS[@]})" ;;
		esac
		shift
	done
	list=("${LAB_CLUSTERS[@]:0:n}")
	prepare "$n" root tools shim k8s $with_liqo ${lab_containerd:+containerd}
	for c in $(clusters); do
		! machine_alive "$c" || die "lab $LAB_NAME is up already (lab down)"
	done
	# what a crash left; the API server of `lab apiserver` is not ours to end
	for c in "$LAB_DIR"/machines/*/; do
		c=$(basename "$c")
		[ "$c" = api ] || machine_down "$c"
	done
	network_exists || network_make
	# shellcheck disable=SC2046  # a word or none
	layers=$(machine_layers ${lab_containerd:+containerd} $with_liqo k8s $(has_sys_resource || echo shim) tools root)
	for c in "${list[@]}"; do machine_start "$c" "$layers"; done
	step "machines"
	network_routes "${list[@]}"
	parallel "lab $LAB_NAME did not come up (lab down)" up_node "${list[@]}"
	step "clusters ready"
	if [ -n "$with_liqo" ]; then
		parallel "lab $LAB_NAME did not come up (lab down)" liqo_install "${list[@]}"
		step "Liqo installed"
		for c in "${list[@]:1}"; do
			liqo_peer "$c"
			step "virtual node $c ready in a"
		done
		[ "$n" -lt 2 ] || liqo_offload_demo
	fi
	step "lab $LAB_NAME is up"
}

# prepare CLUSTERS KIND..: checks, the lock, the cache, the host's settings.
prepare() {
	local n=$1
	shift
	check_name
	check_root
	cache_index
	if ! cache_complete "$@" || [ -n "$(missing_tools)" ]; then verb_build "$@"; fi
	check_tools
	check_kernel
	check_memory "$n"
	check_room "$LAB_BASE" 3 "the machines"
	lock "$LAB_BASE/$LAB_NAME.lock"
	knobs_set
}

# The images come in while the API server starts, which has more to compute than
# to read.
up_node() {
	local images
	control_plane_start "$1"
	component "$1" launch containerd
	component "$1" ready containerd
	up_images "$1" &
	images=$!
	door_open "$1"
	control_plane_ready "$1"
	node_start "$1"
	wait_for 180 node_ready "$1" || die "node $1 does not become Ready: lab logs $1 kubelet"
	wait $images
}

up_images() {
	image_import "$1" "${cache_path[tools]}/usr/local/lib/lab/pause.tar" localhost/lab/pause:1
	[ -z "$with_liqo" ] || image_import "$1" "${cache_path[liqo]}/opt/liqo/image.tar" localhost/lab/liqo:lab
}

# A port of this host's loopback that leads to a machine's API server, and a
# kubeconfig for it.
door_open() {
	local dir=$LAB_DIR/machines/$1
	(
		exec 8>&- </dev/null >"$dir/forward.log" 2>&1
		cgroup_join "$1"
		exec setsid "${cache_path[tools]}/usr/local/lib/lab/forward" "$dir/port" \
			"/proc/$(machine_pid "$1")/ns/net" 127.0.0.1 6443
	) &
	wait_for 30 test -s "$dir/port" || die "no way to the API server of $1: $(cat "$dir/forward.log")"
	(
		umask 077
		in_machine "$1" cat /etc/kubernetes/admin.conf |
			sed "s|server: .*|server: https://127.0.0.1:$(cat "$dir/port")|" >"$dir/kubeconfig"
	)
}

verb_apiserver() {
	case ${1:-} in
	up)
		prepare 1 root tools shim k8s
		! machine_alive api || die "the API server of lab $LAB_NAME is up already: $LAB_DIR/machines/api/kubeconfig"
		[ ! -d "$LAB_DIR/machines/api" ] || machine_down api
		network_exists || network_make
		machine_start api "$(machine_layers k8s tools root)"
		control_plane_start api
		door_open api
		control_plane_ready api
		step "API server ready"
		verb_kubeconfig api
		;;
	down)
		check_name
		check_root
		lock "$LAB_BASE/$LAB_NAME.lock"
		machine_down api
		if [ -z "$(machines)" ]; then
			lab_remove
			rm -f "$LAB_BASE/$LAB_NAME.lock"
		fi
		;;
	*) die "usage: lab apiserver up|down" ;;
	esac
}
