# shellcheck shell=bash
# The cache: what takes long to build and is the same for every lab. One
# directory per kind and recipe, KIND-HASH; a changed recipe has another hash,
# so it is built anew beside the old one. Each is built under another name and
# renamed when whole: a directory that is there is complete. All but the notes
# of `lab build` are laid over one another as the layers of a machine's root.

cache_kinds=(root tools shim k8s liqo)

root_suite=forky
root_packages=(ca-certificates conntrack containerd containernetworking-plugins criu etcd-client etcd-server
	iproute2 iptables jq kmod nftables openssl procps runc socat strace tcpdump util-linux)

k8s_programs=(kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl)

# LAB_CONTAINERD: a version (2.4.2) to have instead of Debian's. ctr stays Debian's: its options differ from version to version.
lab_containerd=${LAB_CONTAINERD:-}
[ -z "$lab_containerd" ] || cache_kinds+=(containerd)
containerd_programs=(containerd containerd-shim-runc-v2)

liqo_programs=(liqo-controller-manager crd-replicator virtual-kubelet webhook liqoctl)

# What each kind is made from, as text: whatever changes it changes its hash.
cache_recipe() {
	declare -f "build_$1"
	case $1 in
	root) echo "$root_suite ${root_packages[*]}" ;;
	tools) cat "$LAB_HOME"/src/{init,pause,forward,delay}.c "$LAB_HOME/lib/image.sh" ;;
	shim) cat "$LAB_HOME/src/prlimit.c" ;;
	k8s) cat "$LAB_HOME"/k8s/go.{mod,sum} && echo "${k8s_programs[*]}" ;;
	containerd) echo "$lab_containerd ${containerd_programs[*]}" ;;
	liqo) cat "$LAB_HOME"/liqo/go.{mod,sum} "$LAB_HOME/lib/image.sh" && echo "${liqo_programs[*]}" ;;
	esac
}

# The directory of each kind.
declare -A cache_path
cache_index() {
	local k
	for k in "${cache_kinds[@]}"; do
		cache_path[$k]=$LAB_CACHE/$k-$(cache_recipe "$k" | sha256sum | cut -c1-12)
	done
}

# cache_fill KIND: build it unless it is there.
cache_fill() {
	local path=${cache_path[$1]} tmp log=$LAB_CACHE/log/$1.log
	[ ! -d "$path" ] || return 0
	mkdir -p "$LAB_CACHE/log"
	tmp=$(mktemp -d "$LAB_CACHE/.$1-XXXXXX")
	chmod 755 "$tmp" # it becomes a root directory
	# in the background, not in the condition: set -e must hold in it
	"build_$1" "$tmp" </dev/null >"$log" 2>&1 &
	if ! wait $!; then
		rm -rf --one-file-system "$tmp"
		die "building $1 failed: $(grep -v '^$' "$log" | tail -n 2 | tr '\n' ' ')(all of it: $log)"
	fi
	mv -T "$tmp" "$path"
	step "built $1"
}

# Debian's mirror as this host's own apt knows it.
apt_mirror() {
	# shellcheck disable=SC2016
	apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' 'Origin: Debian' 'Component: main' |
		awk '$2 !~ /-/ { print $1; exit }'
}

