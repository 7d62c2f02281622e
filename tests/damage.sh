#!/bin/bash
# damage.sh: what is wrong in a store is told by name, costs only its own image, and goes by pulling that again.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

TARGET=localhost/target:1

# A store of its own with two images; the layer "unique" is the target's alone.
damaged_store() {
	own_store
	mkdir -p unique/etc
	printf 'some text that is long enough to be cut\n' >unique/etc/unique
	tar -cf unique.tar -C unique .
	sh "$TESTS/image.sh" layout layout target '{"Env":["PATH=/bin"]}' "$IMAGES/busybox.tar" unique.tar
	have "$BUSYBOX"
	bring
}

bring() { expect_code 0 crate pull --quiet --as "$TARGET" oci:layout:target; }

blob() { echo "$CRATE_ROOT/blobs/sha256/${1#sha256:}"; }
manifest() { jq -r '.manifests[0].digest' layout/index.json; }
of_manifest() { jq -r "$1" "layout/blobs/sha256/$(manifest | cut -d : -f 2)"; }

harm() { # WAY FILE: one of five ways to lose what a file holds
	in_userns sh -c '
		chmod u+w "$2"
		case $1 in
		flip) printf "\377" | dd of="$2" bs=1 seek=9 conv=notrunc 2>/dev/null ;;
		cut) truncate -s 9 "$2" ;;
		gone) rm "$2" ;;
		directory) rm "$2" && mkdir "$2" && echo x >"$2/file" ;;
		garbage) echo "{]" >"$2" ;;
		esac' sh "$@"
}

named() { # NAME: fsck finds what has this name
	expect_code 6 crate fsck --layers
	has "$WORK/out" "$1"
}

others_run() { expect hi crate run --rm --pull never "$BUSYBOX" echo hi; }

mended() {
	run crate fsck --layers --repair
	[ "$code" = 0 ] || [ "$code" = 6 ] || { show >&2; fail 'it cannot be mended'; }
	bring
	expect_code 0 crate fsck --layers
	expect "$(cat unique/etc/unique)" crate run --rm --pull never "$TARGET" cat /etc/unique
	others_run
}

# S7
test_damaged_blobs() {
	damaged_store
	local digest way
	for digest in "$(manifest)" "$(of_manifest .config.digest)" "$(of_manifest '.layers[1].digest')"; do
		for way in flip cut gone directory garbage; do
			harm "$way" "$(blob "$digest")"
			named "${digest#sha256:}"
			others_run
			mended
		done
	done
	# And such an image can be removed.
	harm flip "$(blob "$(manifest)")"
	expect_code 0 crate rmi "$TARGET"
	expect_code 0 in_userns crate-store gc
	expect_code 0 crate fsck --layers
}

# S7: a missing or a shortened blob is brought by a plain pull.
test_missing_and_short_blobs_need_no_repair() {
	damaged_store
	local digest way
	for digest in "$(manifest)" "$(of_manifest .config.digest)" "$(of_manifest '.layers[1].digest')"; do
		for way in cut gone; do
			harm "$way" "$(blob "$digest")"
			bring
			expect_code 0 crate fsck --layers
		done
	done
}

