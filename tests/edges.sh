#!/bin/bash
# edges.sh: where runtimes and stores go wrong: devices of an image, links that lead nowhere, signals at odd moments,
# programs that start, end and die at once, places to write that are full.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# image LAYER.tar...: an image of busybox and further layers, held as localhost/edge:1.
image() {
	sh "$TESTS/image.sh" layout "$WORK/image" edge '{"Env":["PATH=/bin"]}' "$IMAGES/busybox.tar" "$@"
	expect_code 0 crate pull --quiet --as localhost/edge:1 "oci:$WORK/image:edge"
}

test_devices_that_are_made_do_not_open() {
	only root
	have "$BUSYBOX"
	expect_code 0 crate run --rm "$BUSYBOX" sh -c 'mknod /n c 1 5 && ! head -c 1 /n && ! head -c 1 /n >/dev/null'
	expect_code 0 crate run --rm "$BUSYBOX" sh -c 'mknod /dev/n c 1 5 && ! head -c 1 /dev/n'
}

test_modes_of_the_host_s_devices_stay() {
	have "$BUSYBOX"
	local before
	before=$(stat -c '%n %a %u %g' /dev/null /dev/zero /dev/tty)
	run crate run --rm "$BUSYBOX" sh -c 'chmod 600 /dev/null /dev/zero /dev/tty /proc/keys; chown 1 /dev/null /proc/keys; :'
	same 'devices of the host' "$(stat -c '%n %a %u %g' /dev/null /dev/zero /dev/tty)" "$before"
}

test_the_largest_ids_are_nobody_s() {
	have "$BUSYBOX"
	expect_code 125 crate run --rm -u 4294967295 "$BUSYBOX" true
	expect_code 125 crate run --rm -u 0:4294967295 "$BUSYBOX" true
}

test_links_that_lead_nowhere() {
	own_store
	mkdir -p layer/etc
	ln -s ../run/nowhere/resolv.conf layer/etc/resolv.conf
	ln -s /nowhere/else layer/home2
	tar -cf layer.tar -C layer etc/resolv.conf home2
	image layer.tar
	expect_code 0 crate run --rm -w /home2 localhost/edge:1 sh -c 'pwd && cat /etc/resolv.conf >/dev/null'
	expect /nowhere/else crate run --rm -w /home2 localhost/edge:1 sh -c 'pwd -P'
	same 'the host' "$(ls -d /nowhere /run/nowhere 2>/dev/null || :)" ''
}

# The image's /proc, /dev and /sys are links out of it: refused, and nothing is made where they lead.
test_links_in_place_of_the_kernel_s_filesystems() {
	own_store
	local name
	for name in proc dev sys; do
		rm -rf layer image "out.$name" && mkdir -p layer "out.$name"
		ln -s "$WORK/out.$name" "layer/$name"
		tar -cf layer.tar -C layer "$name"
		image layer.tar
		expect_code 125 crate run --rm localhost/edge:1 true
		one_line crate-sup "/$name"
		same "what /$name leads to" "$(ls "out.$name")" ''
	done
}

# /etc/passwd as a pipe, as a link out of the image, and larger than any: in bounded time, with nothing of the host.
test_passwd_that_is_none() {
	own_store
	mkdir -p layer/etc
	mkfifo layer/etc/passwd
	tar -cf layer.tar -C layer etc/passwd
	image layer.tar
	expect_code 125 timeout 20 crate run --rm -u nobody localhost/edge:1 true
	one_line crate-sup passwd
	rm -rf layer/etc/passwd image && ln -s /../../../../../etc/passwd layer/etc/passwd
	tar -cf layer.tar -C layer etc/passwd
	image layer.tar
	expect_code 125 crate run --rm -u nobody localhost/edge:1 true
	rm -rf layer/etc/passwd image && truncate -s 5G layer/etc/passwd
	tar -S -cf layer.tar -C layer etc/passwd
	image layer.tar
	expect_code 125 timeout 20 crate run --rm -u nobody localhost/edge:1 true
	one_line crate-sup passwd
}

test_opaque_root_hides_the_layers_below() {
	own_store
	mkdir -p layer/bin
	tar -xf "$IMAGES/busybox.tar" -C layer bin
	: >layer/.wh..wh..opq
	tar -cf layer.tar -C layer .wh..wh..opq bin
	mkdir lower && : >lower/from-below && tar -cf lower.tar -C lower from-below
	image lower.tar layer.tar
	expect_code 1 crate run --rm localhost/edge:1 ls /from-below
}

# A store on an overlay, which cannot be the upper layer of another: the container gets a copy, once, and keeps it.
test_a_private_copy_where_the_overlay_is_refused() {
	only root
	mkdir lower upper work merged
	sh "$TESTS/image.sh" layout image edge '{"Env":["PATH=/bin"]}' "$IMAGES/busybox.tar"
	expect_code 0 unshare --mount sh -euc '
		mount -t overlay none -o lowerdir=lower,upperdir=upper,workdir=work merged
		export CRATE_ROOT="$PWD/merged/store" CRATE_RUN="$PWD/run"
		crate pull --quiet --as localhost/edge:1 oci:image:edge
		crate run --name kept localhost/edge:1 sh -c "echo written >/file; ls -ld /tmp /bin/sh" 2>first
		crate start -a kept 2>second
		cat merged/store/containers/kept/rootfs/file
		crate run --rm localhost/edge:1 true 2>/dev/null
		crate fsck
		crate rm kept
		ls merged/store/containers merged/store/ingest' sh
	has first 'a private copy'
	lacks second 'a private copy'
	line '^drwxrwxrwt .* /tmp$'
	line '^written$'
}

