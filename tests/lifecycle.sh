#!/bin/bash
# lifecycle.sh: containers start, stop, wait, are killed and removed; so are their supervisors; and what is said about
# them stays true. Cases test_LN_* are rows of faults that every runtime has met: see CVES.md.
# STORM=full plays the long form of the cases that are a matter of chance.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# Programs for containers.
WAITS=(probe wait)
STUBBORN=(sh -c 'trap "" TERM; echo up; while :; do sleep 0.1; done')
OBLIGING=(sh -c 'trap "exit 5" TERM; echo up; while :; do sleep 0.05; done')

make() { # NAME PROGRAM...
	local name=$1
	shift
	have "$BUSYBOX"
	crate-store create --name "$name" "$BUSYBOX" -- "$@" >"$WORK/id.$name"
}

up() { # NAME PROGRAM...: make it and start it in the background
	make "$@"
	expect "$1" crate-sup start "$1"
}

gone() { # NAME...: end and remove
	crate-sup kill --wait --quiet "$@"
	crate-sup unshare crate-store rm "$@" >/dev/null
}

state() { crate-store ps --all --filter "name=^$1\$" --format '{{.State}}'; }
is() { same "state of $1" "$(state "$1")" "$2"; } # NAME STATE
run_of() { echo "$CRATE_RUN/$(cat "$WORK/id.$1")"; }
recorded() { jq -r ".$2" "$(run_of "$1")/pid"; } # NAME FIELD

has_state() { [ "$(state "$1")" = "$2" ]; }
says() { crate-sup logs "$1" | grep -q -F -x -e "$2"; } # NAME LINE
lives() { # PID: a zombie does not
	local line
	line=$(grep -s '^State:' "/proc/$1/status") && [[ $line != *[ZX]\ * ]]
}

# Processes that have a file of the container among their mounts.
inside() { grep -l -s "$(cat "$WORK/id.$1")" /proc/[0-9]*/mountinfo || :; }
is_empty() { [ -z "$(inside "$1")" ]; }

within() { # SECONDS CMD...: CMD ends in this time
	local code=0
	timeout -k 1 "$@" >"$WORK/out" 2>"$WORK/err" || code=$?
	[ "$code" -lt 124 ] || { show "$*" >&2; fail "took more than $1 s: ${*:2}"; }
	return "$code"
}

kill_supervisor() { # NAME
	local pid
	pid=$(recorded "$1" supervisor)
	kill -KILL "$pid"
	eventually not lives "$pid"
}
not() { ! "$@"; }

# --- stop ---

test_start_stop_and_start_again() {
	make web "${WAITS[@]}"
	is web created
	expect web crate-sup start web
	is web running
	expect_code 4 crate-sup start web
	one_line crate-sup
	expect web crate-sup stop web
	is web exited
	expect 143 crate-sup wait web
	expect web crate-sup stop web
	expect web crate-sup start web
	expect web crate-sup kill --wait web
	expect 137 crate-sup wait web
	gone web
	expect_code 3 crate-sup stop web
	one_line crate-sup web
}

test_stop_lets_a_program_end_by_itself() {
	up polite "${OBLIGING[@]}"
	eventually says polite up
	expect polite crate-sup stop polite
	expect 5 crate-sup wait polite
	gone polite
}

test_stop_with_the_image_s_signal() {
	have "$REG/busybox:config"
	crate-store create --name usr1 -u 0 --entrypoint sh "$REG/busybox:config" -- \
		-c 'trap "exit 9" USR1; echo up; while :; do sleep 0.05; done' >"$WORK/id.usr1"
	expect usr1 crate-sup start usr1
	eventually says usr1 up
	expect usr1 crate-sup stop usr1
	expect 9 crate-sup wait usr1
	gone usr1
}

test_stop_waits_as_long_as_it_takes() {
	up slow sh -c 'trap "sleep 2; exit 6" TERM; echo up; while :; do sleep 0.05; done'
	eventually says slow up
	expect slow timeout 60 crate-sup stop -t -1 slow
	expect 6 crate-sup wait slow
	gone slow
}

