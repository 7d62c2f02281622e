#!/bin/bash
# store.sh: the store between two commands, and beside other tools of the field.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

references() { jq -r '.manifests[].annotations["org.opencontainers.image.ref.name"]' "$CRATE_ROOT/index.json" | sort; }
blobs() { find "$CRATE_ROOT/blobs" -type f | wc -l; }
layers() { find "$CRATE_ROOT/layers" -mindepth 1 -maxdepth 1 | wc -l; }

test_it_is_an_oci_layout() {
	own_store
	have "$BUSYBOX"
	same 'layout' "$(jq -r .imageLayoutVersion "$CRATE_ROOT/oci-layout")" 1.0.0
	same 'references' "$(references)" "$BUSYBOX"
	same 'platform' "$(jq -r '.manifests[0].platform.os' "$CRATE_ROOT/index.json")" linux
	expect "$CRATE_ROOT" crate-store path
}

test_images_tag_rmi() {
	own_store
	have "$BUSYBOX" "$REG/busybox:config"
	expect_code 0 crate images
	line "$REG/busybox +1 "
	expect_code 0 crate-store images --format json
	jq -e . "$WORK/out" >/dev/null || fail 'not JSON'
	expect_code 0 crate-store tag "$BUSYBOX" other:2
	same 'references' "$(references | tr '\n' ' ')" "docker.io/library/other:2 $REG/busybox:1 $REG/busybox:config "
	local before
	before=$(blobs)
	expect_code 0 crate rmi "$BUSYBOX"
	same 'blobs after the first tag' "$(blobs)" "$before"
	expect hi crate run --rm --pull never other:2 echo hi
	expect_code 0 crate rmi other:2
	same 'references' "$(references)" "$REG/busybox:config"
	[ "$(blobs)" -lt "$before" ] || fail 'no blob was removed with the last tag'
	expect_code 3 crate-store inspect "$BUSYBOX"
	expect_code 0 crate run --rm -u 0 --entrypoint probe "$REG/busybox:config" true
	expect_code 0 crate rmi "$REG/busybox:config"
	same 'blobs at the end' "$(blobs)" 0
	same 'layers at the end' "$(layers)" 0
	fsck_clean
}

test_missing_things_are_3() {
	own_store
	local verb
	for verb in inspect rmi unpack create; do
		expect_code 3 crate-store "$verb" no-such-image
		nothing_out
		one_line crate-store no-such-image
	done
	expect_code 3 crate-store rm no-such-container
	expect_code 3 crate-store tag no-such-image other
}

test_inspect_tells_the_process() {
	have "$BUSYBOX"
	local id pid
	mkfifo out.pipe
	id=$(crate create "$BUSYBOX" sh -c 'echo up; probe wait')
	expect 0 sh -c "crate inspect $id | jq '.[0].State.Pid'"
	crate start -a "$id" >out.pipe &
	local supervisor=$!
	exec 8<out.pipe
	read -r -u 8 _
	pid=$(crate inspect "$id" | jq '.[0].State.Pid')
	same 'parent of the process' "$(sed 's/.*) . \([0-9]*\) .*/\1/' "/proc/$pid/stat")" "$supervisor"
	expect running sh -c "crate inspect $id | jq -r '.[0].State.Status'"
	kill -TERM "$supervisor"
	wait "$supervisor" || :
	exec 8<&-
	expect 0 sh -c "crate inspect $id | jq '.[0].State.Pid'"
	expect_code 0 crate rm "$id"
}

test_inspect() {
	own_store
	have "$REG/busybox:config"
	expect_code 0 crate-store inspect "$REG/busybox:config"
	jq -e . "$WORK/out" >/dev/null || fail 'not JSON'
	has "$WORK/out" FROM_IMAGE
	has "$WORK/out" SIGUSR1
}

test_create_without_layers_is_3() {
	own_store
	crate-fetch --quiet "$BUSYBOX" >/dev/null
	expect_code 3 crate-store create "$BUSYBOX" -- true
	nothing_out
	expect_code 0 in_userns crate-store unpack "$BUSYBOX"
	expect_code 0 crate-store create "$BUSYBOX" -- true
}

# A container is an OCI bundle.
test_bundle() {
	own_store
	have "$BUSYBOX"
	local id config
	id=$(crate create -e A=1 -w /w --hostname h "$BUSYBOX" echo hi)
	config=$CRATE_ROOT/containers/$id/config.json
	[ -d "$CRATE_ROOT/containers/$id/rootfs" ] || fail 'no rootfs'
	same 'args' "$(jq -c .process.args "$config")" '["echo","hi"]'
	same 'cwd' "$(jq -r .process.cwd "$config")" /w
	same 'hostname' "$(jq -r .hostname "$config")" h
	same 'version' "$(jq -r '.ociVersion | split(".")[0]' "$config")" 1
	jq -e '.process.env | index("A=1")' "$config" >/dev/null || fail 'A=1 is not in the environment'
}

