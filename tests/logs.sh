#!/bin/bash
# logs.sh: what a container writes, kept and printed again: every byte, whatever becomes of the disk.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# The log of container $1.
log_of() { echo "$CRATE_ROOT/containers/$1/log"; }

# A container that never ran, with the log that comes on standard input; sets id.
with_log() {
	have "$BUSYBOX"
	id=$(crate-store create "$BUSYBOX" true)
	cat >"$(log_of "$id")"
}

# Lines of the log: STREAM TAG TEXT, one second apart from 10:00:00 on.
lines() {
	local second=0 line
	for line; do
		printf '2024-05-01T10:00:%02d.000000000Z %s\n' "$second" "$line"
		second=$((second + 1))
	done
}

prints() { # OUT ERR ARGUMENT...: exactly this on each stream
	local out=$1 err=$2
	shift 2
	expect "$out" crate-sup logs "$@"
	same 'standard error' "$(cat "$WORK/err")" "$err"
}

# Runs CMD… in the background, with the directory share/ at /share; sets id.
detached() {
	have "$BUSYBOX"
	mkdir -p share
	id=$(crate-store create -v "$PWD/share:/share" "$BUSYBOX" "$@")
	crate-sup start "$id" >/dev/null
}

ended_with() { expect "$1" timeout 60 crate-sup wait "$id"; }

supervisor_of() { jq .supervisor "$CRATE_RUN/$1/pid"; }

# Waits until CMD… is true.
until_true() {
	local i
	for i in $(seq 600); do
		if "$@"; then return; fi
		sleep 0.05
	done
	fail "not within $((i / 20)) s: $*"
}

# --- the verb ---

test_each_stream_goes_where_it_came_from() {
	with_log < <(lines 'stdout F one' 'stderr P half, ' 'stdout P no ' 'stderr F whole' 'stdout P end')
	prints "$(printf 'one\nno end')" 'half, whole' "$id"
	prints "$(printf '2024-05-01T10:00:00.000000000Z one\n2024-05-01T10:00:02.000000000Z no end')" \
		'2024-05-01T10:00:01.000000000Z half, whole' -t "$id"
}

test_the_last_lines() {
	with_log < <(lines 'stdout F five' 'stderr F six' 'stdout P sev' 'stdout F en')
	lines 'stdout F three' 'stdout F four' >"$(log_of "$id").1"
	lines 'stdout F one' 'stdout F two' >"$(log_of "$id").2"
	prints '' '' --tail 0 "$id"
	prints seven '' -n 1 "$id"
	prints seven six --tail=2 "$id"
	prints "$(printf '%s\n' four five seven)" six -n4 "$id"
	prints "$(printf '%s\n' two three four five seven)" six --tail 6 "$id"
	prints "$(printf '%s\n' one two three four five seven)" six --tail 100 "$id"
	prints "$(printf '%s\n' one two three four five seven)" six --tail all "$id"
}

test_from_one_time_to_another() {
	with_log < <(lines 'stdout F zero' 'stdout F one' 'stdout P two, ' 'stdout F still' 'stdout F four')
	prints "$(printf '%s\n' 'two, still' four)" '' --since 2024-05-01T10:00:01.5Z "$id"
	prints four '' --since 1714557603 "$id"
	prints "$(printf '%s\n' zero one)" '' --until 2024-05-01T12:00:01+02:00 "$id"
	prints one '' --tail 1 --until 2024-05-01T10:00:01Z "$id"
	prints '' '' --since 10m "$id"
	prints "$(printf '%s\n' zero one 'two, still' four)" '' --since 2024-05-01 --until 1h30m "$id"
}

test_what_is_no_log_line_is_left_out() {
	with_log < <(lines 'stdout F one' 'stdin F two' 'stdout F three'; echo; printf 'junk\0\n'; lines 'stdout F four')
	prints "$(printf '%s\n' one three four)" 'crate-sup: logs: 3 malformed lines were left out' "$id"
}

test_wrong_arguments_are_2_and_3() {
	own_store
	expect_code 2 crate-sup logs
	one_line crate-sup
	expect_code 2 crate-sup logs --tail x a
	one_line crate-sup '--tail'
	expect_code 2 crate-sup logs --since yesterday a
	one_line crate-sup 'yesterday'
	expect_code 2 crate-sup logs --no-such-flag a
	one_line crate-sup no-such-flag
	expect_code 2 crate-sup logs a b
	one_line crate-sup
	expect_code 3 crate-sup logs no-such-container
	one_line crate-sup no-such-container
}

test_it_ends_when_nobody_reads_on() {
	with_log < <(for _ in $(seq 20000); do echo '2024-05-01T10:00:00.000000000Z stdout F a line of text'; done)
	local codes
	crate-sup logs "$id" 2>err | head -n 1 >out
	codes=${PIPESTATUS[*]}
	same 'exit codes' "$codes" '0 0'
	same 'output' "$(cat out)" 'a line of text'
	same 'standard error' "$(cat err)" ''
}

