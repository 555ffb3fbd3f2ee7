# shellcheck shell=bash
# The shape of the path between the clusters. All of it is done in the lab's own
# network namespace, before the machine a frame goes to, so each way is shaped
# once: bandwidth by tc's token bucket, loss by an nft rule, delay by a program
# between two TAP interfaces (../src/delay.c: it works the same on every kernel,
# netem is not in every kernel).

# scaled VALUE UNIT=FACTOR..: VALUE as a whole number of the smallest unit.
scaled() {
	local value=$1 unit
	shift
	for unit; do
		if [[ $value =~ ^([0-9]+(\.[0-9]+)?)${unit%=*}$ ]]; then
			awk -v n="${BASH_REMATCH[1]}" -v f="${unit#*=}" 'BEGIN { printf "%.0f\n", n * f }'
			return
		fi
	done
	return 1
}

net() { nsenter --net="/run/netns/$LAB_NETNS" "$@"; }

need_clusters() {
	check_name
	check_root
	if [ -z "$(machines)" ] || ! network_exists; then die "lab $LAB_NAME is not up"; fi
}

verb_link() {
	local rate='' delay='' loss='' m shape=''
	need_clusters
	if [ $# -eq 0 ]; then
		cat "$LAB_DIR/link" 2>/dev/null || echo "not shaped"
		return
	fi
	while [ $# -gt 0 ]; do
		case $1 in
		--clear) ;;
		--rate) rate=$(scaled "${2:-}" bit=1 kbit=1000 mbit=1000000 gbit=1000000000) || die "bad rate (such as 100mbit): ${2:-}" ;;
		--delay) delay=$(scaled "${2:-}" us=1 ms=1000 s=1000000) || die "bad delay (such as 20ms): ${2:-}" ;;
		--loss) loss=$(scaled "${2:-}" =100 %=100) || die "bad loss in percent (such as 0.5): ${2:-}" ;;
		*) die "usage: lab link [--rate R] [--delay D] [--loss P] | --clear" ;;
		esac
		[ "$1" = --clear ] || { shape="$shape ${1#--} $2" && shift; }
		shift
	done
	lock "$LAB_BASE/$LAB_NAME.lock"
	for m in $(machines); do
		link_clear "$m"
		[ -z "$delay" ] || link_delay "$m" "$delay"
		[ -z "$rate" ] || link_rate "$m" "$rate"
	done
	[ -z "$loss" ] || link_loss "$loss"
	if [ -n "$shape" ]; then echo "each way:$shape" >"$LAB_DIR/link"; fi
}

link_clear() {
	local pid
	rm -f "$LAB_DIR/link"
	pid=$(cat "$LAB_DIR/machines/$1/delay.pid" 2>/dev/null || true)
	[ -z "$pid" ] || kill "$pid" 2>/dev/null || true
	rm -f "$LAB_DIR/machines/$1/delay.pid"
	net ip link set "v-$1" master br0
	net ip link del "br-$1" 2>/dev/null || true
	net tc qdisc del dev "v-$1" root 2>/dev/null || true
	net nft delete table bridge loss 2>/dev/null || true
	machine_net "$1" ip link set eth0 gso_max_segs 65535
}

machine_net() { nsenter --target "$(machine_pid "$1")" --net "${@:2}"; }

# Ten milliseconds' worth of tokens, at least a full segment; what would wait
# longer than a tenth of a second is dropped, as a router's queue does.
link_rate() {
	local burst=$(($2 / 800))
	[ $burst -ge 66000 ] || burst=66000
	net tc qdisc add dev "v-$1" root tbf rate "$2bit" burst $burst latency 100ms
}

link_delay() {
	cache_index
	net ip link add name "br-$1" type bridge
	net ip link set "br-$1" up
	(
		exec 8>&- </dev/null >"$LAB_DIR/machines/$1/delay.log" 2>&1
		cgroup_join "$1"
		exec setsid nsenter --net="/run/netns/$LAB_NETNS" \
			"${cache_path[tools]}/usr/local/lib/lab/delay" "$2" "u-$1" "d-$1"
	) &
	echo $! >"$LAB_DIR/machines/$1/delay.pid"
	wait_for 30 grep -q ready "$LAB_DIR/machines/$1/delay.log" ||
		die "no delay for $1: $(tail -n 1 "$LAB_DIR/machines/$1/delay.log")"
	net ip link set "u-$1" master br0 up
	net ip link set "d-$1" master "br-$1" up
	net ip link set "v-$1" master "br-$1"
}

# A frame can be a segment of 64 KiB that the kernel has not cut up yet, and to
# lose it whole is another thing than to lose packets: no such segments then.
link_loss() {
	local m
	for m in $(machines); do machine_net "$m" ip link set eth0 gso_max_segs 1; done
	net nft -f - <<X
table bridge loss {
	chain forward {
		type filter hook forward priority 0;
		oifname "v-*" numgen random mod 10000 < $1 counter drop
	}
}
X
}

# --pods: the API servers still reach each other, as they do by another way than
# the tunnel of the pod network.
verb_cut() {
	local api=
	need_clusters
	case ${1:-} in
	"") ;;
	--pods) api='ether type arp accept; oifname "v-*" tcp dport 6443 accept; oifname "v-*" tcp sport 6443 accept;' ;;
	*) die "cut takes --pods or nothing" ;;
	esac
	net nft -f - <<X
table bridge cut
delete table bridge cut
table bridge cut {
	chain forward {
		type filter hook forward priority -10;
		$api
		oifname "v-*" counter drop
	}
}
X
}

verb_heal() {
	need_clusters
	net nft delete table bridge cut 2>/dev/null || true
}
