#!/bin/bash
# archives.sh: images from OCI layouts, archives and standard input, without a registry.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

DIGEST=$(jq -r '.manifests[0].digest' "$IMAGES/busybox/index.json")

references() { jq -r '.manifests[].annotations["org.opencontainers.image.ref.name"]' "$CRATE_ROOT/index.json" | sort | tr '\n' ' '; }

test_layout() {
	own_store
	expect "$DIGEST" crate pull "oci:$IMAGES/busybox"
	same 'reference' "$(references)" 'docker.io/library/busybox:1 '
	expect hi crate run --rm --pull never busybox:1 echo hi
	expect "$DIGEST" crate-fetch "oci:$IMAGES/busybox:busybox:1"
	expect_code 3 crate-fetch "oci:$IMAGES/busybox:no-such"
	one_line crate-store no-such
}

test_layout_as_another_reference() {
	own_store
	expect "$DIGEST" crate-fetch --as example.com/a/b:c "oci:$IMAGES/busybox"
	same 'reference' "$(references)" 'example.com/a/b:c '
}

test_oci_archive() {
	own_store
	expect "$DIGEST" crate-fetch "oci-archive:$IMAGES/busybox.oci.tar"
	same 'reference' "$(references)" 'docker.io/library/busybox:1 '
	expect_code 0 crate run --rm busybox:1 true
	fsck_clean
}

test_docker_archive() {
	own_store
	expect_code 0 crate-fetch "docker-archive:$IMAGES/busybox.docker.tar"
	line '^sha256:[0-9a-f]{64}$'
	same 'reference' "$(references)" 'docker.io/library/busybox:docker '
	expect added crate run --rm --pull never busybox:docker cat /added/file
	fsck_clean
}

test_standard_input() {
	own_store
	crate-fetch - <"$IMAGES/busybox.oci.tar" >digest
	same 'digest' "$(cat digest)" "$DIGEST"
	# Compressed, as it is often kept; through a pipe, which cannot seek.
	own_store
	gzip -c "$IMAGES/busybox.docker.tar" | crate pull - >digest
	expect hi crate run --rm --pull never busybox:docker echo hi
}

test_layers_contract() {
	own_store
	expect_code 0 crate-fetch --layers "oci-archive:$IMAGES/busybox.oci.tar"
	same 'last line' "$(tail -n 1 "$WORK/out")" "$DIGEST"
	same 'lines' "$(wc -l <"$WORK/out")" 3
	same 'layer lines' "$(head -n -1 "$WORK/out" | grep -c -E '^sha256:[0-9a-f]{64} sha256:[0-9a-f]{64}$')" 2
}

test_run_takes_them_directly() {
	own_store
	expect hi crate run --rm "oci-archive:$IMAGES/busybox.oci.tar" echo hi
	expect hi crate run --rm "docker-archive:$IMAGES/busybox.docker.tar" echo hi
}

test_cut_archive_is_refused() {
	own_store
	local kind
	for kind in oci docker; do
		head -c 1500000 "$IMAGES/busybox.$kind.tar" >cut.tar
		expect_code 6 crate-fetch "$kind-archive:$PWD/cut.tar"
		nothing_out
		same 'references' "$(references)" ''
		fsck_clean
	done
	head -c 5 /dev/zero >zero.tar
	expect_code 6 crate-fetch "oci-archive:$PWD/zero.tar"
	expect_code 6 crate-fetch - <"$TESTS/lib.sh"
}

test_flipped_bit_is_refused() {
	own_store
	cp "$IMAGES/busybox.oci.tar" bad.tar
	chmod u+w bad.tar
	printf 'X' | dd of=bad.tar bs=1 seek=1000000 conv=notrunc status=none
	expect_code 6 crate-fetch "oci-archive:$PWD/bad.tar"
	nothing_out
	fsck_clean
}

test_missing_file_is_told() {
	own_store
	local source
	for source in "oci:$PWD/none" "oci-archive:$PWD/none" "docker-archive:$PWD/none"; do
		run crate-fetch "$source"
		case $code in 1 | 3) ;; *) show; fail "exit code $code" ;; esac
		nothing_out
		has "$WORK/err" "$PWD/none"
	done
}