test_following_what_does_not_run_ends() {
	with_log < <(lines 'stdout F one')
	expect one timeout 20 crate-sup logs -f "$id"
	rm "$(log_of "$id")"
	expect '' timeout 20 crate-sup logs -f "$id"
}

# --- L9: every byte ---

test_L9_random_bytes_come_back() {
	detached sh -c 'head -c 10000000 /dev/urandom | tee /share/out &
		head -c 5000000 /dev/urandom | tee /share/err >&2; wait'
	local flag
	for flag in --follow --tail=all; do
		crate-sup logs "$flag" "$id" >out 2>err
		cmp out share/out || fail 'other bytes than were written to standard output'
		cmp err share/err || fail 'other bytes than were written to standard error'
	done
}

test_L9_long_lines_nul_and_half_characters() {
	detached sh -c 'head -c 1000000 /dev/zero | tr "\0" x; echo; printf "a\0b\n\342\202"; sleep 0.1; printf "\254\n\n\nno end"'
	ended_with 0
	{ head -c 1000000 /dev/zero | tr '\0' x; printf '\na\0b\n\342\202\254\n\n\nno end'; } >want
	crate-sup logs "$id" >out
	cmp want out || fail 'other bytes than were written'
	crate-sup logs --tail 1 "$id" >out
	same 'the last line' "$(cat out)" 'no end'
	LC_ALL=C grep -a -q -v -E '^[0-9T:.-]{29}Z std(out|err) [FP] ' "$(log_of "$id")" && fail 'a line is not of the format'
	awk 'length($0) > 16384 + 40 { exit 1 }' "$(log_of "$id")" || fail 'a line is too long'
}

test_L9_output_in_the_foreground_is_kept_too() {
	have "$BUSYBOX"
	crate run --name "front$$" "$BUSYBOX" sh -c 'echo out; echo err >&2' >out 2>err
	same 'standard output' "$(cat out)" out
	same 'standard error' "$(cat err)" err
	prints out err "front$$"
}

# --- L10: the end ---

test_L10_short_containers_leave_all_they_wrote() {
	have "$BUSYBOX"
	local i
	for i in $(seq 30); do
		detached sh -c "echo a$i; echo b$i >&2; exit 7"
		expect "a$i" timeout 20 crate-sup logs -f "$id"
		same 'standard error' "$(cat "$WORK/err")" "b$i"
		ended_with 7
		prints "a$i" "b$i" "$id"
		crate rm "$id" >/dev/null
	done
}

test_L10_following_ends_with_the_container() {
	detached sh -c 'echo up; trap "echo down; exit 3" TERM; while :; do sleep 0.1; done'
	timeout 60 crate-sup logs -f "$id" >out 2>err &
	local follower=$!
	started+=("$follower")
	until_true grep -q up out
	sleep 0.3
	kill -0 "$follower" || fail 'it has ended too early'
	crate-sup stop "$id" >/dev/null
	wait "$follower" || fail "it ended with code $?"
	same 'output' "$(cat out)" "$(printf 'up\ndown')"
}

test_L10_following_ends_with_a_killed_supervisor() {
	detached sh -c 'echo up; exec probe wait'
	timeout 60 crate-sup logs -f "$id" >out &
	local follower=$!
	started+=("$follower")
	until_true grep -q up out
	kill -KILL "$(supervisor_of "$id")"
	wait "$follower" || fail "it ended with code $?"
	prints up '' "$id"
}

test_L10_following_what_is_removed_ends() {
	detached sh -c 'echo up; exec probe wait'
	timeout 60 crate-sup logs -f "$id" >out &
	local follower=$!
	started+=("$follower")
	until_true grep -q up out
	crate-sup kill --wait "$id" >/dev/null
	crate rm "$id" >/dev/null
	wait "$follower" || fail "it ended with code $?"
	same 'output' "$(cat out)" up
}

test_L10_following_ends_when_nobody_reads_on() {
	detached sh -c 'echo up; exec probe wait'
	timeout 60 crate-sup logs -f "$id" | head -n 1 >out
	same 'exit code' "${PIPESTATUS[0]}" 0
	same 'output' "$(cat out)" up
	crate-sup kill --wait "$id" >/dev/null
}

# --- L8: a log that fails ---

# A container that counts up, says that it has, and goes on; share/all gets all that it wrote. Sets id.
counting() {
	have "$BUSYBOX"
	mkdir -p share
	id=$(crate-store create -v "$PWD/share:/share" "$BUSYBOX" sh -c '{ seq 100001 110000; touch /share/done
		until [ -e /share/go ]; do echo more; sleep 0.1; done; echo the end; } | tee /share/all')
}

lost_bytes() { sed -n 's/^crate-sup: logs: \([0-9]*\) bytes of output were lost: .*/\1/p' "$1" | awk '{ sum += $1 } END { print sum + 0 }'; }