# A program can be told to end before it has begun.
test_signals_before_the_program_runs() {
	have "$BUSYBOX"
	local id i pid
	id=$(crate create "$BUSYBOX" probe wait)
	for i in $(seq 20); do
		crate-sup run "$id" &
		pid=$!
		kill -TERM "$pid"
		code=0
		wait "$pid" || code=$?
		same "exit code of round $i" "$code" 143
	done
	expect_code 0 crate rm "$id"
}

test_a_process_1_that_kills_itself() {
	have "$BUSYBOX"
	local signal
	for signal in 1 2 6 9 15; do
		expect_code $((128 + signal)) crate run --rm "$BUSYBOX" sh -c "kill -$signal \$\$; exit 0"
	done
	expect caught crate run --rm "$BUSYBOX" sh -c 'trap "echo caught; exit 0" TERM; kill -TERM $$'
	expect_code 3 crate run --rm "$BUSYBOX" sh -c 'trap "" TERM; kill -TERM $$; exit 3'
	# Another process inside cannot: process 1 is protected from it, as the kernel has it.
	expect_code 3 crate run --rm "$BUSYBOX" sh -c '(kill -9 1); exit 3'
}

test_hang_up_is_ignored_where_the_caller_ignores_it() {
	have "$BUSYBOX"
	mkfifo out.pipe in.pipe
	(trap '' HUP; exec crate run --rm -i "$BUSYBOX" sh -c 'echo up; read -r line; exit 5' <in.pipe >out.pipe) &
	local pid=$!
	exec 7>in.pipe 8<out.pipe
	read -r -u 8 _
	kill -HUP "$pid"
	echo on >&7
	code=0
	wait "$pid" || code=$?
	exec 7>&- 8<&-
	same 'exit code' "$code" 5
}

# A container that was to be removed at its end outlives its supervisor's death; what it wrote is not thrown away.
test_what_was_written_outlives_a_killed_supervisor() {
	have "$BUSYBOX"
	local id pid
	mkfifo out.pipe
	id=$(crate create --rm "$BUSYBOX" sh -c 'echo kept >/kept; echo up; probe wait')
	crate-sup run "$id" >out.pipe &
	pid=$!
	exec 8<out.pipe
	read -r -u 8 _
	kill -KILL "$pid"
	wait "$pid" || :
	read -r -t 30 -u 8 _ || :
	exec 8<&-
	expect_code 125 crate-sup run "$id"
	[ -e "$CRATE_ROOT/containers/$id/upper/kept" ] || fail 'what the container wrote is gone'
	expect_code 0 crate rm "$id"
}

test_messages_with_nowhere_to_go() {
	expect_code 3 sh -c 'exec crate-sup run nosuch 2>/dev/full'
	expect_code 3 sh -c 'exec crate-sup run nosuch >&- 2>&-'
	have "$BUSYBOX"
	expect_code 7 sh -c "exec crate run --rm $BUSYBOX sh -c 'exit 7' <&- >&- 2>&-"
}

test_a_start_that_fails_leaves_nothing() {
	have "$BUSYBOX"
	local before
	before=$(ls "$CRATE_ROOT/containers")
	expect_code 125 sh -c "ulimit -n 12; exec crate run --rm $BUSYBOX true"
	same containers "$(ls "$CRATE_ROOT/containers")" "$before"
}

all_end_well() { # PID...: pulls into one store
	local pid
	for pid; do wait "$pid" || fail "a pull into $CRATE_ROOT ended with $?: $(cat "$WORK"/err.*)"; done
	fsck_clean
}

# Six programs make one store, and none waits for another for ever.
test_pulls_into_a_store_that_is_not_there_yet() {
	local round i pids
	for round in 1 2 3 4 5; do
		CRATE_ROOT=$WORK/store.$round
		pids=()
		for i in 1 2 3 4 5 6; do
			timeout 60 crate pull --quiet "$BUSYBOX" >"$WORK/out.$i" 2>"$WORK/err.$i" &
			pids+=($!)
		done
		all_end_well "${pids[@]}"
	done
}

# Two images share two layers in opposite order; both are unpacked at once.
test_layers_in_opposite_order() {
	local round pids i
	mkdir a b && echo a >a/a && echo b >b/b
	tar -cf a.tar -C a a && tar -cf b.tar -C b b
	sh "$TESTS/image.sh" layout ab edge '{}' a.tar b.tar
	sh "$TESTS/image.sh" layout ba edge '{}' b.tar a.tar
	for round in 1 2 3; do
		CRATE_ROOT=$WORK/store.$round
		pids=()
		for i in ab ba; do
			timeout 60 crate pull --quiet --as "localhost/$i:1" "oci:$WORK/$i:edge" >"$WORK/out.$i" 2>"$WORK/err.$i" &
			pids+=($!)
		done
		all_end_well "${pids[@]}"
	done
}

test_a_damaged_blob_is_brought_again() {
	own_store
	have "$BUSYBOX"
	local blob
	for blob in $(jq -r '.manifests[0].digest' "$CRATE_ROOT/index.json") \
		"$(jq -r .config.digest "$CRATE_ROOT/blobs/sha256/$(jq -r '.manifests[0].digest' "$CRATE_ROOT/index.json" | cut -d: -f2)")"; do
		blob=$CRATE_ROOT/blobs/sha256/${blob#sha256:}
		chmod u+w "$blob"
		printf X | dd of="$blob" bs=1 seek=5 conv=notrunc 2>/dev/null
		expect_code 6 crate-store fsck
		expect_code 0 crate pull --quiet "$BUSYBOX"
		fsck_clean
	done
	expect_code 0 crate run --rm "$BUSYBOX" true
}