# S7
test_damaged_layers() {
	damaged_store
	local layer way
	layer=$(jq -r '.rootfs.diff_ids[1]' "layout/blobs/sha256/$(of_manifest .config.digest | cut -d : -f 2)")
	layer=$CRATE_ROOT/layers/${layer#sha256:}
	for way in flip cut gone directory garbage; do
		harm "$way" "$layer/etc/unique"
		expect_code 0 crate-store fsck
		named "${layer##*/}: /etc/unique"
		others_run
		mended
	done
	in_userns touch "$layer/etc/more"
	named '/etc/more does not belong to it'
	mended
	in_userns chmod 777 "$layer/etc/unique"
	named '/etc/unique has another mode'
	mended
	in_userns sh -c 'rm -rf "$1" && echo x >"$1"' sh "$layer"
	expect_code 6 crate-store fsck
	has "$WORK/out" "layers/${layer##*/}"
	mended
	# What is missing is unpacked again by whoever wants it. Those above it cannot be compared, which is no fault of theirs.
	in_userns rm -rf "$layer"
	expect_code 0 crate fsck --layers
	in_userns rm -rf "$CRATE_ROOT/layers/$(jq -r '.rootfs.diff_ids[0]' "$(blob "$(of_manifest .config.digest)")" | cut -d : -f 2)"
	expect_code 0 crate fsck --layers
	expect_code 0 crate run --rm --pull never "$TARGET" true
	expect_code 0 crate fsck --layers
}

test_a_damaged_layer_stays_while_a_container_runs_on_it() {
	damaged_store
	local layer id
	layer=$(jq -r '.rootfs.diff_ids[1]' "layout/blobs/sha256/$(of_manifest .config.digest | cut -d : -f 2)")
	id=$(crate run -d "$TARGET" probe wait)
	harm flip "$CRATE_ROOT/layers/${layer#sha256:}/etc/unique"
	expect_code 4 crate fsck --layers --repair
	one_line crate-store "${layer#sha256:}"
	expect_code 0 crate rm -f "$id"
	mended
}

# S7: nothing but the names of images is lost with index.json, and those come back by pulling, without a byte of a layer.
test_damaged_index() {
	damaged_store
	local way
	for way in flip cut gone directory garbage; do
		harm "$way" "$CRATE_ROOT/index.json"
		run crate-store images
		[ "$code" != 0 ] || fail "index.json: $way is not seen"
		one_line crate-store index.json
		case $way in flip|cut|garbage) has "$WORK/err" 'hint: crate fsck --repair' ;; esac
		expect_code 0 crate fsck --repair
		have "$BUSYBOX"
		mended
	done
}

# S7: the file that makes the directory a layout is made again, and index.json stays.
test_damaged_layout_file() {
	damaged_store
	rm -f "$CRATE_ROOT/oci-layout"
	others_run
	echo garbage >"$CRATE_ROOT/oci-layout"
	expect_code 1 crate-store images
	one_line crate-store oci-layout
	rm -f "$CRATE_ROOT/oci-layout"
	others_run
	expect_code 0 crate fsck
}

# S7: what a damaged container may use stays, and all else goes on.
test_a_damaged_bundle_stops_nothing() {
	damaged_store
	local id layer
	layer=$(jq -r '.rootfs.diff_ids[1]' "layout/blobs/sha256/$(of_manifest .config.digest | cut -d : -f 2)")
	layer=$CRATE_ROOT/layers/${layer#sha256:}
	id=$(crate create "$BUSYBOX" true)
	harm garbage "$CRATE_ROOT/containers/$id/config.json"
	expect_code 0 crate rmi "$TARGET"
	[ ! -e "$(blob "$(manifest)")" ] || fail 'the manifest stays'
	[ -d "$layer" ] || fail 'a layer is gone that a container may need'
	echo x >"$CRATE_ROOT/ingest/remains"
	expect_code 6 crate gc
	has "$WORK/err" "container ${id:0:12} cannot be read"
	[ ! -e "$CRATE_ROOT/ingest/remains" ] || fail 'gc left what is unfinished'
	[ -d "$layer" ] || fail 'a layer is gone that a container may need'
	others_run
	expect_code 0 crate rm "$id"
	expect_code 0 crate gc
	[ ! -d "$layer" ] || fail 'the layer stays'
	others_run
	expect_code 0 crate fsck
}

# S7
test_damaged_bundles() {
	damaged_store
	local id kept way
	kept=$(crate create "$TARGET" echo kept)
	for way in flip cut gone directory garbage; do
		id=$(crate create "$TARGET" true)
		harm "$way" "$CRATE_ROOT/containers/$id/config.json"
		expect_code 6 crate-store fsck
		has "$WORK/out" "${id:0:12}"
		others_run
		expect kept crate start -a "$kept"
		expect_code 0 crate ps -a
		has "$WORK/err" "$id"
		expect_code 0 crate rm "$id"
		expect_code 0 crate-store fsck
	done
}
