#!/bin/bash
# hardship.sh: a store that is read-only, moved, crowded or on an odd file system; odd clocks, umasks and environments.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# elsewhere FUNCTION COMMAND...: a function of this file, called by a shell that COMMAND starts (with a mount namespace of its own).
elsewhere() {
	local function=$1
	shift
	export CRATE_STAGE CRATE_REGISTRY KIND
	FUNCTION=$function "$@" bash -c '. "$0"; trap - EXIT; "$FUNCTION"' "$TESTS/hardship.sh" "$CASE"
}

# S8: what needs no writing works, and what does says in a line that it cannot.
test_S8_read_only_store() {
	only root
	own_store
	have "$BUSYBOX"
	crate create --name kept "$BUSYBOX" true >/dev/null
	elsewhere read_only unshare --mount --propagation private sh -c \
		'mount --bind "$CRATE_ROOT" "$CRATE_ROOT" && mount -o remount,bind,ro "$CRATE_ROOT" && exec "$@"' sh
}

read_only() {
	own_store
	expect_code 0 crate images
	line "$REG/busybox"
	expect_code 0 crate inspect "$BUSYBOX"
	expect_code 0 crate ps -a
	expect_code 0 crate inspect kept
	expect_code 0 crate-store fsck
	local verb
	for verb in "create $BUSYBOX true" "tag $BUSYBOX new" "rmi -f $BUSYBOX" "rm kept" gc "fsck --repair"; do
		# shellcheck disable=SC2086
		run crate-store $verb
		case $verb:$code in fsck*:0 | gc:0 | *:1) ;; *) show >&2; fail "$verb in a read-only store: $code" ;; esac
		[ "$code" = 0 ] || one_line crate-store 'Read-only file system'
	done
	expect_code 125 crate run --rm "$BUSYBOX" true
	has "$WORK/err" 'Read-only file system'
	expect_code 1 crate-fetch --quiet --pull always "$REG/busybox:config"
	one_line crate-fetch 'Read-only file system'
}

# S8: the same where the owner has taken the right to write away.
test_S8_store_without_the_right_to_write() {
	only ranges single
	own_store
	have "$BUSYBOX"
	crate create --name kept "$BUSYBOX" true >/dev/null
	in_userns chmod -R a-w "$CRATE_ROOT"
	local before verb
	before=$(in_userns find "$CRATE_ROOT" -printf '%p %s %T@\n' | sort)
	expect_code 0 crate images
	line "$REG/busybox"
	expect_code 0 crate inspect "$BUSYBOX"
	expect_code 0 crate ps -a
	line kept
	expect_code 0 crate inspect kept
	expect_code 0 crate-store fsck
	for verb in "create $BUSYBOX true" "tag $BUSYBOX new" "rmi -f $BUSYBOX" 'rm kept' 'rename kept new' "load oci:$IMAGES/busybox"; do
		# shellcheck disable=SC2086
		expect_code 1 crate-store $verb
		one_line crate-store 'Permission denied'
	done
	expect_code 1 crate-fetch --quiet --pull always "$REG/busybox:config"
	one_line crate-fetch 'Permission denied'
	same 'the store' "$(in_userns find "$CRATE_ROOT" -printf '%p %s %T@\n' | sort)" "$before"
}

# S9: a store on another file system, which is made and mounted for the case.
on_filesystem() { # MAKE FUNCTION
	local make=$1 code=0
	truncate -s 128M "$WORK/disk"
	$make "$WORK/disk" >/dev/null 2>&1 || skip "$make does not work here"
	mkdir -p "$WORK/mounted"
	elsewhere "$2" unshare --mount --propagation private sh -c \
		'mount -o loop "$0/disk" "$0/mounted" 2>/dev/null || exit 77; exec "$@"' "$WORK" || code=$?
	[ "$code" != 77 ] || skip 'no loop device can be mounted here'
	[ "$code" = 0 ] || fail "it does not work with $make"
}

test_on_ext4() {
	only root
	needs mkfs.ext4
	on_filesystem mkfs.ext4 on_disk
}

on_disk() {
	CRATE_ROOT=$WORK/mounted/store CRATE_RUN=$WORK/run
	expect hi crate run --rm "$BUSYBOX" echo hi
	expect_code 0 crate fsck --layers
	expect_code 0 crate rmi "$BUSYBOX"
	same 'what is left' "$(find "$CRATE_ROOT/blobs" "$CRATE_ROOT/layers" -type f | wc -l)" 0
}

