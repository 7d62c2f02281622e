#!/bin/bash
# save.sh: images as archives, for other tools and other stores.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

DIGEST=$(jq -r '.manifests[0].digest' "$IMAGES/busybox/index.json")
CONFIG=$(jq -r .config.digest "$IMAGES/busybox/blobs/${DIGEST/://}")
NAME=docker.io/library/busybox:1

store() { # NAME: goes on with another store
	CRATE_ROOT=$WORK/$1
	CRATE_RUN=$WORK/$1.run
}

references() { crate images --format '{{.Repository}}:{{.Tag}}' | sort | tr '\n' ' '; }

fsck_clean() { expect_code 0 crate-store fsck; }

test_by_pipe_to_another_store() {
	local format
	store one
	crate pull -q "oci:$IMAGES/busybox" >/dev/null
	for format in docker-archive oci-archive; do
		store one
		crate save --format "$format" busybox:1 | (store "two-$format" && crate load) >digest
		store "two-$format"
		grep -q -x -E 'sha256:[0-9a-f]{64}' digest || { cat digest; fail 'it printed no digest'; }
		same 'lines' "$(wc -l <digest)" 1
		same 'references' "$(references)" "$NAME "
		# Unpacked already: nothing need be brought.
		expect added crate run --rm --pull never busybox:1 cat /added/file
		same 'config' "$(crate inspect busybox:1 | jq -c '.[0].Config')" "$(jq -c .config "$IMAGES/busybox/blobs/${CONFIG/://}")"
		fsck_clean
	done
	# As they are stored, the blobs and so the digest are the same.
	expect "$DIGEST" crate inspect -f '{{.Id}}' busybox:1
}

test_same_bytes_whoever_writes_them() {
	local format
	store one
	crate pull -q "oci:$IMAGES/busybox" >/dev/null
	crate pull -q "oci:$IMAGES/config" >/dev/null
	store two
	(umask 077 && crate pull -q "oci:$IMAGES/config" >/dev/null && crate pull -q "oci:$IMAGES/busybox" >/dev/null)
	crate tag busybox:1 other:1
	for format in docker-archive oci-archive; do
		store one
		crate save --format "$format" -o "one.$format" busybox:1 busybox:config
		store two
		(umask 027 && TZ=Asia/Tokyo crate save --format "$format" busybox:config busybox:1 busybox:1 >"two.$format")
		cmp "one.$format" "two.$format"
		tar -tvf "one.$format" --numeric-owner --utc >list
		[ "$(grep -c -E '^(-rw-r--r--|drwxr-xr-x) 0/0 +[0-9]+ 1970-01-01 00:00 ' list)" = "$(wc -l <list)" ] || { cat list; fail 'owners or times'; }
		sort -c <(tar -tf "one.$format" | grep /) || fail 'entries are not in order'
	done
	# By digest there is no name; another name makes another archive.
	expect_code 0 crate save "$DIGEST"
	tar -xOf "$WORK/out" manifest.json | jq -e '.[0].RepoTags == []' >/dev/null || fail 'a digest has a tag'
	expect_code 0 crate save --format oci-archive other:1
	tar -xOf "$WORK/out" index.json | jq -e '.manifests[0].annotations["io.containerd.image.name"] == "docker.io/library/other:1"' >/dev/null
}

test_skopeo_reads_and_writes_them() {
	needs skopeo
	own_store
	crate pull -q "oci:$IMAGES/busybox" >/dev/null
	crate save -o d.tar busybox:1
	crate save --format oci-archive -o o.tar busybox:1
	skopeo copy --quiet --insecure-policy "docker-archive:d.tar:$NAME" oci:d:x
	skopeo copy --quiet --insecure-policy "oci-archive:o.tar:$NAME" oci:o:x
	same 'config of docker-archive' "$(skopeo inspect --raw oci:d:x | jq -r .config.digest)" "$CONFIG"
	same 'digest of oci-archive' "$(jq -r '.manifests[0].digest' o/index.json)" "$DIGEST"
	skopeo copy --quiet --insecure-policy "docker-archive:d.tar:$NAME" docker-archive:d2.tar:busybox:back
	skopeo copy --quiet --insecure-policy "oci-archive:o.tar:$NAME" oci-archive:o2.tar:busybox:again
	crate load -q -i d2.tar >/dev/null
	expect "$DIGEST" crate load -q -i o2.tar
	expect added crate run --rm --pull never busybox:back cat /added/file
	same 'references' "$(references)" "$NAME docker.io/library/busybox:again docker.io/library/busybox:back "
	fsck_clean
}

# E22: an archive takes no name of the store for another image.
test_names_do_not_move() {
	own_store
	crate pull -q "oci:$IMAGES/config" >/dev/null
	crate tag busybox:config busybox:1
	crate save -o config.tar busybox:config
	crate-store load -q --as other:1 "oci:$IMAGES/busybox" >/dev/null
	local before
	before=$(crate images --no-trunc)
	for source in "oci:$IMAGES/busybox" "oci-archive:$IMAGES/busybox.oci.tar"; do
		expect_code 4 crate-store load "$source"
		one_line crate-store "$NAME is another image here" 'hint: load it with --force'
		nothing_out
		expect_code 4 crate pull "$source"
	done
	expect_code 4 crate load -i "$IMAGES/busybox.oci.tar"
	same 'images' "$(crate images --no-trunc)" "$before"
	# What a source brought under a name, it may bring anew; what the user made of that, or another source, not.
	mkdir own other
	cp -a "$IMAGES/config/." own
	cp -a "$IMAGES/busybox/." other
	jq -c '.manifests[0].annotations["org.opencontainers.image.ref.name"] = "own:1"' "$IMAGES/config/index.json" >new
	cat new >own/index.json
	expect_code 0 crate pull -q oci:own
	expect_code 0 crate tag own:1 busybox:own
	cp -a "$IMAGES/busybox/blobs" own
	for name in own:1 busybox:own; do
		jq -c --arg name "$name" '.manifests[0].annotations["org.opencontainers.image.ref.name"] = $name' \
			"$IMAGES/busybox/index.json" | tee own/index.json >other/index.json
		expect_code 4 crate pull oci:other
		if [ "$name" = own:1 ]; then
			expect_code 0 crate run --rm oci:own true
			expect "$DIGEST" crate inspect -f '{{.Id}}' own:1
		else
			expect_code 4 crate pull oci:own
		fi
	done
	expect_code 0 crate rmi own:1 busybox:own
	# The same image is no other one, however its layers are packed.
	expect_code 0 crate load -i config.tar
	expect "$DIGEST" crate load --force -i "$IMAGES/busybox.oci.tar"
	expect "$DIGEST" crate inspect -f '{{.Id}}' busybox:1
	expect_code 0 crate pull -q --force "oci:$IMAGES/busybox"
	# Nor does an image take the name that is another's digest.
	mkdir layout
	tar -xf "$IMAGES/busybox.oci.tar" -C layout
	jq -c '.manifests[0].annotations["org.opencontainers.image.ref.name"] = "busybox@sha256:" + ("0" * 64)' layout/index.json >new
	rm -f layout/index.json && mv new layout/index.json
	expect_code 6 crate-store load "oci:$PWD/layout"
	one_line crate-store 'carries that name'
	fsck_clean
}

# S7: what is damaged is told before the end of the archive, and no file is made of it.
test_damage_is_refused() {
	own_store
	crate pull -q "oci:$IMAGES/busybox" >/dev/null
	crate save -o whole.tar busybox:1
	local layer format
	for format in docker-archive oci-archive; do
		layer=$CRATE_ROOT/blobs/$(jq -r '.layers[0].digest' "$CRATE_ROOT/blobs/${DIGEST/://}" | tr : /)
		cp -f "$layer" kept
		chmod u+w "$layer" && printf X | dd of="$layer" bs=1 seek=100000 conv=notrunc status=none
		cp whole.tar a.tar
		expect_code 6 crate save --format "$format" -o a.tar busybox:1
		one_line crate-store 'is damaged' 'hint: pull the image again'
		cmp a.tar whole.tar
		expect_code 3 crate save --format "$format" busybox:1
		nothing_out
		same 'files' "$(find . -maxdepth 1 -name 'a.tar*' | wc -l)" 1
		install -m 444 kept "$layer"
	done
	expect_code 0 crate save busybox:1
	cmp "$WORK/out" whole.tar
}

test_wrong_arguments_are_told() {
	own_store
	expect_code 2 crate save
	one_line crate-store 'save wants an image'
	expect_code 2 crate save --format tar busybox:1
	expect_code 3 crate save no-such
	expect_code 3 crate save -o a.tar no-such
	[ ! -e a.tar ] || fail 'there is a file of nothing'
	expect_code 1 crate save -o none/a.tar no-such
	expect_code 1 crate load -i none.tar
	expect_code 6 crate load -i "$TESTS/lib.sh"
}

test_who_reads_no_more_ends_it() {
	own_store
	crate pull -q "oci:$IMAGES/busybox" >/dev/null
	crate save busybox:1 2>err | head -c 100 >/dev/null || :
	[ ! -s err ] || { cat err; fail 'a reader that has ended is told of'; }
	expect_code 1 crate save -o /dev/full busybox:1
	one_line crate-store 'No space left'
}
