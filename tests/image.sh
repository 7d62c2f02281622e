#!/bin/sh
# image.sh: make OCI images with tar, gzip and sha256sum alone, the same bytes each time, without network or root.
#   layout DIR REF CONFIG LAYER.tar...   an OCI image layout at DIR with one image; CONFIG is its config object, as JSON;
#                                        PACKING=gzip|gzip-members|zstd|plain says how its layers are kept
#   busybox FILE.tar [PROGRAM...]        a root filesystem of Debian's static busybox and further PROGRAMs in /bin
set -eu

fail() { echo "image.sh: $*" >&2; exit 1; }

architecture() {
	case $(uname -m) in
	x86_64) echo amd64 ;;
	aarch64) echo arm64 ;;
	*) uname -m ;;
	esac
}

# blob DIR FILE TYPE: move FILE among the blobs of DIR and print its descriptor.
blob() {
	digest=$(sha256sum <"$2" | cut -d ' ' -f 1)
	size=$(wc -c <"$2" | tr -d ' ')
	mv "$2" "$1/blobs/sha256/$digest"
	printf '{"mediaType":"application/vnd.oci.image.%s","digest":"sha256:%s","size":%s' "$3" "$digest" "$size"
}

pack() {
	case ${PACKING:-gzip} in
	gzip) gzip -n ;;
	gzip-members) # Two members in one stream: RFC 1952, section 2.2.
		head -c 5000 >"$dir/head"
		{ gzip -n <"$dir/head" && cat | gzip -n; }
		rm "$dir/head"
		;;
	zstd) zstd -q -c ;;
	plain) cat ;;
	esac
}

layout() {
	[ $# -ge 4 ] || fail 'usage: layout DIR REF CONFIG LAYER.tar...'
	dir=$1 ref=$2 config=$3 layers='' diffids=''
	shift 3
	case ${PACKING:-gzip} in
	gzip*) suffix=+gzip ;;
	zstd) suffix=+zstd ;;
	plain) suffix= ;;
	*) fail "PACKING=$PACKING is not known" ;;
	esac
	mkdir -p "$dir/blobs/sha256"
	for layer; do
		diffids="$diffids${diffids:+,}\"sha256:$(sha256sum <"$layer" | cut -d ' ' -f 1)\""
		pack <"$layer" >"$dir/new"
		layers="$layers${layers:+,}$(blob "$dir" "$dir/new" "layer.v1.tar$suffix")}"
	done
	printf '{"created":"1970-01-01T00:00:00Z","architecture":"%s","os":"linux","config":%s,"rootfs":{"type":"layers","diff_ids":[%s]}}' \
		"$(architecture)" "$config" "$diffids" >"$dir/new"
	descriptor=$(blob "$dir" "$dir/new" config.v1+json)
	printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s},"layers":[%s]}' \
		"$descriptor" "$layers" >"$dir/new"
	descriptor=$(blob "$dir" "$dir/new" manifest.v1+json)
	printf '{"schemaVersion":2,"manifests":[%s,"annotations":{"org.opencontainers.image.ref.name":"%s"}}]}' \
		"$descriptor" "$ref" >"$dir/index.json"
	printf '{"imageLayoutVersion":"1.0.0"}' >"$dir/oci-layout"
}

# entries FILE.tar DIR OWNER:GROUP PATH...: append to an archive, numeric, sorted, without times.
entries() {
	archive=$1 dir=$2 owner=${3%:*} group=${3#*:}
	shift 3
	tar -rf "$archive" -C "$dir" --format=pax --pax-option=delete=atime,delete=ctime,delete=mtime --sort=name --mtime=@0 \
		--numeric-owner --owner=":$owner" --group=":$group" "$@"
}

busybox() {
	[ $# -ge 1 ] || fail 'usage: busybox FILE.tar [PROGRAM...]'
	archive=$1 tree=$1.tree
	shift
	[ -x /bin/busybox ] || fail '/bin/busybox is missing: install busybox-static'
	rm -rf "$archive" "$tree"
	umask 022
	mkdir -p "$tree/bin" "$tree/etc" "$tree/home/app" "$tree/root" "$tree/tmp" "$tree/shared" "$tree/usr/bin" "$tree/folder.d" "$tree/closed"
	cp /bin/busybox "$@" "$tree/bin/"
	for applet in $(/bin/busybox --list); do
		[ -e "$tree/bin/$applet" ] || ln -s busybox "$tree/bin/$applet"
	done
	printf 'root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\napp:x:1000:1000:An application:/home/app:/bin/sh\n' >"$tree/etc/passwd"
	printf 'root:x:0:\ndaemon:x:1:\nstaff:x:50:app\nwheel:x:10:root,app\napp:x:1000:\n' >"$tree/etc/group"
	printf 'NAME=busybox\nID=busybox\n' >"$tree/etc/os-release"
	printf 'text\n' >"$tree/etc/text"
	# shellcheck disable=SC2016
	printf '#!/bin/sh\necho script "$0" "$@"\n' >"$tree/bin/script"
	printf '#!/no/such/interpreter\n' >"$tree/bin/orphan"
	printf 'no program\n' >"$tree/bin/garbage"
	cp /bin/busybox "$tree/usr/bin/passwd"
	chmod 0755 "$tree/bin/script" "$tree/bin/orphan" "$tree/bin/garbage"
	chmod 0700 "$tree/root" "$tree/closed"
	chmod 1777 "$tree/tmp"
	chmod 2775 "$tree/shared"
	chmod 4755 "$tree/usr/bin/passwd"
	entries "$archive" "$tree" 0:0 bin etc folder.d closed root tmp usr
	entries "$archive" "$tree" 0:0 --no-recursion home
	entries "$archive" "$tree" 0:50 shared
	entries "$archive" "$tree" 1000:1000 home/app
	rm -rf "$tree"
}

what=${1:-}
[ $# -ge 1 ] && shift
case $what in
layout | busybox) "$what" "$@" ;;
*) fail 'usage: image.sh layout|busybox ...' ;;
esac