build_root() {
	local mirror proxy
	mirror=${LAB_MIRROR:-$(apt_mirror)}
	[ -n "$mirror" ] || { echo "no Debian mirror in apt's configuration; name one in LAB_MIRROR"; return 1; }
	proxy=$(apt-config dump --format '%v%n' Acquire::http::Proxy)
	[ -z "$proxy" ] || export http_proxy=$proxy
	# sid's script serves every newer suite; an older debootstrap lacks forky's name
	debootstrap --variant=minbase --include="$(IFS=, && echo "${root_packages[*]}")" \
		$root_suite "$1" "$mirror" /usr/share/debootstrap/scripts/sid || {
		tail -n 5 "$1/debootstrap/debootstrap.log"
		return 1
	}
	chroot "$1" apt-get clean
	rm -rf "$1"/var/lib/apt/lists/* "$1"/usr/share/{doc,man,locale}/*
	# debootstrap copies these two from the host
	: >"$1/etc/resolv.conf"
	echo localhost >"$1/etc/hostname"
	chroot "$1" dpkg-query -W -f '${Package} ${Version}\n' containerd runc criu etcd-server >"$1/etc/lab-versions"
}

build_tools() {
	local lib=$1/usr/local/lib/lab p
	mkdir -p "$lib/pause-root"
	for p in init pause forward delay; do
		gcc -std=c11 -O2 -Wall -Wextra -static -s -o "$lib/$p" "$LAB_HOME/src/$p.c"
	done
	mv "$lib/pause" "$lib/pause-root/"
	image_make "$lib/pause.tar" localhost/lab/pause:1 "$lib/pause-root" '["/pause"]'
	rm -r "$lib/pause-root"
}

build_shim() {
	local lib=$1/usr/local/lib/lab
	mkdir -p "$lib" "$1/etc"
	gcc -std=c11 -O2 -Wall -Wextra -shared -fPIC -s -o "$lib/prlimit.so" "$LAB_HOME/src/prlimit.c"
	echo /usr/local/lib/lab/prlimit.so >"$1/etc/ld.so.preload"
}

# go_build DIR FLAGS PACKAGE..: as pinned by the module file, never changing it.
go_build() {
	local out=$1 flags=$2
	shift 2
	mkdir -p "$out"
	CGO_ENABLED=0 GOFLAGS='-mod=readonly -trimpath -buildvcs=false' GOWORK=off \
		go build -ldflags "-s -w $flags" -o "$out/" "$@"
}

build_k8s() {
	local v
	cd "$LAB_HOME/k8s"
	v=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
	# a version of v0.0.0 is taken for a very old node by the parts themselves
	go_build "$1/usr/local/bin" "-X k8s.io/component-base/version.gitVersion=$v" \
		"${k8s_programs[@]/#/k8s.io/kubernetes/cmd/}"
}

# Of version 2 on, the module is another one.
containerd_module() {
	case $lab_containerd in
	1.*) echo github.com/containerd/containerd ;;
	*) echo github.com/containerd/containerd/v2 ;;
	esac
}

# Built in the module's own directory: what it depends on is what its own go.mod and go.sum say, as in containerd's
# releases. The module itself is checked by Go's checksum database.
build_containerd() {
	local module
	module=$(containerd_module)
	cd "$(GOFLAGS=-mod=mod GOWORK=off go mod download -json "$module@v$lab_containerd" | jq -er .Dir)"
	go_build "$1/usr/local/bin" "-X $module/version.Version=v$lab_containerd" "${containerd_programs[@]/#/./cmd/}"
}

# One image holds all of Liqo's programs; every Deployment names its own command.
build_liqo() {
	local v src p image=$1/image
	cd "$LAB_HOME/liqo"
	v=$(go list -m -f '{{.Version}}' github.com/liqotech/liqo)
	go_build "$1/usr/local/bin" "-X github.com/liqotech/liqo/pkg/liqoctl/version.LiqoctlVersion=$v" \
		"${liqo_programs[@]/#/github.com/liqotech/liqo/cmd/}"
	mkdir -p "$1/opt/liqo" "$image/usr/bin" "$image/etc"
	for p in "${liqo_programs[@]}"; do
		[ "$p" = liqoctl ] || mv "$1/usr/local/bin/$p" "$image/usr/bin/"
	done
	printf 'root:x:0:0::/:/\nliqo:x:1000:1000::/:/\n' >"$image/etc/passwd"
	mkdir -m 1777 "$image/tmp"
	image_make "$1/opt/liqo/image.tar" localhost/lab/liqo:lab "$image" '["/usr/bin/liqo-controller-manager"]'
	rm -r "$image"
	# the module carries the Helm chart, its CRDs included; liqoctl links Helm
	src=$(go list -m -f '{{.Dir}}' github.com/liqotech/liqo)
	cp -r "$src/deployments/liqo" "$1/opt/liqo/chart"
	chmod -R u+w "$1/opt/liqo/chart"
	echo "$v" >"$1/opt/liqo/version"
}

# cache_fill_all KIND..: the root is mostly waiting for the network, Go programs
# are mostly computing: both at once.
cache_fill_all() {
	cache_fill_list() {
		local k
		for k in $1; do cache_fill "$k"; done
	}
	local go=
	[[ " $* " != *" k8s "* ]] || go="k8s"
	[[ " $* " != *" liqo "* ]] || go="$go liqo"
	[[ " $* " != *" containerd "* ]] || go="$go containerd"
	parallel "the cache is not complete" cache_fill_list "tools shim root" "$go"
}

cache_complete() {
	local k
	for k; do
		[ -d "${cache_path[$k]}" ] || return 1
	done
}
