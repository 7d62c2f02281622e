#!/bin/bash
# stage.sh COMMAND...: run COMMAND where the stories can be played: the built programs in a directory that every user can
# read, and a real registry on loopback that holds the test images. Afterwards nothing of it is left; if a story left
# something running or mounted, that is an error.
#
# For COMMAND: CRATE_STAGE (bin/, tests/, images/, tmp/, results) and CRATE_REGISTRY (localhost:PORT).
# The images are made once and kept in target/test-cache.
set -euo pipefail
umask 022
cd "$(dirname "$0")/.."

fail() { echo "stage.sh: $*" >&2; exit 1; }

programs=${CRATE_PROGRAMS:-$PWD/target/$(uname -m)-unknown-linux-musl/release}
cache=$PWD/target/test-cache
mkdir -p "$cache"

# Memory is faster than a disk, where it can hold what overlays need: user xattrs on tmpfs came with Linux 6.6.
pick_stage() {
	local try
	for try in ${TMPDIR:+"$TMPDIR"} /dev/shm /tmp; do
		CRATE_STAGE=$(mktemp -d "$try/crate-test.XXXXXX" 2>/dev/null) || continue
		cp /bin/true "$CRATE_STAGE/true"
		if "$CRATE_STAGE/true" 2>/dev/null && setfattr -n user.crate -v 1 "$CRATE_STAGE/true" 2>/dev/null &&
			[ "$(df -Pk "$CRATE_STAGE" | awk 'END { print int($4 / 1024 / 1024) }')" -ge 2 ]; then
			rm "$CRATE_STAGE/true"
			return
		fi
		rm -rf "$CRATE_STAGE"
	done
	fail 'neither TMPDIR, /dev/shm nor /tmp has 2 GiB free, runs programs and keeps user xattrs'
}

# What looks around in a container, what ends programs at a system call, what attacks from inside, and what makes calls.
probes=(probe strike attack watch calls exchange)
make_probes() {
	local probe
	for probe in "${probes[@]}"; do
		[ "$cache/$probe" -nt "tests/probe/$probe.c" ] ||
			musl-gcc -static -no-pie -O2 -s -Wall -Wextra -Werror -o "$cache/$probe" "tests/probe/$probe.c"
	done
}