# Lets it end, once there is room again: printed and lost bytes are all that was written.
all_is_told() {
	until_true grep -q more "$(log_of "$id")"
	touch share/go
	ended_with 0
	crate-sup logs "$id" >out 2>err
	[ "$(lost_bytes err)" -gt 0 ] || fail 'nothing is said to be lost'
	same 'bytes' "$(($(wc -c <out) + $(lost_bytes err)))" "$(wc -c <share/all)"
	grep -v -x -E '1[0-9]{5}|more|the end' out && fail 'a line is torn'
	head -n 1000 out | cmp - <(seq 100001 101000) || fail 'the first lines are others'
	same 'the last line' "$(tail -n 1 out)" 'the end'
}

test_L8_a_full_disk_stops_nothing_and_is_told() {
	needs prlimit
	counting
	(ulimit -S -f 256 && crate-sup start "$id" >/dev/null)
	until_true [ -e share/done ]
	prlimit --pid "$(supervisor_of "$id")" --fsize=unlimited:
	all_is_told
	has err 'File too large'
}

test_L8_a_removed_log_is_made_again() {
	detached sh -c 'echo before; until [ -e /share/go ]; do sleep 0.1; done; echo after'
	until_true grep -q before "$(log_of "$id")"
	rm "$(log_of "$id")"
	touch share/go
	ended_with 0
	prints after '' "$id"
}

# The way in which other runtimes were hung.
test_L8_an_immutable_log() {
	only root
	detached sh -c 'echo before; until [ -e /share/go ]; do echo between; sleep 0.1; done; echo after'
	until_true grep -q before "$(log_of "$id")"
	chattr +i "$(log_of "$id")" 2>/dev/null || {
		touch share/go
		ended_with 0
		skip 'chattr +i is refused here'
	}
	sleep 0.5
	touch share/go
	ended_with 0
	chattr -i "$(log_of "$id")"
	crate-sup logs "$id" >out
	has out before
	crate rm "$id" >/dev/null
}

test_L8_a_full_file_system() {
	only root
	counting
	dir=$CRATE_ROOT/containers/$id
	cp -a "$dir" bundle
	mount -t tmpfs -o size=300k crate-test "$dir" || skip 'no tmpfs can be mounted'
	trap 'status=$?; set +e; umount -l "$dir"; (exit $status); clean_up' EXIT
	cp -a bundle/. "$dir"
	crate-sup start "$id" >/dev/null
	until_true [ -e share/done ]
	mount -o remount,size=4m "$dir"
	all_is_told
	has err 'No space left on device'
}

# --- L12: rotation ---

test_L12_following_through_rotations() {
	detached sh -c 'seq 1000001 1350000' # About 17 MB of log, in two files.
	timeout 60 crate-sup logs -f "$id" >out
	seq 1000001 1350000 | cmp - out || fail 'lines were lost or doubled'
	[ -e "$(log_of "$id").1" ] || fail 'there was no rotation'
	crate-sup logs "$id" | cmp - <(seq 1000001 1350000) || fail 'lines were lost or doubled afterwards'
	crate rm "$id" >/dev/null
}

test_L12_it_stays_within_its_bounds() {
	detached sh -c 'seq 1000001 2000000' # About 49 MB of log.
	ended_with 0
	local sizes
	sizes=$(stat -c %s "$(log_of "$id")"*)
	same 'files' "$(wc -l <<<"$sizes")" 3
	[ "$(sort -n <<<"$sizes" | tail -n 1)" -le 10485760 ] || fail "the files are too large: $sizes"
	crate-sup logs "$id" >out
	cmp out <(seq "$(head -n 1 out)" 2000000) || fail 'lines were lost or doubled'
	[ "$(wc -l <out)" -gt 500000 ] || fail 'too little was kept'
	crate rm "$id" >/dev/null
}

# Killed at any moment, which is often within a rotation, the next start goes on with a log that is whole.
test_L12_killed_while_it_writes() {
	have "$BUSYBOX"
	local i
	id=$(crate-store create "$BUSYBOX" seq 1000001 9999999)
	jq '.annotations += {"run.crate.log.size": "16384", "run.crate.log.files": "20"}' "$CRATE_ROOT/containers/$id/config.json" >config
	cp config "$CRATE_ROOT/containers/$id/config.json"
	for i in $(seq 20); do
		crate-sup start "$id" >/dev/null
		sleep "0.$i"
		kill -KILL "$(supervisor_of "$id")"
		crate-sup wait "$id" >/dev/null
		crate-sup logs "$id" >out 2>err
		lacks err malformed
		# Where it was killed, the line may end that the next start begins with.
		awk 'NR > 1 && $0 != last + 1 && $0 !~ /1000001$/ { print last, $0 } { last = substr($0, length($0) - 6) }' out >wrong
		[ ! -s wrong ] || { cat wrong >&2; fail 'lines were lost or doubled'; }
	done
	[ "$(wc -l <out)" -gt 2000 ] || fail 'too little was kept'
	same 'files' "$(stat -c %s "$(log_of "$id")"* | awk '$1 > 16384 || NR > 20 { print }')" ''
	crate rm "$id" >/dev/null
}