test_stop_goes_on_where_one_fails() {
	up one "${WAITS[@]}"
	up two "${WAITS[@]}"
	expect_code 3 crate-sup stop one nosuch two
	one_line crate-sup nosuch
	same 'stopped' "$(sort "$WORK/out" | tr '\n' ' ')" 'one two '
	is one exited
	is two exited
	gone one two
}

test_wrong_usage_of_these_verbs_is_2() {
	local line
	for line in stop kill wait restart top 'stop -t x y' 'stop -t -2 y' 'kill -s NOSUCH y' 'kill -s 65 y' 'stop --nosuch y'; do
		# shellcheck disable=SC2086
		expect_code 2 crate-sup $line
		nothing_out
	done
}

# A supervisor that job control has stopped can do nothing of what it is asked for.
test_stop_of_a_stopped_supervisor() {
	up frozen "${WAITS[@]}"
	kill -STOP "$(recorded frozen supervisor)"
	expect frozen timeout 20 crate-sup stop frozen
	expect 143 crate-sup wait frozen
	gone frozen
}

# Nobody reads what the program writes in the foreground: the container is stopped all the same.
test_stop_where_nobody_reads() {
	make loud sh -c 'echo up; yes'
	mkfifo pipe
	exec 8<>pipe
	crate-sup run loud >pipe &
	started+=($!)
	eventually has_state loud running
	sleep 0.3
	expect loud timeout 30 crate-sup stop -t 1 loud
	exec 8<&-
	wait "${started[0]}" || :
	has_state loud exited || fail "it is $(state loud)"
	gone loud
}

# --- kill ---

test_kill_sends_signals() {
	up target sh -c 'trap "echo got" USR1; trap "exit 3" INT; echo up; while :; do sleep 0.05; done'
	eventually says target up
	expect target crate-sup kill -s 0 target
	expect target crate-sup kill --signal USR1 target
	eventually says target got
	is target running
	expect target crate-sup kill -s SIGINT --wait target
	expect 3 crate-sup wait target
	local verb
	for verb in kill 'kill -s 0' 'kill --wait'; do
		# shellcheck disable=SC2086
		expect_code 1 crate-sup $verb target
		one_line crate-sup target
		nothing_out
	done
	expect '' crate-sup kill --quiet --wait target nosuch
	gone target
}

# --- wait ---

test_wait_prints_each_code_in_order() {
	make never "${WAITS[@]}"
	expect_code 1 crate-sup wait never
	one_line crate-sup never
	nothing_out
	up long "${OBLIGING[@]}"
	up short sh -c 'exit 7'
	eventually says long up
	crate-sup wait long short >waited &
	local pid=$!
	expect long crate-sup stop long
	wait "$pid"
	same 'codes' "$(tr '\n' ' ' <waited)" '5 7 '
	gone never long short
}

test_wait_hears_of_one_that_is_removed_at_its_end() {
	have "$BUSYBOX"
	crate-store create --rm --name brief "$BUSYBOX" -- sh -c 'trap "exit 4" TERM; echo up; while :; do sleep 0.05; done' >id.brief
	expect brief crate-sup start brief
	eventually says brief up
	crate-sup wait brief >waited &
	local pid=$!
	sleep 0.2
	crate-sup stop brief >/dev/null
	wait "$pid"
	same 'code' "$(cat waited)" 4
	expect_code 3 crate-sup wait brief
}

# --- restart ---

test_restart() {
	up again sh -c 'echo up; exec probe wait'
	local first
	first=$(recorded again pid)
	expect again crate-sup restart -t 1 again
	is again running
	[ "$(recorded again pid)" != "$first" ] || fail 'it is the same process'
	expect again crate-sup stop again
	expect again crate-sup restart again
	is again running
	expect_code 3 crate-sup restart nosuch again
	is again running
	gone again
}

# --- top ---

test_top() {
	up busy sh -c 'sleep 1000 & exec probe wait "$1"' sh $'a\033b'
	eventually eval 'crate-sup top busy >top && grep -q ":[0-9]* *sleep 1000$" top && grep -q ":[0-9]* *probe wait" top'
	expect_code 0 crate-sup top busy
	line '^PID +HOST-PID +PPID +USER +STATE +TIME +COMMAND$'
	line "^1 +$(recorded busy pid) +0 +0 +S +00:00:00 +probe wait a\?b$"
	line '^[0-9]+ +[0-9]+ +1 +0 +S +00:00:00 +sleep 1000$'
	expect busy crate-sup stop -t 0 busy
	expect_code 1 crate-sup top busy
	gone busy
}

