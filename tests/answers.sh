#!/bin/bash
# answers.sh: what registries may answer, row by row: damaged, ambiguous, huge, moved meanwhile, for other platforms.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/serve.sh"

# P1: config, layer, manifest and index, each longer, shorter, with a bit flipped; by digest and by tag.
test_damaged_answers() {
	own_store
	local of fault number=0
	python3 "$TESTS/documents.py" image "$WORK/layout" tag 2 1000
	python3 "$TESTS/documents.py" index "$WORK/layout" index tag
	for of in config layer manifest index; do
		for fault in --flip --short --long; do
			serve "log$((number += 1))" --of "$of" "$fault"
			CRATE_ROOT=$WORK/store.$number
			refused "$server/x:index"
			refused "$server/x@$(jq -r '.manifests[1].digest' "$WORK/layout/index.json")"
			[ "$of" = index ] || refused "$server/x:tag"
			kill "${started[-1]}"
		done
	done
}

# P1: sizes that are not those of their descriptors; a zero and the most that a number holds among them.
test_wrong_sizes() {
	own_store
	local size number=0
	python3 "$TESTS/documents.py" image "$WORK/layout" tag 1 1000
	for size in -1000 -999 -1 1 1048576 18446744073709550615 18446744073709550616 -1001; do
		serve "log$((number += 1))" --size "$size"
		refused "$server/x:tag"
		kill "${started[-1]}"
	done
	# A number that a size can be, and for which there is no room.
	serve log --size 9223372036854774807
	expect_code 1 crate-fetch --quiet "$server/x:tag"
	one_line crate-fetch 'are free in'
	clean
}

# P3: what one reader takes for an index and another for a manifest, or in two ways otherwise, is neither.
test_ambiguous_documents() {
	own_store
	local path
	python3 "$TESTS/documents.py" image "$WORK/layout" tag 2 1000
	python3 "$TESTS/documents.py" ambiguous "$WORK/layout" "$WORK/bodies"
	serve log --bodies "$WORK/bodies"
	for path in "$WORK"/bodies/body*; do
		[ "${path%.type}" = "$path" ] || continue
		expect_code 6 crate-fetch --quiet "$server/x:${path##*/}"
		one_line crate-fetch
	done
	clean
	same 'blobs' "$(requests log /blobs/)" 0
	# The documents that these are made of are taken.
	cp "$WORK/layout/blobs/sha256/$(jq -r '.manifests[0].digest' "$WORK/layout/index.json" | cut -d : -f 2)" "$WORK/bodies/true"
	expect_code 0 crate-fetch --quiet "$server/x:true"
}

# P3: a layout's documents are read by the same rule.
test_ambiguous_layouts() {
	own_store
	local path digest number=0
	python3 "$TESTS/documents.py" image "$WORK/layout" tag 2 1000
	python3 "$TESTS/documents.py" ambiguous "$WORK/layout" "$WORK/bodies"
	for path in "$WORK"/bodies/body*; do
		[ -e "$path.type" ] || continue
		digest=$(sha256sum <"$path" | cut -d ' ' -f 1)
		cp "$path" "$WORK/layout/blobs/sha256/$digest"
		jq -n --arg type "$(cat "$path.type")" --arg digest "sha256:$digest" --argjson size "$(stat -c %s "$path")" \
			'{schemaVersion: 2, manifests: [{mediaType: $type, digest: $digest, size: $size}]}' >"$WORK/layout/index.json"
		expect_code 6 crate-fetch --quiet --as x "oci:$WORK/layout"
		one_line crate-store
		number=$((number + 1))
	done
	[ "$number" -ge 30 ] || fail "only $number documents"
	same 'references' "$(jq -c .manifests "$CRATE_ROOT/index.json")" '[]'
}

test_fifo_in_a_layout() {
	own_store
	local layer
	python3 "$TESTS/documents.py" image "$WORK/layout" tag 1 1000
	layer=$(find "$WORK/layout/blobs" -size 1000c)
	rm "$layer"
	mkfifo "$layer"
	expect_code 6 timeout 20 crate-fetch --quiet --as x "oci:$WORK/layout"
	one_line crate-store
	rm "$WORK/layout/index.json"
	mkfifo "$WORK/layout/index.json"
	expect_code 1 timeout 20 crate-fetch --quiet --as x "oci:$WORK/layout"
	clean
}

