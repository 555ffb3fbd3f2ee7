# shellcheck shell=bash
# What the command line offers, but for up and down (up.sh, down.sh).

verb_build() {
	check_name
	check_root
	check_room "$LAB_CACHE" 6 "the cache"
	install_tools
	check_tools
	cache_index
	lock "$LAB_CACHE/lock"
	cache_fill_all "${@:-${cache_kinds[@]}}"
	unlock
	step "cache complete: $LAB_CACHE"
}

verb_status() {
	local m c line
	echo "lab $LAB_NAME in $LAB_DIR, cache $LAB_CACHE"
	for m in $(machines); do
		if ! machine_alive "$m"; then
			echo "$m: dead"
			continue
		fi
		line=
		for c in "${LAB_COMPONENTS[@]}"; do
			if component "$m" alive $c; then line="$line $c"; else line="$line ($c)"; fi
		done
		echo "$m: $(node_ip "$m") pods $(pod_cidr "$m") pid 1 is $(machine_pid "$m"); (not running):$line"
	done
}

verb_exec() {
	[ $# -ge 2 ] || die "usage: lab exec CLUSTER CMD .."
	in_machine "$@"
}

verb_kubectl() {
	[ $# -ge 2 ] || die "usage: lab kubectl CLUSTER .."
	in_machine "$1" kubectl "${@:2}"
}

verb_kubeconfig() {
	[ $# -eq 1 ] || die "usage: lab kubeconfig CLUSTER"
	machine_pid "$1" >/dev/null
	echo "$LAB_DIR/machines/$1/kubeconfig"
}

# A tar stream, not a copy through /proc/PID/root: absolute links inside the
# machine would lead out of it there.
verb_cp() {
	[ $# -eq 3 ] || die "usage: lab cp CLUSTER SRC DST"
	[ -e "$2" ] || die "no such file: $2"
	# shellcheck disable=SC2016
	tar -C "$(dirname "$2")" -cf - "$(basename "$2")" | in_machine "$1" bash -euc '
		name=$1 dst=$2
		case $dst in */) mkdir -p "$dst" ;; esac
		[ ! -d "$dst" ] || dst=${dst%/}/$name
		mkdir -p "$(dirname "$dst")"
		tmp=$(mktemp -d "$(dirname "$dst")/.lab-cp-XXXXXX")
		trap "rm -rf \"$tmp\"" EXIT
		tar -C "$tmp" -xf -
		if [ -d "$tmp/$name" ] && [ -d "$dst" ]; then cp -a "$tmp/$name/." "$dst/"; else mv -T "$tmp/$name" "$dst"; fi
	' lab-cp "$(basename "$2")" "$3"
}

verb_image() {
	local clusters tar digest c
	[ $# -ge 4 ] || die "usage: lab image CLUSTER[,CLUSTER] NAME ROOTDIR ENTRYPOINT-JSON"
	clusters=
	# the last three are NAME ROOTDIR ENTRYPOINT, what comes before are clusters
	while [ $# -gt 3 ]; do
		clusters="$clusters ${1//,/ }"
		shift
	done
	[ -d "$2" ] || die "no such directory: $2"
	tar=$(mktemp)
	digest=$(image_make "$tar" "$1" "$2" "$3")
	image_import_one() { image_import "$1" "$tar" "$name"; }
	name=$1
	# shellcheck disable=SC2086
	parallel "image $name could not be imported" image_import_one $clusters
	rm "$tar"
	echo "${name%:*}@$digest"
}

verb_logs() {
	case $# in
	1) in_machine "$1" ls -l /var/log/lab ;;
	2) in_machine "$1" cat "/var/log/lab/$2.log" ;;
	*) die "usage: lab logs CLUSTER [COMPONENT]" ;;
	esac
}

verb_component() {
	[ $# -ge 3 ] || die "usage: lab $1 CLUSTER COMPONENT"
	component "$2" "$1" "${@:3}"
}
verb_start() { verb_component start "$@"; }
verb_stop() { verb_component stop "$@"; }
verb_restart() { verb_component restart "$@"; }
verb_kill() { verb_component kill "$@"; }