# S10: files of 1970 and of the next century change nothing in what is kept and what goes.
test_odd_clocks() {
	own_store
	have "$BUSYBOX"
	local when blob
	blob=$(printf 'x' | sha256sum | cut -d ' ' -f 1)
	for when in 1970-01-01 2106-02-08; do
		in_userns find "$CRATE_ROOT/blobs" "$CRATE_ROOT/index.json" "$CRATE_ROOT/oci-layout" -exec touch -d "$when" {} +
		printf part >"$CRATE_ROOT/ingest/sha256-$blob"
		touch -d "$when" "$CRATE_ROOT/ingest/left.1"
		expect_code 0 in_userns crate-store gc
		[ -e "$CRATE_ROOT/ingest/sha256-$blob" ] || fail 'a fresh part of a blob is gone'
		[ ! -e "$CRATE_ROOT/ingest/left.1" ] || fail 'garbage stays'
		fsck_clean
		expect hi crate run --rm --pull never "$BUSYBOX" echo hi
	done
}

# S5: what another tool has just written stays for a while, though nothing leads to it. What crate has not: also where who
# published it was killed before it had made it read-only (S1).
test_what_other_tools_have_just_written_stays() {
	own_store
	crate-store images
	local blob
	blob=$CRATE_ROOT/blobs/sha256/$(printf 'x' | sha256sum | cut -d ' ' -f 1)
	printf x >"$blob"
	for mode in 600 644; do
		chmod "$mode" "$blob"
		expect_code 0 crate-store gc
		[ -e "$blob" ] || fail "a blob of mode $mode is gone"
	done
	for mode in 1600 444; do
		printf x >new && chmod "$mode" new && mv -f new "$blob"
		expect_code 0 crate-store gc
		[ ! -e "$blob" ] || fail "a blob of mode $mode stays"
	done
}

# S11: of a newer format nothing is read, changed or collected.
test_a_newer_store_is_left_alone() {
	own_store
	have "$BUSYBOX"
	echo '{"imageLayoutVersion":"2.0.0"}' >"$CRATE_ROOT/oci-layout"
	local before verb
	before=$(in_userns find "$CRATE_ROOT" -printf '%p %s %T@\n' | sort)
	for verb in images 'ps -a' gc "rmi $BUSYBOX" "tag $BUSYBOX x" fsck "create $BUSYBOX true"; do
		# shellcheck disable=SC2086
		expect_code 1 crate-store $verb
		one_line crate-store version
	done
	expect_code 1 crate-fetch --quiet "$BUSYBOX"
	same 'the store' "$(in_userns find "$CRATE_ROOT" -printf '%p %s %T@\n' | sort)" "$before"
}

# S12: a store holds no path, inode or user of its own: copied or moved, it is the same store.
test_a_store_that_was_moved() {
	own_store
	have "$BUSYBOX"
	local id
	id=$(crate create --name job "$BUSYBOX" sh -c 'cat /kept 2>/dev/null; echo there >/kept')
	expect_code 0 crate start -a "$id"
	in_userns cp -a "$CRATE_ROOT" "$WORK/copied"
	in_userns tar -cf "$WORK/store.tar" --xattrs --xattrs-include='*' -C "$CRATE_ROOT" .
	in_userns mkdir "$WORK/from tar"
	in_userns tar -xpf "$WORK/store.tar" --xattrs --xattrs-include='*' -C "$WORK/from tar"
	mv "$CRATE_ROOT" "$WORK/moved"
	for CRATE_ROOT in "$WORK/copied" "$WORK/from tar" "$WORK/moved"; do
		expect_code 0 crate fsck --layers
		expect there crate start -a job
		expect hi crate run --rm --pull never "$BUSYBOX" echo hi
		expect_code 0 crate rm job
	done
}

