#!/bin/bash
# lock.sh: lock files, stamps for make, and how little a registry is asked.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/serve.sh"

# A layout with the images one and two, and indexes that lead to them; `moving` is each index in turn.
fixture() {
	own_store
	python3 "$TESTS/documents.py" image "$WORK/layout" one 2 1000 a
	python3 "$TESTS/documents.py" image "$WORK/layout" two 2 1000 b
	python3 "$TESTS/documents.py" index "$WORK/layout" moving one
	python3 "$TESTS/documents.py" index "$WORK/layout" moving two
	ONE=$(digest_of one) TWO=$(digest_of two)
	platform=linux/$(jq -r .architecture "$WORK/layout/blobs/sha256/$(jq -r .config.digest "$WORK/layout/blobs/sha256/${ONE#sha256:}" | cut -d : -f 2)")
}

digest_of() { jq -r --arg tag "$1" '.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == $tag).digest' "$WORK/layout/index.json"; }

# The tag leads to one before, and to two from now on.
move() { sed -i 's/"one"/"was"/; s/"two"/"one"/' "$WORK/layout/index.json"; }

test_locked_pull_asks_for_no_tag() {
	fixture
	serve log
	expect "$ONE" crate-fetch --quiet --lock lock "$server/x:one"
	same 'lock file' "$(cat lock)" "$server/x:one $platform $ONE"
	move
	own=$CRATE_ROOT CRATE_ROOT=$WORK/second
	: >log
	expect "$ONE" crate-fetch --quiet --locked lock "$server/x:one"
	same 'requests by tag' "$(requests log '/manifests/[^s]')" 0
	same 'requests for manifests' "$(requests log '/manifests/')" 1
	same 'reference' "$(crate-store images --format '{{.Repository}}:{{.Tag}}')" "$server/x:one"
	# Held so, nothing is asked for at all.
	: >log
	expect "$ONE" crate-fetch --quiet --locked lock "$server/x:one"
	same 'requests' "$(requests log .)" 0
	# What is held under the tag is not what is locked: the locked one is brought, or refused where nothing may be.
	expect "$TWO" crate-fetch --quiet "$server/x:one"
	expect_code 3 crate-fetch --quiet --pull never --locked lock "$server/x:one"
	one_line crate-fetch "$ONE"
	expect "$ONE" crate-fetch --quiet --pull missing --locked lock "$server/x:one"
	CRATE_ROOT=$own
	expect "$TWO" crate-fetch --quiet --lock lock "$server/x:one"
	same 'lock file' "$(cat lock)" "$server/x:one $platform $TWO"
}

test_lock_file_is_kept_in_order() {
	fixture
	serve log
	printf '# Of this project.\n\n# Why this one.\n%s\n' "zz.example/x:1 linux/amd64 $ONE" >lock
	crate-fetch --quiet --lock lock "$server/x:two" >/dev/null
	crate-fetch --quiet --lock lock "$server/x:moving" >/dev/null
	expect_code 3 crate-fetch --quiet --lock lock --platform linux/s390x "$server/x:one"
	same 'lock file' "$(cat lock)" "$(printf '# Of this project.\n\n%s\n%s\n# Why this one.\n%s\n' \
		"$server/x:moving $platform $ONE" "$server/x:two $platform $TWO" "zz.example/x:1 linux/amd64 $ONE")"
	# What has not changed is not written again.
	chmod 640 lock
	touch -d @1000000000 lock
	crate-fetch --quiet --lock lock "$server/x:two" >/dev/null
	same 'time and mode' "$(stat -c '%Y %a' lock)" '1000000000 640'
	same 'files beside' "$(find . -name '.lock*')" ''
}

test_lock_file_by_several_at_once() {
	fixture
	serve log
	local i pids=()
	for i in 1 2 3 4 5 6 7 8; do
		crate-fetch --quiet --lock lock "$server/x$i:one" >/dev/null &
		pids+=($!)
	done
	wait "${pids[@]}"
	same 'lines' "$(wc -l <lock)" 8
	LC_ALL=C sort -c lock || fail 'they are not sorted'
}

test_not_locked_is_3_and_malformed_6() {
	fixture
	serve log
	expect_code 3 crate-fetch --locked lock "$server/x:one"
	one_line crate-fetch lock
	has "$WORK/err" "hint: crate pull --lock lock"
	crate-fetch --quiet --lock lock "$server/x:one" >/dev/null
	: >log
	expect_code 3 crate-fetch --locked lock "$server/x:two"
	one_line crate-fetch "$server/x:two"
	has "$WORK/err" "hint: crate pull --lock lock"
	expect_code 3 crate-fetch --locked lock --platform linux/s390x "$server/x:one"
	cp lock good
	local bad
	for bad in 'x' "$server/x:one $platform" "$server/x:one $platform sha256:12" "$server/x:one $platform $TWO"; do
		{ cat good && echo "$bad"; } >lock
		expect_code 6 crate-fetch --locked lock "$server/x:one"
		one_line crate-fetch 'lock, line 2'
		cp lock before
		expect_code 6 crate-fetch --pull missing --lock lock "$server/x:one"
		cmp lock before || fail 'a malformed lock file was changed'
	done
	same 'requests' "$(requests log .)" 0
	expect_code 2 crate-fetch --locked good --lock good "$server/x:one"
	expect_code 2 crate-fetch --locked good oci:x
}

test_front_takes_lock_files() {
	own_store
	local held
	expect_code 0 crate pull --quiet --lock lock "$BUSYBOX" "$REG/busybox:config"
	same 'lines' "$(wc -l <lock)" 2
	held=$(crate pull --quiet "$BUSYBOX")
	expect "$held" crate pull --quiet --locked lock "$BUSYBOX"
	# The name is another image's now.
	crate-store tag "$REG/busybox:config" "$BUSYBOX" >/dev/null
	expect_code 125 crate create --quiet --pull never --locked lock "$BUSYBOX" true
	one_line crate-fetch "$held"
	expect hi crate run --quiet --rm --locked lock "$BUSYBOX" echo hi
	same 'image' "$(crate inspect --type=image --format '{{.Id}}' "$BUSYBOX")" "$held"
	expect_code 125 crate run --quiet --locked lock "$REG/busybox:docker" true
	rm lock
	expect_code 0 crate create --quiet --lock lock "$BUSYBOX" true
	has lock "$BUSYBOX "
}

# CONVENTIONS row 30, as it stands.
test_stamp_with_make() {
	needs make
	fixture
	serve log
	printf '%s\n' 'built: stamp; echo x >>$@' "stamp: FORCE; crate-fetch -q --stamp \$@ $server/x:one" \
		'said: FORCE; crate pull -q $(IMAGE) >$@' 'FORCE:' >Makefile
	make -s built >/dev/null
	same 'stamp' "$(cat stamp)" "$ONE"
	touch -d @1000000000 stamp
	touch -d @1000000001 built
	make -s built >/dev/null
	same 'stamp time' "$(stat -c %Y stamp)" 1000000000
	same 'built' "$(wc -l <built)" 1
	move
	make -s built >/dev/null
	same 'stamp' "$(cat stamp)" "$TWO"
	same 'built' "$(wc -l <built)" 2
	# A pull that fails leaves it as it is.
	touch -d @1000000000 stamp
	expect_code 3 crate-fetch --quiet --stamp stamp "$server/x:none"
	same 'stamp' "$(cat stamp) $(stat -c %Y stamp)" "$TWO 1000000000"
	same 'files beside' "$(find . -name '.stamp*')" ''
	# The front writes it when the layers are unpacked, too: what does not unpack is not done.
	rm stamp
	expect_code 6 crate pull --quiet --stamp stamp "$server/x:one"
	[ ! -e stamp ] || fail 'what does not unpack was stamped'
	expect_code 2 crate pull --quiet --stamp stamp "$BUSYBOX" "$server/x:one"
	expect "$(crate pull --quiet "$BUSYBOX")" crate pull --quiet --stamp stamp "$BUSYBOX"
	same 'stamp' "$(cat stamp)" "$(cat "$WORK/out")"
	make -s said "IMAGE=$BUSYBOX"
	same 'said' "$(cat said)" "$(jq -r '.manifests[0].digest' "$IMAGES/busybox/index.json")"
}

# A limit of pulls counts the GETs of manifests, not the HEADs.
test_head_before_get() {
	fixture
	serve log
	local tag
	for tag in one moving; do
		expect "$ONE" crate-fetch --quiet "$server/x:$tag"
		: >log
		expect "$ONE" crate-fetch --quiet "$server/x:$tag"
		expect_code 0 crate-fetch --quiet --pull newer --layers "$server/x:$tag"
		same 'layers and digest' "$(wc -l <"$WORK/out") $(tail -n 1 "$WORK/out")" "3 $ONE"
		same 'GETs of manifests' "$(requests log '^GET .*/manifests/')" 0
		same 'HEADs of manifests' "$(requests log '^HEAD .*/manifests/')" 2
	done
	# Not complete is not held.
	rm -f "$CRATE_ROOT/blobs/sha256/$(jq -r '.layers[0].digest' "$WORK/layout/blobs/sha256/${ONE#sha256:}" | cut -d : -f 2)"
	: >log
	expect "$ONE" crate-fetch --quiet "$server/x:one"
	same 'blobs' "$(requests log /blobs/)" 1
	move
	expect "$TWO" crate-fetch --quiet "$server/x:one"
	fsck_clean
}

test_head_is_not_needed() {
	fixture
	local fault
	for fault in --no-head --no-digest; do
		serve "log$fault" "$fault"
		expect "$ONE" crate-fetch --quiet "$server/x:one"
		expect "$ONE" crate-fetch --quiet "$server/x:one"
		same 'GETs of manifests' "$(requests "log$fault" '^GET .*/manifests/')" 2
	done
}

# An index may have gained something better for another platform than the one it was chosen for.
test_head_of_another_platform() {
	fixture
	python3 "$TESTS/documents.py" platforms "$WORK/layout" "$WORK/bodies" >wanted
	serve log --bodies "$WORK/bodies"
	local seven six
	seven=$(awk '$1 == "index1" { print $3 }' wanted) six=$(awk '$1 == "index2" { print $3 }' wanted)
	expect "$six" crate-fetch --quiet --platform linux/arm/v6 "$server/x:index1"
	expect "$seven" crate-fetch --quiet --platform linux/arm/v7 "$server/x:index1"
	expect "$six" crate-fetch --quiet --platform linux/arm/v6 "$server/x:index1"
}
