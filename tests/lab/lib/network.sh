# shellcheck shell=bash
# The path between the machines: a bridge in a network namespace of its own, so
# that two labs can use the same addresses, and the host sees none of it.

network_make() {
	ip netns add "$LAB_NETNS"
	ip -n "$LAB_NETNS" link set lo up
	ip -n "$LAB_NETNS" link add br0 type bridge
	ip -n "$LAB_NETNS" addr add 172.30.0.1/24 dev br0
	ip -n "$LAB_NETNS" link set br0 up
}

network_exists() { [ -e "/run/netns/$LAB_NETNS" ]; }

# network_attach NAME: the machine's eth0, a port of the bridge.
network_attach() {
	local pid
	pid=$(machine_pid "$1")
	ip link add "v-$1" netns "$LAB_NETNS" type veth peer name eth0 netns "/proc/$pid/ns/net"
	ip -n "$LAB_NETNS" link set "v-$1" master br0 up
	nsenter --target "$pid" --net bash -eu -c "
		ip addr add $(node_ip "$1")/24 dev eth0
		ip link set eth0 up
		ip route add default via 172.30.0.1
		echo 1 >/proc/sys/net/ipv4/ip_forward" ||
		die "no network in machine $1"
}

# Pods of one cluster reach pods of the others at their own address. Needed
# before peering: Liqo's pods talk from pod addresses to the other API server.
network_routes() {
	local from to
	for from; do
		for to; do
			[ "$from" != "$to" ] || continue
			in_machine "$from" ip route replace "$(pod_cidr "$to")" via "$(node_ip "$to")"
		done
	done
}