# S13: what is made here by hand is what as many commands would have made.
test_ten_thousand_names_and_two_thousand_containers() {
	own_store
	have "$BUSYBOX"
	local id i
	jq -c '.manifests[0] as $m | .manifests = [range(10000) as $n | $m | .annotations["org.opencontainers.image.ref.name"] = "docker.io/library/n\($n):1"]' \
		"$CRATE_ROOT/index.json" >index.json
	cp index.json "$CRATE_ROOT/index.json"
	id=$(crate create n5:1 true)
	for ((i = 0; i < 2000; i++)); do printf '%064x\n' "$i"; done >ids
	( cd "$CRATE_ROOT/containers" && xargs -n 1 cp -r "$id" <"$WORK/ids" )
	expect_code 0 timeout 5 crate-store images -q
	expect_code 0 timeout 5 crate-store images
	same 'names' "$(grep -c '^docker.io/library/n\|^n[0-9]' "$WORK/out")" 10000
	expect_code 0 timeout 5 crate-store ps -a
	same 'containers' "$(wc -l <"$WORK/out")" 2002
	expect_code 0 timeout 5 crate-store tag n77:1 another
	expect_code 0 timeout 5 crate run --rm --pull never another true
}

# S14: modes are what they are to be, whatever the caller's umask.
test_umasks() {
	local mask
	for mask in 077 000 027; do
		own_store
		CRATE_ROOT=$WORK/store.$mask
		umask "$mask"
		have "$BUSYBOX"
		expect 1777 crate run --rm "$BUSYBOX" sh -c 'busybox stat -c %a /tmp'
		expect_code 0 crate-store tag "$BUSYBOX" again
		same "modes with umask $mask" "$(cd "$CRATE_ROOT" && stat -c '%a' . layers containers ingest blobs/sha256 | tr '\n' ' ')" '700 700 700 700 755 '
		same "blobs with umask $mask" "$(find "$CRATE_ROOT/blobs" -type f ! -perm 444 ! -perm 644 | wc -l)" 0
		expect_code 0 crate fsck --layers
	done
}

# S14
test_odd_environments() {
	have "$BUSYBOX"
	local bin
	bin=$(dirname "$(command -v crate)")
	[ "$KIND" = root ] || {
		expect_code 1 env -i PATH="$PATH" crate-store images
		one_line crate-store HOME
	}
	expect hi env -u HOME crate run --rm "$BUSYBOX" echo hi
	expect hi env -u CRATE_RUN XDG_RUNTIME_DIR="$WORK/missing" crate run --rm "$BUSYBOX" echo hi
	# Somebody else's is not used: /, which is root's, or root's own way.
	expect hi env -u CRATE_RUN XDG_RUNTIME_DIR=/ crate run --rm "$BUSYBOX" echo hi
	[ ! -e /crate ] || fail '/crate was made'
	[ "$KIND" = root ] || {
		expect_code 125 env CRATE_RUN=/usr crate run --rm "$BUSYBOX" echo hi
		has "$WORK/err" 'belongs to another user'
	}
	[ -x "$bin/crate" ]
}

# S5: nothing that is used, or about to be, is removed; everything ends, with a code that it may have.
test_S5_pull_load_rmi_gc_and_run_at_once() {
	own_store
	needs python3
	local seed seeds=1 operations=40
	[ "${STORM:-}" != full ] || seeds=$(seq 20) operations=500
	for seed in $seeds; do
		CRATE_ROOT=$WORK/store.$seed
		python3 "$TESTS/mix.py" "$seed" 8 "$operations" "$BUSYBOX" "$REG/busybox:config"
		rm -f saved.*
	done
}

# S6: who pulls, and who waits to collect, keeps nobody from running.
test_S6_run_while_a_slow_pull_goes_on() {
	. "$TESTS/serve.sh"
	own_store
	have "$BUSYBOX"
	mkdir bulk
	head -c 4000000 /dev/urandom >bulk/file
	tar -cf bulk.tar -C bulk .
	sh "$TESTS/image.sh" layout layout tag '{}' bulk.tar
	serve log --slow 20000
	crate-fetch --quiet "$server/bulk:tag" 2>pull.err &
	local pull=$! gc i
	started+=("$pull")
	eventually find_part
	crate gc >/dev/null 2>&1 &
	gc=$!
	started+=("$gc")
	for i in $(seq 20); do
		expect "$i" timeout -k 1 20 crate run --rm --pull never "$BUSYBOX" echo "$i"
	done
	kill -0 "$pull" || { cat pull.err >&2; fail 'the pull has ended'; }
	[ -n "$(find_part)" ] || fail 'the pull has nothing any more'
	fsck_clean
}

find_part() { find "$CRATE_ROOT/ingest" -name 'sha256-*' -size +0 | grep .; }
