#!/bin/bash
# resume.sh: blobs that come in pieces, and many pulls of one image at once.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/serve.sh"

# What one read of a body brings at most: what has been written is kept, what is in memory is lost with the program.
WINDOW=$((1 << 20))

# An image `tag` with COUNT layers of SIZE bytes; sets digest.
fixture() { # COUNT SIZE
	own_store
	python3 "$TESTS/documents.py" image "$WORK/layout" tag "$@"
	digest=$(jq -r '.manifests[0].digest' "$WORK/layout/index.json")
}

ranges() { jq -r 'select(.path | test("/blobs/")) | .headers.Range // empty' "$1"; } # LOG

# kill_pull BYTES [FLAG...]: a pull from a slow server that is killed when so much of a blob is here; sets here
kill_pull() {
	local least=$1 pid
	shift
	crate-fetch --quiet "$@" "$server/x:tag" >/dev/null 2>&1 &
	pid=$!
	until find "$CRATE_ROOT/ingest" -type f -size "+${least}c" 2>/dev/null | grep -q .; do
		kill -0 "$pid" || fail 'it ended before it was killed'
		sleep 0.01
	done
	kill -KILL "$pid"
	wait "$pid" 2>/dev/null || :
	here=$(stat -c %s "$(find "$CRATE_ROOT/ingest" -type f -size "+${least}c" | head -n 1)")
}

# A killed pull of a large layer goes on from what was written: the second run is served the rest.
test_killed_pull_of_a_large_layer_resumes() {
	local size=40000000 here from
	fixture 1 "$size"
	serve slow --slow 30000000
	kill_pull $((1 + RANDOM * 900))
	serve fast
	expect "$digest" crate-fetch "$server/x:tag"
	has "$WORK/err" ' were here'
	from=$(ranges fast | sed 's/^bytes=\([0-9]*\)-$/\1/')
	[ $((size - from)) -le $((size - here + WINDOW)) ] || fail "resumed from $from with $here bytes held"
	same 'requests for blobs' "$(requests fast /blobs/)" 1
	fsck_clean
}

# P2: the connection is closed at each of 200 offsets of a blob, the first and the last byte among them.
test_cut_at_200_offsets() {
	fixture 200 20000
	python3 "$TESTS/documents.py" cuts "$WORK/layout" "$WORK/cuts"
	serve log --cuts "$WORK/cuts"
	expect "$digest" crate-fetch --quiet --jobs 64 "$server/x:tag"
	fsck_clean
	# Each went on from the very byte where it was cut.
	same 'ranges' "$(ranges log | sort)" "$(jq -r 'to_entries[] | select(.value > 0) | "bytes=\(.value)-"' "$WORK/cuts" | sort)"
	same 'requests for blobs' "$(requests log /blobs/)" 401
}

# P2: servers that cannot do ranges, or say that they have none, serve all the same; what is here is not written again.
test_resume_without_ranges() {
	local fault
	for fault in --no-range --unsatisfied --wrong-range; do
		fixture 1 3000000
		CRATE_ROOT=$WORK/store$fault
		serve "slow$fault" --slow 3000000
		kill_pull 500000
		serve "log$fault" "$fault"
		expect "$digest" crate-fetch --quiet "$server/x:tag"
		fsck_clean
		[ "$(requests "log$fault" /blobs/)" -le 3 ] || fail "$(requests "log$fault" /blobs/) requests for blobs"
	done
	# One that never gives more than the beginning is given up.
	CRATE_ROOT=$WORK/last
	serve cut --unsatisfied --cut 1000000
	expect_code 5 timeout 100 crate-fetch --quiet "$server/x:tag"
	one_line crate-fetch
	clean
}

