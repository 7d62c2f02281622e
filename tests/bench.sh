#!/bin/bash
# bench.sh start|pull: medians of interleaved rounds beside peers, on this machine. Run under stage.sh.
# ROUNDS sets how many. Nothing is asserted: what counts is the ratio.
set -euo pipefail
: "${CRATE_STAGE:?run me through make bench-start or make bench-pull}"

# rounds COUNT NAME...: `candidate_NAME` prepares and prints microseconds. One of each in turn, so that whatever else the
# machine does falls on all alike.
rounds() {
	local count=$1 name i
	shift
	for ((i = 0; i < count; i++)); do
		for name; do
			"candidate_$name" >>"$times/$name"
		done
	done
}

median() { sort -n "$times/$1" | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'; }

table() { # BASE NAME=TEXT...
	local base=$1 pair
	base=$(median "$base")
	shift
	for pair; do
		awk -v us="$(median "${pair%%=*}")" -v base="$base" -v text="${pair#*=}" \
			'BEGIN { printf "%-52s %9.2f ms %7.2f\n", text, us / 1000, us / base }'
	done
}

# --- start of a container, as an ordinary user ---

candidate_spawn() { probe time probe true; }
candidate_sup() { probe time crate-sup run "$id"; }
candidate_run() { probe time crate run --rm "$image" probe true; }
candidate_bwrap() {
	probe time bwrap --unshare-all --bind "$rootfs" / --proc /proc --dev /dev --tmpfs /run --hostname here /bin/probe true
}
candidate_crun() { probe time crun --root "$work/crun" --cgroup-manager=disabled run --bundle "$work/bundle" "bench-$RANDOM$RANDOM"; }

bench_start() {
	rootfs=$work/rootfs image=$CRATE_REGISTRY/busybox:1
	mkdir -p "$rootfs" "$work/bundle"
	crate pull --quiet "$image" >/dev/null
	id=$(crate create "$image" probe true)
	crate-sup run "$id"
	# The same files for the peers.
	crate run --rm "$image" tar -cf - bin etc home tmp usr | tar -xf - -C "$rootfs" --no-same-owner
	mkdir -p "$rootfs/proc" "$rootfs/dev" "$rootfs/sys" "$rootfs/run"
	(cd "$work/bundle" && crun spec --rootless)
	jq --arg rootfs "$rootfs" --argjson uid "$(id -u)" --argjson gid "$(id -g)" '.process.args = ["/bin/probe", "true"] | .process.terminal = false | .root = {path: $rootfs, readonly: false}
		| .linux.namespaces |= (map(select(.type != "network")) + [{type: "network"}])
		| .linux.uidMappings = [{containerID: 0, hostID: $uid, size: 1}] | .linux.gidMappings = [{containerID: 0, hostID: $gid, size: 1}]' "$work/bundle/config.json" >"$work/new"
	mv "$work/new" "$work/bundle/config.json"
	rounds 2 spawn sup run bwrap crun
	rm -f "$times"/*
	rounds "${ROUNDS:-30}" spawn sup run bwrap crun
	echo "start and end of a static program that does nothing; medians of ${ROUNDS:-30}, as $(id -un); ratio to bubblewrap"
	table bwrap spawn='no container' sup='crate-sup run ID' run='crate run --rm IMAGE' \
		bwrap="bwrap --unshare-all ($(bwrap --version))" crun="crun run ($(crun --version | sed -n 's/^crun version //p'))"
}

# --- pull into an empty store on tmpfs, as root ---

candidate_pull_crate() {
	rm -rf "$CRATE_ROOT"
	probe time sh -c 'crate-fetch --quiet --layers "$1" | crate-sup unshare crate-store unpack - >/dev/null' sh "$image"
}
podman_pull() {
	[ ! -d "$CRATE_STAGE/podman" ] || podman --root "$CRATE_STAGE/podman" --runroot "$CRATE_STAGE/p" --storage-driver "$1" rmi -a -f >/dev/null 2>&1 || :
	rm -rf "$CRATE_STAGE/podman" "$CRATE_STAGE/p"
	probe time podman --root "$CRATE_STAGE/podman" --runroot "$CRATE_STAGE/p" --storage-driver "$1" pull --quiet --tls-verify=false "$image" 2>"$work/err" ||
		{ cat "$work/err" >&2; return 1; }
}
candidate_pull_overlay() { podman_pull overlay; }
candidate_pull_vfs() { podman_pull vfs; }

bench_pull() {
	[ "$(id -u)" = 0 ] || { echo 'bench.sh: the Debian image is made as root only' >&2; exit 1; }
	image=$CRATE_REGISTRY/debian:12
	rounds "${ROUNDS:-7}" pull_crate pull_overlay pull_vfs
	echo "pull and unpack of $(du -h --apparent-size target/test-cache/debian.tar | cut -f 1) of Debian from loopback into an empty store on $(stat -f -c %T "$work"); medians of ${ROUNDS:-7}, as $(id -un); ratio to podman with overlay"
	table pull_overlay pull_crate='crate-fetch --layers | crate-store unpack -' \
		pull_overlay="podman pull, overlay ($(podman --version | cut -d ' ' -f 3))" pull_vfs='podman pull, vfs'
}

what=$1
# The start is an ordinary user's: when root asks, it is measured as one with a range of ids and as one without, with an
# empty cgroup v2 tree in a mount namespace of the bench's own, for crun refuses to start on hosts of the hybrid kind.
if [ "$what" = start ] && [ "$(id -u)" = 0 ]; then
	cd "$CRATE_STAGE"
	for user in crate-ranges crate-single; do
		unshare --mount --propagation private sh -c 'umount -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; exec "$@"' sh \
			runuser -u "$user" -- env -i PATH="$PATH" CRATE_STAGE="$CRATE_STAGE" CRATE_REGISTRY="$CRATE_REGISTRY" ROUNDS="${ROUNDS:-}" \
			bash "$CRATE_STAGE/tests/bench.sh" start
	done
	exit
fi
work=$CRATE_STAGE/tmp/bench.$(id -un)
times=$work/times
mkdir -p "$times" "$work/home"
PATH=$CRATE_STAGE/bin:$PATH
export PATH HOME=$work/home CRATE_ROOT=$work/store CRATE_RUN=$work/run
export -n CRATE_STAGE CRATE_REGISTRY
"bench_$what"
