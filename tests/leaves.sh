#!/bin/bash
# leaves.sh: what containers leave on the host: nothing. Counted before and after, for runs that end and runs that are killed.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# Mounts that this process sees, processes of ours, and files of the store but blobs and layers.
census() {
	echo mounts
	sed 's/^[0-9]* [0-9]* //' /proc/self/mountinfo
	echo processes
	ours | sed 's/^[0-9]* //'
	echo files
	find "$CRATE_ROOT/containers" "$CRATE_ROOT/ingest" "$CRATE_RUN" -mindepth 1 2>/dev/null | sort || :
	echo cgroups
	find /sys/fs/cgroup -type d -name '*crate*' 2>/dev/null | sort || :
	echo shared memory
	wc -l </proc/sysvipc/shm
}

# Programs of the stage, and whatever a container of this store runs: it has files of ours among its mounts.
ours() {
	local dir pid
	for dir in /proc/[0-9]*; do
		pid=${dir#/proc/}
		case $(readlink "$dir/exe" 2>/dev/null) in
		"$CRATE_STAGE"/bin/*) grep -q -s -z "^CRATE_ROOT=$CRATE_ROOT\$" "$dir/environ" || continue ;;
		*) grep -q -s -F "$STORY.$KIND" "$dir/mountinfo" || continue ;;
		esac
		echo "$pid $(tr '\0' ' ' <"$dir/cmdline")"
	done | sort
}

unchanged() { # BEFORE AFTER
	diff -u "$1" "$2" >difference || { cat difference >&2; fail 'something is left'; }
}

test_runs_that_end() {
	have "$BUSYBOX"
	mkdir folder
	crate run --rm "$BUSYBOX" true
	census >before
	local i
	for i in $(seq 20); do
		expect_code $((i % 3)) crate run --rm -v "$PWD/folder:/f" --tmpfs /t "$BUSYBOX" probe exit $((i % 3))
	done
	expect_code 127 crate run --rm "$BUSYBOX" no-such-program
	expect_code 126 crate run --rm "$BUSYBOX" /etc
	census >after
	unchanged before after
}

# One is killed before it is up, another while it runs, with all its memory of what to clean up.
test_runs_that_are_killed() {
	have "$BUSYBOX"
	crate run --rm "$BUSYBOX" true
	census >before
	local pid i
	for i in 1 2 3 4 5; do
		mkfifo "out.$i"
		crate run --rm "$BUSYBOX" sh -c 'echo up; probe wait' >"out.$i" &
		pid=$!
		exec 8<"out.$i"
		read -r -u 8 _
		kill -KILL "$pid"
		wait "$pid" || :
		# End of file: nobody inside holds it any more.
		code=0
		read -r -t 30 -u 8 _ || code=$?
		same 'end of file' "$code" 1
		exec 8<&-
	done
	for i in 0.001 0.002 0.004 0.006 0.008 0.010 0.015 0.020 0.030; do
		timeout -s KILL "$i" crate run --rm "$BUSYBOX" probe wait || :
	done
	# The dead are collected; what they held is free.
	local tries=0
	while [ -n "$(ours)" ] && [ $((tries += 1)) -lt 200 ]; do :; done
	for i in "$CRATE_ROOT"/containers/*; do
		[ ! -d "$i" ] || expect "${i##*/}" crate rm "${i##*/}"
	done
	expect_code 0 in_userns crate-store gc
	census >after
	unchanged before after
	fsck_clean
}

test_interrupted_run_cleans_up() {
	have "$BUSYBOX"
	crate run --rm "$BUSYBOX" true
	census >before
	mkfifo pipe.out
	local pid
	crate run --rm "$BUSYBOX" sh -c 'trap "exit 3" TERM; probe wait & echo up; wait' >pipe.out &
	pid=$!
	exec 8<pipe.out
	read -r -u 8 _
	kill -TERM "$pid"
	code=0
	wait "$pid" || code=$?
	same 'exit code' "$code" 3
	exec 8<&-
	census >after
	unchanged before after
}