# --- rm ---

test_rm_refuses_what_runs() {
	up runs "${WAITS[@]}"
	expect_code 4 crate-store rm runs
	is runs running
	expect_code 0 crate rm -f runs
	expect_code 3 crate-sup wait runs
}

# --- L1: the supervisor is killed ---

# At any moment of a start or a life. What is said at once is true, and the container can be used on.
test_L1_supervisor_killed() {
	local i starter pid rounds=50
	[ "${STORM:-}" != full ] || rounds=200
	make victim "${WAITS[@]}"
	for i in $(seq "$rounds"); do
		crate-sup start victim >/dev/null 2>&1 &
		starter=$!
		sleep "0.0$((RANDOM % 60 + 10))"
		# The supervisor is the starter's child until that ends.
		pid=
		{ read -r pid _ <"/proc/$starter/task/$starter/children"; } 2>/dev/null || pid=${pid:-$(recorded victim supervisor 2>/dev/null || :)}
		[ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || :
		wait "$starter" || :
		[ -z "$pid" ] || eventually not lives "$pid"
		within 2 crate-store ps --all || fail 'ps failed'
		case $(state victim) in
		lost | created) ;;
		# Killed before the start was recorded: what the last stop left is still so.
		exited) expect 137 crate-sup wait victim ;;
		*) fail "round $i: the state is $(state victim)" ;;
		esac
		eventually is_empty victim
		if [ $((i % 2)) = 0 ]; then
			within 2 crate-sup unshare crate-store rm victim || { cat err >&2; fail "round $i: rm failed"; }
			make victim "${WAITS[@]}"
		fi
		within 2 crate-sup start victim || { cat err >&2; fail "round $i: start failed"; }
		is victim running
		within 5 crate-sup stop -t 0 victim || { cat err >&2; fail "round $i: stop failed"; }
	done
	gone victim
	same 'files of what runs' "$(ls "$CRATE_RUN")" ''
}

test_L1_lost_is_not_0() {
	up loser "${WAITS[@]}"
	kill_supervisor loser
	is loser lost
	expect 255 crate-sup wait loser
	one_line crate-sup loser
	expect loser crate-sup stop loser
	expect_code 1 crate-sup kill loser
	gone loser
}

# A program that has seen to it that it outlives its parent.
test_L1_orphan() {
	local pid
	up orphan probe orphan
	eventually says orphan orphan
	pid=$(recorded orphan pid)
	kill_supervisor orphan
	lives "$pid" || fail 'it did not outlive its supervisor'
	is orphan orphaned
	expect_code 4 crate-sup start orphan
	one_line crate-sup
	expect_code 4 crate-store rm orphan
	is orphan orphaned
	expect_code 0 crate-sup top orphan
	expect orphan crate-sup kill -s 0 orphan
	expect orphan crate-sup stop orphan
	not lives "$pid" || fail 'stop has not ended it'
	is orphan lost
	expect orphan crate-sup start orphan
	eventually says orphan orphan
	pid=$(recorded orphan pid)
	kill_supervisor orphan
	expect_code 0 crate rm -f orphan
	not lives "$pid" || fail 'rm -f has not ended it'
	expect_code 3 crate-sup stop orphan
}

# --- L2: the program is killed, not the supervisor ---

test_L2_killed_program() {
	up prey "${WAITS[@]}"
	crate-sup wait prey >waited &
	local waiter=$!
	kill -KILL "$(recorded prey pid)"
	wait "$waiter"
	same 'code' "$(cat waited)" 137
	is prey exited
	gone prey
}

test_L2_killed_exec() {
	up host "${WAITS[@]}"
	expect_code 137 crate exec host sh -c 'kill -KILL $$'
	is host running
	gone host
}

# --- L3, L4: numbers that have come to mean something else ---

# record NAME JQ-FILTER: what was written down about a container becomes something else.
record() {
	local dir
	dir=$(run_of "$1")
	mkdir -p "$dir"
	jq -n "$2" >"$dir/pid"
}