# P6: a digest of the registry's own making is none before it is read as one.
test_digests_in_headers_and_indexes() {
	own_store
	local digest number=0
	python3 "$TESTS/documents.py" image "$WORK/layout" tag 1 1000
	mkdir -p "$WORK/bodies" "$WORK/canary"
	for digest in ../../canary/x sha256:../../canary/x 'sha256:%2e%2e' "sha256:$(printf '%064d' 0 | sed 's/^.../..\//')" \
		"sha512:$(printf '%064d' 0)" "sha256:$(printf '%065d' 0)" "SHA256:$(printf '%064d' 0)" "sha256:$(printf '%063d' 0)\\\\u0000" '' /; do
		printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"%s","size":2}]}' "$digest" \
			>"$WORK/bodies/n$number"
		number=$((number + 1))
	done
	serve log --bodies "$WORK/bodies"
	while [ "$number" -gt 0 ]; do
		number=$((number - 1))
		refused "$server/x:n$number"
	done
	same 'requests other than by tag' "$(requests log '/manifests/[^n]|/blobs/')" 0
	same 'canary' "$(ls "$WORK/canary")" ''
}

# P7: documents that cost a careless reader all its memory or time.
test_huge_documents() {
	own_store
	local path
	mkdir "$WORK/layout"
	echo '{"manifests":[]}' >"$WORK/layout/index.json"
	python3 "$TESTS/documents.py" huge "$WORK/bodies"
	serve log --bodies "$WORK/bodies"
	for path in "$WORK"/bodies/*; do
		within 64 timeout 20 crate-fetch --quiet "$server/x:${path##*/}"
		[ "$code" = 6 ] || { show "${path##*/}" >&2; fail "exit code $code"; }
		one_line crate-fetch
	done
	clean
}

# P11: after the first answer everything is asked for by digest, so a tag that moves meanwhile is one image or the other.
test_tag_that_moves() {
	own_store
	local one two
	python3 "$TESTS/documents.py" image "$WORK/layout" one 2 1000 a
	python3 "$TESTS/documents.py" image "$WORK/layout" two 2 1000 b
	python3 "$TESTS/documents.py" index "$WORK/layout" tag one
	python3 "$TESTS/documents.py" index "$WORK/layout" tag two
	one=$(jq -r '.manifests[0].digest' "$WORK/layout/index.json") two=$(jq -r '.manifests[1].digest' "$WORK/layout/index.json")
	serve log --moving
	expect "$one" crate-fetch --quiet "$server/x:tag"
	same 'requests by tag' "$(requests log /manifests/tag)" 1
	same 'requests by digest' "$(requests log /manifests/sha256:)" 1
	# HEAD says two, and the GET after it one: nothing has changed.
	expect "$one" crate-fetch --quiet "$server/x:tag"
	# HEAD says two, and one is all that comes: fetched anew elsewhere, each is whole.
	CRATE_ROOT=$WORK/other
	expect "$two" crate-fetch --quiet "$server/x:tag"
	expect "$two" crate-fetch --quiet "$server/x:tag"
	fsck_clean
}

# P12: the best of 25 indexes for a platform, in whatever order they have it, and what they have where nothing suits.
test_platforms() {
	own_store
	local tag platform want
	python3 "$TESTS/documents.py" platforms "$WORK/layout" "$WORK/bodies" >wanted
	echo '{"manifests":[]}' >"$WORK/layout/index.json"
	serve log --bodies "$WORK/bodies"
	same 'indexes' "$(wc -l <wanted)" 25
	while read -r tag platform want; do
		if [ "$want" = none ]; then
			expect_code 3 crate-fetch --quiet --platform "$platform" "$server/x:$tag"
			one_line crate-fetch "$platform"
		else
			expect "$want" crate-fetch --quiet --platform "$platform" "$server/x:$tag"
		fi
	done <wanted
	expect_code 3 crate-fetch --platform linux/s390x "$server/x:$(awk '/s390x/ { print $1 }' wanted)"
	has "$WORK/err" 'hint: it has windows/amd64, linux/amd64, linux/arm64/v8'
	fsck_clean
}