test_second_container_costs_next_to_nothing() {
	needs_debian
	own_store
	have "$DEBIAN"
	crate create "$DEBIAN" true >/dev/null
	local before after
	before=$(store_bytes)
	crate create "$DEBIAN" true >/dev/null
	after=$(store_bytes)
	[ $((after - before)) -lt 65536 ] || fail "the second container takes $((after - before)) bytes"
}

test_skopeo_reads_it_in_place() {
	own_store
	have "$BUSYBOX"
	local policy=--insecure-policy
	expect_code 0 skopeo inspect $policy "oci:$CRATE_ROOT:$BUSYBOX"
	line '"Os": "linux"'
	expect_code 0 skopeo copy $policy --quiet "oci:$CRATE_ROOT:$BUSYBOX" "oci:$WORK/elsewhere:x"
	expect_code 0 crate run --rm "oci:$WORK/elsewhere:x" true
}

test_skopeo_writes_it_in_place() {
	own_store
	have "$BUSYBOX"
	expect_code 0 skopeo copy --insecure-policy --quiet "oci:$IMAGES/config:busybox:config" "oci:$CRATE_ROOT:new"
	expect '[x]' crate run --rm -u 0 new x
	fsck_clean
	expect_code 0 crate run --rm "$BUSYBOX" true
	# What another tool has just brought is not collected.
	expect_code 0 in_userns crate-store gc
	expect '[x]' crate run --rm -u 0 new x
	expect_code 0 crate rmi new
	expect_code 0 crate run --rm "$BUSYBOX" true
}

test_gc_removes_what_nothing_uses_and_no_more() {
	own_store
	have "$BUSYBOX"
	expect_code 0 crate run --rm "$BUSYBOX" true
	local blobs layers
	blobs=$(blobs) layers=$(layers)
	echo x >"$CRATE_ROOT/ingest/left.1234"
	mkdir -p "$CRATE_ROOT/ingest/layer.1234/etc"
	expect_code 0 in_userns crate-store gc
	same 'ingest' "$(ls "$CRATE_ROOT/ingest")" ''
	same 'blobs and layers' "$(blobs) $(layers)" "$blobs $layers"
	expect_code 0 crate run --rm --pull never "$BUSYBOX" true
}

# Layers of a container's image stay, whatever becomes of the image's name.
test_container_keeps_its_layers() {
	own_store
	have "$BUSYBOX"
	local id
	id=$(crate create "$BUSYBOX" echo hi)
	run crate rmi "$BUSYBOX"
	expect_code 0 in_userns crate-store gc
	expect hi crate start -a "$id"
	expect_code 0 crate rm "$id"
	run crate rmi "$BUSYBOX"
	expect_code 0 in_userns crate-store gc
	same 'layers' "$(layers)" 0
}

test_fsck_tells_a_flipped_bit() {
	own_store
	have "$BUSYBOX"
	fsck_clean
	local blob
	blob=$(find "$CRATE_ROOT/blobs" -type f -size +100k | head -n 1)
	chmod u+w "$blob"
	printf 'X' | dd of="$blob" bs=1 seek=5000 conv=notrunc status=none
	run crate-store fsck
	[ "$code" != 0 ] || fail 'fsck finds nothing'
	cat "$WORK/out" "$WORK/err" >all
	has all "${blob##*/}"
}

test_fsck_tells_a_missing_blob() {
	own_store
	have "$BUSYBOX"
	local blob
	blob=$(find "$CRATE_ROOT/blobs" -type f -size +100k | head -n 1)
	rm -f "$blob"
	run crate-store fsck
	[ "$code" != 0 ] || fail 'fsck finds nothing'
	# Another pull brings it back.
	expect_code 0 crate pull --quiet "$BUSYBOX"
	fsck_clean
}

test_foreign_directory_is_not_taken_for_a_store() {
	own_store
	mkdir -p "$CRATE_ROOT"
	echo mine >"$CRATE_ROOT/file"
	expect_code 1 crate-store images
	one_line crate-store "$CRATE_ROOT"
	same 'files' "$(ls "$CRATE_ROOT")" file
}

test_newer_store_is_refused() {
	own_store
	crate-store images >/dev/null
	echo '{"imageLayoutVersion":"2.0.0"}' >"$CRATE_ROOT/oci-layout"
	expect_code 1 crate-store images
	one_line crate-store
}

test_rm_removes_read_only_trees() {
	have "$BUSYBOX"
	local id
	id=$(crate create "$BUSYBOX" sh -c 'mkdir -p /d/e/f && echo x >/d/e/f/g && chmod 0 /d/e/f /d/e /d')
	expect_code 0 crate start -a "$id"
	expect "$id" crate rm "$id"
	[ ! -e "$CRATE_ROOT/containers/$id" ] || fail 'it is still there'
	same 'ingest' "$(ls "$CRATE_ROOT/ingest")" ''
}