# begun PID: when a process began, in clock ticks.
begun() { sed 's/.*) //' "/proc/$1/stat" | cut -d ' ' -f 20; }

stranger() {
	"$CRATE_STAGE/bin/probe" wait &
	pid=$!
	started+=("$pid")
}

# A record that names a process of today, which is not the container's.
strangers_are_left_alone() { # NAME BOOT START
	local boot=$2 start=$3
	record "$1" "{pid: $pid, start: $start, boot: \"$boot\", supervisor: 1, runs: true}"
	is "$1" lost
	expect "$1" crate-sup stop "$1"
	expect_code 1 crate-sup kill "$1"
	expect_code 1 crate-sup top "$1"
	expect 255 crate-sup wait "$1"
	lives "$pid" || fail 'a stranger was killed'
	expect "$1" crate-sup start "$1"
	expect "$1" crate-sup stop "$1"
	expect 143 crate-sup wait "$1"
	lives "$pid" || fail 'a stranger was killed'
	up_and_lost "$1"
}

up_and_lost() {
	crate-sup start "$1" >/dev/null
	kill_supervisor "$1"
	eventually is_empty "$1"
}

test_L3_recycled_pid() {
	local pid boot
	boot=$(cat /proc/sys/kernel/random/boot_id)
	make recycled "${WAITS[@]}"
	up_and_lost recycled
	stranger
	strangers_are_left_alone recycled "$boot" $(($(begun "$pid") + 1))
	gone recycled
	lives "$pid" || fail 'a stranger was killed'
}

test_L4_reboot() {
	local pid
	make rebooted "${WAITS[@]}"
	up_and_lost rebooted
	stranger
	strangers_are_left_alone rebooted 00000000-0000-4000-8000-000000000000 "$(begun "$pid")"
	gone rebooted
	lives "$pid" || fail 'a stranger was killed'
}

# The directory of what runs goes with the user's login; containers may stay.
test_L4_run_directory_that_vanishes() {
	up cut sh -c 'echo up; while :; do sleep 0.1; done'
	eventually says cut up
	rm -rf "$(run_of cut)"
	is cut running
	expect_code 4 crate-sup start cut
	expect_code 4 crate rm cut
	expect cut crate-sup stop -t 5 cut
	is cut exited
	gone cut
}

# --- L5: many at once ---

test_L5_storm() {
	needs python3
	own_store
	have "$BUSYBOX"
	local seed size=(4 60 10) seeds='1'
	if [ "${STORM:-}" = full ]; then size=(8 500 10) seeds='1 2 3'; fi
	for seed in $seeds; do
		expect_code 0 python3 "$TESTS/storm.py" "$seed" "${size[@]}" "$BUSYBOX"
	done
}

# --- L6: stop ---

test_L6_one_timeout_for_all() {
	local i names=()
	for i in $(seq 20); do
		up "stubborn$i" "${STUBBORN[@]}"
		names+=("stubborn$i")
	done
	for i in "${names[@]}"; do eventually says "$i" up; done
	local before=$SECONDS
	expect_code 0 timeout 60 crate-sup stop -t 3 "${names[@]}"
	[ $((SECONDS - before)) -lt 20 ] || fail "20 containers took $((SECONDS - before)) s"
	same 'stopped' "$(sort "$WORK/out" | tr '\n' ' ')" "$(printf '%s\n' "${names[@]}" | sort | tr '\n' ' ')"
	expect_code 0 crate-sup wait "${names[@]}"
	same 'codes' "$(sort -u "$WORK/out")" 137
	gone "${names[@]}"
}

# --- L7: signals at any moment ---

test_L7_signals_during_start() {
	local signal pid want all='1 2 3 6 9 10 12 14 15 24 27 30 35 64'
	[ "${STORM:-}" != full ] || all=$(seq 64)
	make early "${WAITS[@]}"
	for signal in $all; do
		# Those that stop, go on or do nothing; a closed pipe and a file too large are errors of write(2), not signals.
		case $signal in 13 | 17 | 18 | 19 | 20 | 21 | 22 | 23 | 25 | 28) continue ;; esac
		env --default-signal crate-sup run early 2>/dev/null &
		pid=$!
		started+=("$pid")
		sleep "0.0$((RANDOM % 40 + 10))"
		kill -"$signal" "$pid"
		code=0
		wait "$pid" 2>/dev/null || code=$?
		want=$((128 + signal))
		same "exit code after signal $signal" "$code" "$want"
	done
	eventually is_empty early
	case $(state early) in
	exited | lost | created) ;;
	*) fail "the state is $(state early)" ;;
	esac
	gone early
}