# P2: what an earlier run left was damaged since: noticed at the end, and all of it is asked for once more.
test_resume_from_damaged_bytes() {
	fixture 1 3000000
	serve slow --slow 3000000
	kill_pull 500000
	printf x | dd of="$(find "$CRATE_ROOT/ingest" -type f -size +500000c)" bs=1 seek=1000 conv=notrunc status=none
	serve log
	expect "$digest" crate-fetch --quiet "$server/x:tag"
	same 'requests for blobs' "$(requests log /blobs/)" 2
	same 'requests for ranges' "$(ranges log | wc -l)" 1
	fsck_clean
	# More than there can be is begun anew at once.
	CRATE_ROOT=$WORK/other
	mkdir "$WORK/other"
	expect_code 0 crate-store images
	head -c 4000000 /dev/zero >"$CRATE_ROOT/ingest/sha256-$(jq -r '.layers[0].digest' "$WORK/layout/blobs/sha256/${digest#sha256:}" | cut -d : -f 2)"
	expect "$digest" crate-fetch --quiet "$server/x:tag"
	fsck_clean
}

# rounds: so many, or 50 where STORM=full.
rounds() { if [ "${STORM:-}" = full ]; then echo 50; else echo "$1"; fi; }

crowd() { # LOG COUNT: so many pulls at once of tag and other in turn; sets pids
	local i
	pids=()
	for i in $(seq "$2"); do
		crate-fetch --quiet --jobs 2 "$server/x:$([ $((i % 4)) = 0 ] && echo other || echo tag)" >"$WORK/out.$i" 2>"$WORK/err.$i" &
		pids+=($!)
	done
}

# Two images that share two layers; `other` has a third, and a config of its own.
shared_images() {
	fixture 2 300000
	python3 "$TESTS/documents.py" image "$WORK/layout" other 3 300000
	serve log --slow 3000000
}

# Bars fit the terminal, however narrow it is: what is wider is drawn on two lines, and never drawn over.
test_bars_fit_the_terminal() {
	local widest
	needs script
	fixture 1 2000000
	serve log --slow 1000000
	env -u COLUMNS TERM=xterm script -q -e -c "stty cols 60; exec crate-fetch $server/x:tag >digest" typescript >/dev/null
	same 'digest' "$(cat digest)" "$digest"
	sed 's/\x1b\[[0-9;]*[A-Za-z]//g' typescript | tr -d '\r' | grep '%.*\[' >bars || fail 'there are no bars'
	widest=$(wc -L <bars)
	[ "$widest" -lt 60 ] || fail "a bar of $widest columns"
}

# S4: 16 pulls of one image, and of one that shares its layers: each blob is asked for once, manifests once by each.
test_16_pulls_ask_for_each_blob_once() {
	local round pid
	shared_images
	for round in $(seq "$(rounds 3)"); do
		CRATE_ROOT=$WORK/store.$round
		: >log
		crowd log 16
		for pid in "${pids[@]}"; do wait "$pid" || { cat "$WORK"/err.*; fail 'a pull failed'; }; done
		same 'digests' "$(cat "$WORK"/out.* | sort -u | wc -l)" 2
		same 'blobs asked for' "$(requests log /blobs/)" 5
		same 'most requests for one blob' "$(jq -r .path log | grep /blobs/ | sort | uniq -d)" ''
		[ "$(requests log /manifests/)" -le 16 ] || fail 'a pull asked twice for one manifest'
		same 'references' "$(jq '.manifests | length' "$CRATE_ROOT/index.json")" 2
		fsck_clean
		same 'left to ingest' "$(ls "$CRATE_ROOT/ingest")" ''
		rm -rf "$CRATE_ROOT"
	done
}

# S4: two of 16 are killed: the others bring what those have left, and there is one image, whole.
test_16_pulls_of_which_two_are_killed() {
	local round pid killed failed
	shared_images
	for round in $(seq "$(rounds 3)"); do
		CRATE_ROOT=$WORK/store.$round
		crowd log 16
		killed="${pids[$((RANDOM % 8))]} ${pids[$((8 + RANDOM % 8))]}"
		for pid in $killed; do
			sleep "0.$((RANDOM % 3))$((RANDOM % 10))"
			kill -KILL "$pid" 2>/dev/null || :
		done
		failed=0
		for pid in "${pids[@]}"; do
			wait "$pid" 2>/dev/null || case " $killed " in *" $pid "*) ;; *) failed=1 ;; esac
		done
		[ "$failed" = 0 ] || { cat "$WORK"/err.*; fail 'a pull that was not killed failed'; }
		expect "$digest" crate-fetch --quiet --pull never "$server/x:tag"
		same 'references' "$(jq '.manifests | length' "$CRATE_ROOT/index.json")" 2
		fsck_clean
		rm -rf "$CRATE_ROOT"
	done
}
