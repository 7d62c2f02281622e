#!/bin/bash
# layers.sh: an image of 64 layers with all that tar archives of images hold, beside what umoci makes of it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

LAYERS=$REG/layers:64

# in_merged CONTAINER CMD...: run CMD in the merged layers of a container, as the root that unpacked them. A page takes no
# 64 long names, so the layers get short ones.
in_merged() {
	local id=$1 number=0 hex lower=''
	shift
	mkdir -p "$WORK/l" "$WORK/merged"
	for hex in $(jq -r '.annotations["run.crate.layers"]' "$CRATE_ROOT/containers/$id/config.json" | tr ':' ' '); do
		ln -sfn "$CRATE_ROOT/layers/$hex" "$WORK/l/$number"
		lower=$lower${lower:+:}$number
		number=$((number + 1))
	done
	in_userns unshare --mount sh -c 'cd "$1/l" && mount -t overlay overlay -o "ro,userxattr,lowerdir=$2" "$1/merged" && cd "$1/merged" && shift 2 && exec "$@"' \
		sh "$WORK" "$lower" "$@"
}

test_tree_is_umoci_s() {
	[ -e "$IMAGES/layers/$KIND.tree" ] || skip 'the tree to compare with is made by root only'
	own_store
	have "$LAYERS"
	local options=(--no-nlink --no-dir-times)
	case $KIND in
	ranges) options+=(--no-special) ;;
	single) options+=(--no-special --squash) ;;
	esac
	local id
	id=$(crate create "$LAYERS" /x)
	in_merged "$id" python3 "$TESTS/tree.py" "${options[@]}" . >ours.tree
	diff -u --label umoci --label crate "$IMAGES/layers/$KIND.tree" ours.tree || fail 'the trees differ'
	fsck_clean
}

test_tree_in_a_container_is_the_merged_one() {
	own_store
	have "$LAYERS" "$BUSYBOX"
	local id
	id=$(crate create "$LAYERS" /x)
	in_merged "$id" find . -xdev ! -path './dev*' ! -path './proc*' ! -path './sys*' ! -path './run*' ! -path './etc*' | sort >merged.list
	crate run --rm -v /bin/busybox:/busybox "$LAYERS" /busybox find . -xdev ! -path './dev*' ! -path './proc*' ! -path './sys*' ! -path './run*' \
		! -path './etc*' | grep -v -x ./busybox | sort >inside.list
	diff -u merged.list inside.list || fail 'the container sees another tree'
}

test_containers_share_layers() {
	own_store
	have "$LAYERS"
	crate create "$LAYERS" /x >/dev/null
	local before after
	before=$(store_bytes)
	crate create "$LAYERS" /x >/dev/null
	after=$(store_bytes)
	[ $((after - before)) -lt 65536 ] || fail "the second container takes $((after - before)) bytes"
}

test_unpack_is_done_once() {
	own_store
	crate-fetch --quiet "$LAYERS" >digest
	in_userns crate-store unpack "$LAYERS" >first
	same 'digest' "$(cat first)" "$(cat digest)"
	find "$CRATE_ROOT/layers" -maxdepth 1 -printf '%i %T@ %f\n' | sort >before
	in_userns crate-store unpack "$LAYERS" >second
	find "$CRATE_ROOT/layers" -maxdepth 1 -printf '%i %T@ %f\n' | sort >after
	diff -u before after || fail 'a layer was unpacked again'
	same 'ingest' "$(ls "$CRATE_ROOT/ingest")" ''
}

test_removal_leaves_no_layer() {
	own_store
	have "$LAYERS"
	expect_code 0 crate run --rm -v "$(command -v probe):/probe" "$LAYERS" /probe true
	expect_code 0 crate rmi "$LAYERS"
	same 'layers' "$(ls "$CRATE_ROOT/layers")" ''
	same 'blobs' "$(ls "$CRATE_ROOT/blobs/sha256")" ''
	same 'ingest' "$(ls "$CRATE_ROOT/ingest")" ''
}

# A layer is there as a whole or not at all.
test_killed_unpacks_are_taken_up_again() {
	own_store
	crate-fetch --quiet "$LAYERS" >digest
	local limit
	for limit in 0.005 0.01 0.02 0.04 0.08; do
		timeout -s KILL "$limit" crate-sup unshare crate-store unpack "$LAYERS" >/dev/null 2>&1 || :
		fsck_clean
	done
	expect "$(cat digest)" in_userns crate-store unpack "$LAYERS"
	expect_code 0 crate run --rm -v "$(command -v probe):/probe" "$LAYERS" /probe true
	expect_code 0 in_userns crate-store gc
	same 'ingest' "$(ls "$CRATE_ROOT/ingest")" ''
}