fill_stage() {
	local program
	chmod 755 "$CRATE_STAGE"
	mkdir "$CRATE_STAGE/bin" "$CRATE_STAGE/tests" "$CRATE_STAGE/images" "$CRATE_STAGE/tmp"
	chmod 1777 "$CRATE_STAGE/tmp"
	for program in crate crate-fetch crate-store crate-sup crate-init; do
		[ -x "$programs/$program" ] || fail "$programs/$program is missing: run make first"
		cp "$programs/$program" "$CRATE_STAGE/bin/"
	done
	cp "${probes[@]/#/$cache/}" "$CRATE_STAGE/bin/"
	cp tests/*.* "$CRATE_STAGE/tests/"
	cp -r tests/corpus man "$CRATE_STAGE/tests/"
	install -m 666 /dev/null "$CRATE_STAGE/results"
}

# A registry that keeps its blobs in directory $1; sets registry (its pid) and CRATE_REGISTRY.
start_registry() {
	local line lines
	cat >"$CRATE_STAGE/registry.yml" <<-EOF
		version: 0.1
		log: {level: info, formatter: json}
		storage: {filesystem: {rootdirectory: $1}}
		http: {addr: "127.0.0.1:0"}
	EOF
	# OTEL and other set-up of the caller's must not reach it.
	exec {lines}< <(exec env -i PATH="$PATH" docker-registry serve "$CRATE_STAGE/registry.yml" 2>&1)
	registry=$!
	while read -r -t 30 -u "$lines" line; do
		case $line in
		*'listening on '*)
			line=${line#*listening on 127.0.0.1:}
			CRATE_REGISTRY=localhost:${line%%[!0-9]*}
			cat <&"$lines" >"$CRATE_STAGE/registry.log" &
			exec {lines}<&-
			return
			;;
		*) echo "$line" >>"$CRATE_STAGE/registry.err" ;;
		esac
	done
	cat "$CRATE_STAGE/registry.err" >&2
	fail 'docker-registry did not start'
}

stop_registry() {
	[ -z "${registry:-}" ] || { kill "$registry" && wait "$registry"; } 2>/dev/null || true
	registry=
}

push() { # IMAGE NAME [FLAG...]
	local image=$1 name=$2
	shift 2
	skopeo copy --quiet --insecure-policy --dest-tls-verify=false "$@" "$image" "docker://$CRATE_REGISTRY/$name"
}

# What no tool here pushes: an index of several platforms. Its other entries name manifests that are there but must not be taken.
push_index() {
	local name=busybox digest size
	read -r digest size < <(jq -r '.manifests[0] | .digest + " \(.size)"' "$cache/images/busybox/index.json")
	local other
	other=$(jq -r '.manifests[0] | .digest + " \(.size)"' "$cache/images/config/index.json")
	entry() { printf '{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"%s","size":%s,"platform":{"architecture":"%s","os":"%s"}}' "$@"; }
	{
		printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":['
		# shellcheck disable=SC2086
		entry $other unknown unknown
		printf ,
		# shellcheck disable=SC2086
		entry $other s390x linux
		printf ,
		entry "$digest" "$size" "$(jq -r .architecture "$cache/images/busybox/blobs/sha256/$(config_of busybox)")" linux
		printf ']}'
	} >"$cache/images/index.json"
	curl -sS --fail -o /dev/null -X PUT -H 'Content-Type: application/vnd.oci.image.index.v1+json' \
		--data-binary "@$cache/images/index.json" "http://$CRATE_REGISTRY/v2/$name/manifests/index"
}

config_of() { # IMAGE: the digest of its config, as hexadecimal digits
	local layout=$cache/images/$1 manifest
	manifest=$(jq -r '.manifests[0].digest' "$layout/index.json")
	jq -r .config.digest "$layout/blobs/sha256/${manifest#sha256:}" | cut -d : -f 2
}

make_debian() {
	[ ! -e "$cache/debian.tar" ] || return 0
	local root=$CRATE_STAGE/debian
	echo "stage.sh: making a Debian root filesystem with debootstrap" >&2
	debootstrap --variant=minbase bookworm "$root" >"$cache/debootstrap.log" 2>&1 ||
		{ tail -n 5 "$cache/debootstrap.log" >&2; fail 'debootstrap failed'; }
	rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/var/cache/ldconfig/* "${root:?}/dev" "${root:?}/proc"
	mkdir -m 755 "$root/dev" "$root/proc"
	tar -cf "$cache/debian.new" -C "$root" --format=pax --pax-option=delete=atime,delete=ctime,delete=mtime --sort=name --mtime=@0 \
		--numeric-owner --xattrs --xattrs-include='*' .
	rm -rf "$root"
	mv "$cache/debian.new" "$cache/debian.tar"
}

make_images() {
	local images=$cache/images
	mkdir -p "$images"
	sh tests/image.sh busybox "$images/busybox.tar" "$cache/probe"
	# A second layer: one file gone, one directory replaced as a whole, one file added.
	local top=$CRATE_STAGE/top
	mkdir -p "$top/etc" "$top/folder.d" "$top/added"
	: >"$top/etc/.wh.text"
	: >"$top/folder.d/.wh..wh..opq"
	echo added >"$top/added/file"
	tar -cf "$images/top.tar" -C "$top" --sort=name --mtime=@0 --owner=+0 --group=+0 --numeric-owner added etc/.wh.text folder.d/.wh..wh..opq
	local path='"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]'
	sh tests/image.sh layout "$images/busybox" busybox:1 "{$path,\"Cmd\":[\"sh\"]}" "$images/busybox.tar" "$images/top.tar"
	sh tests/image.sh layout "$images/config" busybox:config '{"Env":["PATH=/bin","FROM_IMAGE=a b","EMPTY="],"Entrypoint":["probe","args"],
		"Cmd":["from","cmd"],"User":"app","WorkingDir":"/made/by/config","StopSignal":"SIGUSR1","Volumes":{"/vol":{}},"Labels":{"a.label":"x"}}' \
		"$images/busybox.tar"
	skopeo copy --quiet --insecure-policy "oci:$images/busybox:busybox:1" "docker-archive:$images/busybox.docker.tar:busybox:docker"
	tar -cf "$images/busybox.oci.tar" -C "$images/busybox" --sort=name .
	push "oci:$images/busybox:busybox:1" busybox:1
	push "oci:$images/config:busybox:config" busybox:config
	push "oci:$images/busybox:busybox:1" busybox:docker --format v2s2
	local packing
	for packing in zstd plain gzip-members; do
		PACKING=$packing sh tests/image.sh layout "$images/$packing" "busybox:$packing" "{$path}" "$images/busybox.tar" "$images/top.tar"
		push "oci:$images/$packing:busybox:$packing" "busybox:$packing" --preserve-digests
	done
	push_index
	python3 tests/layers.py --plain "$images/layers"
	push "oci:$images/layers:layers:64" layers:64 --preserve-digests
	if [ "$(id -u)" = 0 ]; then unpack_by_umoci; fi
	if [ -e "$cache/debian.tar" ]; then
		sh tests/image.sh layout "$images/debian" debian:12 "{$path,\"Cmd\":[\"bash\"]}" "$cache/debian.tar"
		push "oci:$images/debian:debian:12" debian:12
	fi
}

# What another tool of the field makes of the many-layer image, as lists of tree.py for each kind of user. Without a
# range all owners are one; in a user namespace there are no devices to be made.
unpack_by_umoci() {
	local tree=$CRATE_STAGE/umoci
	umoci raw unpack --image "$images/layers:layers:64" "$tree" 2>"$cache/umoci.log"
	python3 tests/tree.py --no-nlink --no-dir-times "$tree" >"$images/layers/root.tree"
	python3 tests/tree.py --no-nlink --no-dir-times --no-special "$tree" >"$images/layers/ranges.tree"
	python3 tests/tree.py --no-nlink --no-dir-times --no-special --squash "$tree" >"$images/layers/single.tree"
	rm -rf "$tree"
}

# Fills the registry's directory where anything that the images are made of has changed.
fill_registry() {
	local state
	if [ "$(id -u)" = 0 ]; then make_debian; fi
	state=$(sha256sum tests/image.sh tests/stage.sh tests/layers.py tests/tree.py "$cache/probe" /bin/busybox 2>/dev/null; ls "$cache/debian.tar" 2>/dev/null || true)
	[ "$(cat "$cache/state" 2>/dev/null)" != "$state" ] || return 0
	rm -rf "$cache/registry" "$cache/images" "$cache/state"
	mkdir "$cache/registry"
	start_registry "$cache/registry"
	make_images
	stop_registry
	printf '%s\n' "$state" >"$cache/state"
}

# Programs of this stage and of its containers that still run (those have a file of the stage among their mounts), and
# mounts under it. All of them are ended here, and told.
census() {
	local pid found=0 name
	name=$(basename "$CRATE_STAGE")
	for pid in /proc/[0-9]*; do
		pid=${pid#/proc/}
		case $pid in "$$" | "$BASHPID" | "${registry:-}") continue ;; esac
		case $(readlink "/proc/$pid/exe" 2>/dev/null) in
		"$CRATE_STAGE"/*) ;;
		*) grep -q -s "$name" "/proc/$pid/mountinfo" || continue ;;
		esac
		found=1
		echo "stage.sh: left running: $pid $(tr '\0' ' ' <"/proc/$pid/cmdline")" >&2
		kill -KILL "$pid" || :
	done
	while read -r _ _ _ _ where _; do
		case $where in
		"$CRATE_STAGE"/*) ;;
		*) continue ;;
		esac
		found=1
		echo "stage.sh: left mounted: $where" >&2
		umount -l "$where" || :
	done </proc/self/mountinfo
	return $found
}

clean_up() {
	local status=$?
	trap - EXIT INT TERM
	census || status=1
	stop_registry
	# What belongs to ids of a range can be removed only by the root of that range's namespace.
	rm -rf "$CRATE_STAGE" 2>/dev/null || "$programs/crate-sup" unshare rm -rf "$CRATE_STAGE" || status=1
	exit "$status"
}

pick_stage
registry=
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
make_probes
fill_stage
fill_registry
[ ! -e "$cache/vm" ] || cp -r "$cache/vm" "$CRATE_STAGE/images/"
cp -r "$cache"/images/{busybox,busybox.tar,config,layers,busybox.oci.tar,busybox.docker.tar} "$CRATE_STAGE/images/"
start_registry "$cache/registry"
export CRATE_STAGE CRATE_REGISTRY
"$@"
