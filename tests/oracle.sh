#!/bin/bash
# oracle.sh: another runtime (crun, or what ORACLE names) runs the same bundles; the program inside must see the same.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

ORACLE=${ORACLE:-crun}

# by_oracle BUNDLE: run a bundle of the store. Its root filesystem is mounted as its annotation says, in a mount
# namespace that ends with it.
by_oracle() {
	local bundle=$1 lower
	lower=$(jq -r '.annotations["run.crate.layers"]' "$bundle/config.json" | sed "s|[0-9a-f]\{64\}|$CRATE_ROOT/layers/&|g")
	mkdir -p "$WORK/upper" "$WORK/work"
	unshare --mount sh -c '
		mount -t tmpfs none /sys/fs/cgroup &&
		mount -t overlay overlay -o "userxattr,lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$3/rootfs" &&
		exec "$4" --root "$2/oracle" --cgroup-manager=disabled run --bundle "$3" "oracle-$$"' \
		sh "$lower" "$WORK" "$bundle" "$ORACLE"
}

# compare FLAGS... -- PROBE-VERB...: both runtimes, one bundle.
compare() {
	local flags=() id
	while [ "$1" != -- ]; do flags+=("$1") && shift; done
	shift
	id=$(crate create "${flags[@]}" "$BUSYBOX" probe "$@")
	expect_code 0 by_oracle "$CRATE_ROOT/containers/$id"
	cp "$WORK/out" oracle.out
	expect_code 0 crate start -a "$id"
	cp "$WORK/out" ours.out
	crate rm "$id" >/dev/null
}

both_equal() {
	compare "$@"
	diff -u --label "$ORACLE" --label crate oracle.out ours.out || fail "the program sees something else: $*"
}

prepare() {
	only root
	needs "$ORACLE" jq
	have "$BUSYBOX"
}

test_environment_and_arguments() {
	prepare
	both_equal -e A=1 -e 'B=two words' -- env
	both_equal -- args 'a b' '' '*' --
}

test_directory() {
	prepare
	both_equal -- cwd
	both_equal -w /tmp -- cwd
	both_equal -w /not/there/yet -- cwd
}

test_identity() {
	prepare
	both_equal -- status Uid Gid
	both_equal -u 1000:50 -- status Uid Gid
	both_equal -u 4242:4242 -- status Uid Gid
}

test_confinement() {
	prepare
	both_equal -- status Cap NoNewPrivs
	both_equal -u 1000:1000 -- status Cap NoNewPrivs
	both_equal -- umask
	compare -- fds
	same 'descriptors' "$(cut -d ' ' -f 1 ours.out)" "$(cut -d ' ' -f 1 oracle.out)"
}

# The profile of config.json is one for any runtime. What libseccomp does not know, of which each version has more, and our
# own rules are left out.
test_system_calls() {
	prepare
	local file
	compare -v "$CRATE_STAGE/bin/calls:/bin/calls:ro" --entrypoint /bin/calls --
	for file in oracle ours; do
		grep -v -E '^(ioctl\.(sti|linux)|i386\.ioctl|x32|call\.|open_tree_attr|file_getattr|lsm_get|i386\.call)' "$file.out" >"$file.calls"
	done
	diff -u --label "$ORACLE" --label crate oracle.calls ours.calls || fail 'the calls do not end in the same way'
	same 'the calls that were compared' "$(($(wc -l <ours.calls) > 60))" 1
}

test_hostname() {
	prepare
	both_equal --hostname here -- hostname
}

# What config.json does not name (devices, files of /etc) each runtime mounts in its own way. That no other device opens
# in /dev is our own addition: crun has the devices cgroup for it, where it can be had.
mounts_of_the_config() {
	compare "$@" -- mounts
	local file
	for file in oracle ours; do
		grep -E '^/(proc|dev/pts|dev/shm|dev/mqueue|sys|tmp|mnt|scratch) ' "$file.out" |
			sed -E 's/,(size|nr_inodes|mode|gid)=[^, ]*//g; s/^(\/dev .*),nodev/\1/' >"$file.mounts"
	done
	diff -u --label "$ORACLE" --label crate oracle.mounts ours.mounts || fail 'the mounts are not the same'
}

test_mounts() {
	prepare
	mkdir folder
	mounts_of_the_config
	mounts_of_the_config --tmpfs /scratch -v "$PWD/folder:/mnt:ro"
}

test_masked_paths() {
	prepare
	local path
	for path in /proc/kcore /proc/keys /proc/timer_list /proc/sysrq-trigger /proc/sys /sys/firmware; do
		[ -e "$path" ] || continue
		compare -- stat "$path"
		# Of a masked path only its kind counts.
		same "$path" "$(awk '{ print substr($2, 1, 3) }' ours.out)" "$(awk '{ print substr($2, 1, 3) }' oracle.out)"
	done
}
