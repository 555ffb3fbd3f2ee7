# shellcheck shell=bash
# Images without Docker: an OCI layout with one layer, made from a directory.

# store_blob LAYOUT FILE: move FILE to where the layout keeps content; prints "digest size".
store_blob() {
	local sum
	sum=$(sha256sum "$2" | cut -d' ' -f1)
	stat -c "sha256:$sum %s" "$2"
	mv "$2" "$1/blobs/sha256/$sum"
}

# image_make OUT.tar NAME ROOTDIR ENTRYPOINT: ENTRYPOINT is a JSON array, or an
# object with any fields of an OCI image's "config" (Entrypoint, Cmd, Env, User,
# WorkingDir, ..). Owners and modes are those of the directory. Prints the
# digest of the manifest.
image_make() {
	local out=$1 name=$2 root=$3 entry=$4 tmp arch layer config manifest
	case $name in
	localhost/*:* | *.*/*:* | *:[0-9]*/*:*) ;;
	*) die "image name must have a host and a tag, such as localhost/app:1 (not $name)" ;;
	esac
	jq -e 'type == "array" or type == "object"' >/dev/null 2>&1 <<<"$entry" ||
		die "entrypoint must be a JSON array or object (not $entry)"
	tmp=$(mktemp -d)
	mkdir -p "$tmp/blobs/sha256"
	arch=$(dpkg --print-architecture)
	tar -C "$root" --sort=name --numeric-owner -cf "$tmp/layer" .
	read -r -a layer < <(store_blob "$tmp" "$tmp/layer")
	jq -cn --arg arch "$arch" --arg layer "${layer[0]}" --argjson entry "$entry" '{
		architecture: $arch, os: "linux",
		config: ({Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}
			+ if $entry | type == "array" then {Entrypoint: $entry} else $entry end),
		rootfs: {type: "layers", diff_ids: [$layer]}}' >"$tmp/config"
	read -r -a config < <(store_blob "$tmp" "$tmp/config")
	jq -cn --arg c "${config[0]}" --argjson cs "${config[1]}" --arg l "${layer[0]}" --argjson ls "${layer[1]}" '{
		schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json",
		config: {mediaType: "application/vnd.oci.image.config.v1+json", digest: $c, size: $cs},
		layers: [{mediaType: "application/vnd.oci.image.layer.v1.tar", digest: $l, size: $ls}]}' >"$tmp/manifest"
	read -r -a manifest < <(store_blob "$tmp" "$tmp/manifest")
	jq -cn --arg m "${manifest[0]}" --argjson ms "${manifest[1]}" --arg name "$name" --arg arch "$arch" '{
		schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json",
		manifests: [{mediaType: "application/vnd.oci.image.manifest.v1+json", digest: $m, size: $ms,
			platform: {architecture: $arch, os: "linux"},
			annotations: {"io.containerd.image.name": $name}}]}' >"$tmp/index.json"
	echo '{"imageLayoutVersion":"1.0.0"}' >"$tmp/oci-layout"
	tar -C "$tmp" -cf "$out" oci-layout index.json blobs
	rm -r "$tmp"
	echo "${manifest[0]}"
}

# image_import CLUSTER TAR NAME: also under name@digest, as a pull from a registry
# leaves it; without that, status.imageID is a bare hash that names no
# repository, and nobody can refer to the image by digest. A second time when the
# first fails: on a busy machine containerd now and then has lost a part of what
# it has just been given ("content digest ..: not found").
image_import() {
	local digest
	digest=$(tar -xOf "$2" index.json | jq -r '.manifests[0].digest')
	in_machine "$1" ctr -n k8s.io images import --local - <"$2" >/dev/null ||
		in_machine "$1" ctr -n k8s.io images import --local - <"$2" >/dev/null
	in_machine "$1" ctr -n k8s.io images tag --force --skip-reference-check "$3" "${3%:*}@$digest" >/dev/null
}
