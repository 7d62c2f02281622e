#!/bin/bash
# pull.sh: images from a registry into the store.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

remote_digest() { skopeo inspect --raw --tls-verify=false "docker://$REG/$1" | sha256sum | cut -d ' ' -f 1; }

test_digest_is_all_of_stdout() {
	own_store
	expect "sha256:$(remote_digest busybox:1)" crate-fetch "$BUSYBOX"
	expect "sha256:$(remote_digest busybox:1)" crate pull "$BUSYBOX"
}

test_quiet_is_quiet() {
	own_store
	expect_code 0 crate-fetch --quiet "$BUSYBOX"
	[ ! -s "$WORK/err" ] || fail 'standard error is not empty'
}

test_blobs_are_exactly_the_registry_s() {
	own_store
	expect_code 0 crate-fetch "$BUSYBOX"
	local path sum
	for path in "$CRATE_ROOT"/blobs/sha256/*; do
		sum=$(sha256sum <"$path")
		same 'blob' "${path##*/}" "${sum%% *}"
	done
	same 'blobs' "$(ls "$CRATE_ROOT/blobs/sha256")" "$(ls "$IMAGES/busybox/blobs/sha256")"
	fsck_clean
}

test_digest_reference() {
	own_store
	local digest
	digest=sha256:$(remote_digest busybox:1)
	expect "$digest" crate-fetch "$REG/busybox@$digest"
	expect "$digest" crate-fetch "$REG/busybox:no-such-tag@$digest"
}

test_manifests_of_docker_and_oci() {
	own_store
	local tag
	for tag in docker zstd plain gzip-members config; do
		expect "sha256:$(remote_digest "busybox:$tag")" crate-fetch "$REG/busybox:$tag"
		expect_code 0 crate-sup unshare crate-store unpack "$REG/busybox:$tag"
	done
	fsck_clean
}

test_index_gives_the_host_s_platform() {
	own_store
	expect "sha256:$(remote_digest busybox:1)" crate-fetch "$REG/busybox:index"
	own_store
	expect "sha256:$(remote_digest busybox:config)" crate-fetch --platform linux/s390x "$REG/busybox:index"
	# What is not there is told with what is.
	expect_code 3 crate-fetch --platform linux/riscv64 "$REG/busybox:index"
	nothing_out
	one_line crate-fetch linux/riscv64 linux/s390x
}

test_missing_image_is_3() {
	own_store
	expect_code 3 crate-fetch "$REG/busybox:no-such-tag"
	nothing_out
	one_line crate-fetch "no such image: $REG/busybox:no-such-tag: "
	expect_code 3 crate-fetch "$REG/no/such/name"
	one_line crate-fetch
}

test_nobody_listening_is_5() {
	own_store
	expect_code 5 crate-fetch localhost:1/busybox
	nothing_out
	one_line crate-fetch localhost:1
}

test_bad_references_are_2() {
	own_store
	local text
	for text in '' 'UPPER' 'a b' 'name:' 'name:tag:tag' 'name@sha256:12' 'localhost:99999/a' '../a' 'a//b' '-a' "$(printf 'a\nb')"; do
		expect_code 2 crate-fetch -- "$text"
		nothing_out
	done
	[ ! -e "$CRATE_ROOT/oci-layout" ] || same 'references' "$(jq -c .manifests "$CRATE_ROOT/index.json")" '[]'
}

test_pull_never_and_missing() {
	own_store
	expect_code 3 crate-fetch --pull never "$BUSYBOX"
	one_line crate-fetch
	local digest
	digest=$(crate-fetch "$BUSYBOX")
	expect "$digest" crate-fetch --pull never "$BUSYBOX"
	expect "$digest" crate-fetch --pull missing "$BUSYBOX"
}

# Unpacking goes on beside the download: each layer is told when it is complete, the manifest last.
test_layers_are_told_as_they_land() {
	own_store
	local digest
	digest=sha256:$(remote_digest busybox:1)
	expect_code 0 crate-fetch --layers "$BUSYBOX"
	same 'last line' "$(tail -n 1 "$WORK/out")" "$digest"
	same 'layers' "$(head -n -1 "$WORK/out" | sort)" "$(jq -r '.layers[].digest' "$IMAGES/busybox/blobs/sha256/${digest#sha256:}" |
		paste -d ' ' - <(jq -r '.rootfs.diff_ids[]' "$IMAGES/busybox/blobs/sha256/$(jq -r .config.digest "$IMAGES/busybox/blobs/sha256/${digest#sha256:}" | cut -d : -f 2)") | sort)"
	# Those held are told too.
	cp "$WORK/out" "$WORK/first"
	expect_code 0 crate-fetch --layers "$BUSYBOX"
	same 'second time' "$(sort "$WORK/out")" "$(sort "$WORK/first")"
}

test_unpack_beside_the_download() {
	own_store
	crate-fetch --layers "$BUSYBOX" | crate-sup unshare crate-store unpack - >"$WORK/digest"
	same 'digest' "$(cat "$WORK/digest")" "sha256:$(remote_digest busybox:1)"
	expect_code 0 crate-store create "$BUSYBOX" -- true
	line '^[0-9a-f]{64}$'
}

test_many_at_once() {
	own_store
	local pids=() i
	for i in 1 2 3 4 5 6; do
		crate pull --quiet "$BUSYBOX" >"$WORK/$i.out" &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i" || fail 'one of several pulls failed'; done
	same 'digests' "$(cat "$WORK"/[1-6].out | sort -u)" "sha256:$(remote_digest busybox:1)"
	fsck_clean
}

# Killed at any moment, a pull leaves a clean store, and the next one succeeds.
test_killed_pulls_leave_a_clean_store() {
	needs_debian
	own_store
	local limit
	for limit in 0.02 0.05 0.1 0.2 0.4; do
		timeout -s KILL "$limit" crate pull --quiet "$DEBIAN" >/dev/null 2>&1 || :
		expect_code 0 crate-store fsck
	done
	expect_code 0 crate pull --quiet "$DEBIAN"
	expect_code 0 crate-store gc
	fsck_clean
	same 'left to ingest' "$(ls "$CRATE_ROOT/ingest")" ''
}

test_store_is_closed_to_others() {
	own_store
	expect_code 0 crate-fetch "$BUSYBOX"
	same 'mode' "$(stat -c %a "$CRATE_ROOT/layers" "$CRATE_ROOT/containers" | sort -u)" 700
}
