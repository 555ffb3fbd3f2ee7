# shellcheck shell=bash
# The virtual machine's disk, kernel and initramfs, in the lab's cache (tests/lab/lib/cache.sh) as one more kind.

vm_packages=(apparmor dbus python3 systemd)      # beside those of the lab's root
vm_size=12G                             # of the disk as the machine sees it; the file is sparse

# The newest kernel of Debian's own release for machines in clouds: virtio, cgroup v2, all that CRIU needs, and small.
vm_kernel=linux-image-cloud-amd64
vm_kernel() { apt-cache depends --no-recommends --no-suggests $vm_kernel | sed -n 's/^ *Depends: //p' | head -n 1; }

vm_recipe() {
	declare -f build_vm vm_root vm_disk vm_boot
	cat "$VM_HOME/init" "$VM_HOME/vm-test.service"
	echo "${vm_packages[*]} $vm_size $(vm_kernel) ${cache_path[*]}"
}

# A package's files, without installing it here.
vm_unpack() {
	mkdir -p "$2"
	(cd "$2" && apt-get download "$1" && dpkg-deb -x "$1"_*.deb .)
}

# The lab's root and what makes a whole machine of it.
vm_root() {
	cp -a "${cache_path[root]}" "$1"
	printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d"
	chmod 755 "$1/usr/sbin/policy-rc.d"
	cp /etc/resolv.conf "$1/etc/resolv.conf"
	# the suite is Debian's testing: a mirror that lags is older than its lists say they may be
	chroot "$1" apt-get -o Acquire::Check-Valid-Until=false update
	DEBIAN_FRONTEND=noninteractive chroot "$1" apt-get install -y --no-install-recommends "${vm_packages[@]}"
	chroot "$1" apt-get clean
	rm -rf "$1"/var/lib/apt/lists/* "$1"/usr/share/{doc,man,locale}/*
	echo '# no DNS' >"$1/etc/resolv.conf"
	echo vm >"$1/etc/hostname"
	: >"$1/etc/machine-id"
	install -m 644 "$VM_HOME/vm-test.service" "$1/etc/systemd/system/"
	local unit
	for unit in containerd.service etcd.service systemd-networkd.service systemd-resolved.service getty.target systemd-timesyncd.service; do
		chroot "$1" systemctl disable "$unit" || true
	done
}

# vm_disk ROOT IMAGE: the lab's cache lies in it where the lab looks for it, and is in the machine's own path.
vm_disk() {
	local kind program at=$1/opt/podmigration-cache
	mkdir -p "$at" "$1/usr/local/bin" "$1/usr/local/lib"
	for kind in root tools k8s liqo; do cp -a "${cache_path[$kind]}" "$at/"; done
	for kind in k8s liqo; do
		for program in "${cache_path[$kind]}"/usr/local/bin/*; do
			ln -s "/opt/podmigration-cache/${cache_path[$kind]##*/}/usr/local/bin/${program##*/}" "$1/usr/local/bin/" 2>/dev/null || true
		done
	done
	mke2fs -q -t ext4 -O ^has_journal -E lazy_itable_init=1,nodiscard -m 0 -d "$1" "$2" $vm_size
}

# vm_boot DIR ROOT: kernel, its modules for the machine, and an initramfs with those of the disk.
vm_boot() {
	local version m path
	vm_unpack "$(vm_kernel)" "$1/unpacked"
	vm_unpack busybox-static "$1/unpacked"
	mv "$1"/unpacked/boot/vmlinuz-* "$1/vmlinuz"
	version=$(ls "$1/unpacked/lib/modules")
	mkdir -p "$2/usr/lib/modules" "$1/initrd/bin"
	mv "$1/unpacked/lib/modules/$version" "$2/usr/lib/modules/"
	chroot "$2" depmod "$version"
	cp "$1/unpacked/bin/busybox" "$1/initrd/bin/"
	install -m 755 "$VM_HOME/init" "$1/initrd/init"
	for m in virtio_pci virtio_blk; do
		for path in $(chroot "$2" modprobe --show-depends -S "$version" $m | sed -n 's/^insmod //p'); do
			[ ! -e "$1/initrd/${path##*/}" ] || continue
			cp "$2$path" "$1/initrd/"
			echo "/${path##*/}" >>"$1/initrd/modules"
		done
	done
	(cd "$1/initrd" && find . | "$1/unpacked/bin/busybox" cpio -o -H newc) >"$1/initrd.img"
	echo "$version" >"$1/version"
	rm -rf "$1/unpacked" "$1/initrd"
}

build_vm() {
	vm_root "$1/root"
	vm_boot "$1" "$1/root"
	vm_disk "$1/root" "$1/disk.img"
	rm -rf "$1/root"
}

# After cache_index, which knows the lab's own kinds: this one is made of them.
vm_index() { cache_path[vm]=$LAB_CACHE/vm-$(vm_recipe | sha256sum | cut -c1-12); }