# --- L10: short lives ---

test_L10_short_lives_are_told_whole() {
	local i count=60 names=()
	[ "${STORM:-}" != full ] || count=300
	have "$BUSYBOX"
	for i in $(seq "$count"); do
		make "short$i" sh -c 'echo a; echo b >&2; exit 7'
		names+=("short$i")
	done
	expect_code 0 crate-sup start "${names[@]}"
	expect_code 0 crate-sup wait "${names[@]}"
	same 'codes' "$(sort "$WORK/out" | uniq -c | tr -s ' ')" " $count 7"
	for i in "${names[@]}"; do
		expect a crate-sup logs "$i"
		same "standard error of $i" "$(cat "$WORK/err")" b
	done
	gone "${names[@]}"
}

# --- L16: zombies ---

test_L16_orphans_are_reaped() {
	have "$BUSYBOX"
	crate-store create --init --name reaper "$BUSYBOX" -- sh -c 'probe zombies 1000; sleep 1; cat /proc/[0-9]*/status | grep -c "^State:.Z"; :' >id.reaper
	expect reaper crate-sup start reaper
	expect 0 crate-sup wait reaper
	expect_code 0 crate-sup logs reaper
	[ "$(cat "$WORK/out")" -lt 10 ] || fail "$(cat "$WORK/out") zombies are left"
	gone reaper
}

# --- L18: nothing is left ---

test_L18_census() {
	own_store
	have "$BUSYBOX"
	local i mounts
	mounts=$(cat /proc/self/mountinfo)
	for i in $(seq 30); do
		up "run$i" sh -c 'echo x >/x; exec probe wait'
		case $((i % 5)) in
		0) kill_supervisor "run$i" ;;
		1) crate-sup kill --wait "run$i" >/dev/null ;;
		*) crate-sup stop "run$i" >/dev/null ;;
		esac
		eventually is_empty "run$i"
		gone "run$i"
	done
	same 'the host'\''s mounts' "$(cat /proc/self/mountinfo)" "$mounts"
	same 'what runs' "$(ls "$CRATE_RUN")" ''
	same 'containers' "$(ls "$CRATE_ROOT/containers")" ''
	same 'ingest' "$(ls "$CRATE_ROOT/ingest")" ''
	fsck_clean
}

# --- L21: restart policy ---

test_L21_restart_policy() {
	have "$BUSYBOX"
	crate-store create --restart on-failure:2 --name flapping "$BUSYBOX" -- sh -c 'echo run; exit 3' >id.flapping
	expect flapping crate-sup start flapping
	# It is waited for to its last end.
	expect 3 timeout 30 crate-sup wait flapping
	expect_code 0 crate-sup logs flapping
	same 'runs' "$(wc -l <"$WORK/out")" 3
	gone flapping
}

test_L21_stop_ends_a_restart_policy() {
	have "$BUSYBOX"
	crate-store create --restart always --name always "$BUSYBOX" -- sh -c 'echo run; sleep 0.3' >id.always
	local verb
	for verb in stop 'kill --wait' 'kill --wait -s INT'; do
		expect always crate-sup start always
		# Between two runs, too.
		eventually has_state always restarting
		# shellcheck disable=SC2086
		expect always timeout 20 crate-sup $verb always
		is always exited
		sleep 0.5
		is always exited
	done
	gone always
}

# A signal that means no end leaves the policy in force.
test_L21_other_signals_do_not_end_it() {
	have "$BUSYBOX"
	crate-store create --restart always --name usr "$BUSYBOX" -- sh -c 'trap "exit 1" USR1; echo up; while :; do sleep 0.05; done' >id.usr
	expect usr crate-sup start usr
	eventually says usr up
	local first
	first=$(recorded usr pid)
	expect usr crate-sup kill -s USR1 usr
	eventually eval '[ "$(recorded usr pid)" != '"$first"' ] && has_state usr running'
	gone usr
}
