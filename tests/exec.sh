#!/bin/bash
# exec.sh: further programs in containers that run, and what happens where a limit of the system is reached. Cases
# test_LN_* are rows of faults that every runtime has met: see CVES.md.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

up() { # [FLAG...] -- CMD...: a container in the background; its id in $id
	local flags=()
	have "$BUSYBOX"
	while [ "$1" != -- ]; do
		flags+=("$1")
		shift
	done
	id=$(crate run -d "${flags[@]}" "$BUSYBOX" "${@:2}")
}

gone() { # ends and removes the container
	crate rm -f "$id" >/dev/null
}

supervisor() { sed 's/.*"supervisor":\([0-9]*\).*/\1/' "$CRATE_RUN/$id/pid"; }

# --- what a further program is ---

test_it_has_the_container_s_files_ids_and_environment() {
	up -e COLOUR=red -w /tmp --hostname inner -- probe wait
	expect 'inner' crate exec "$id" hostname
	expect '/tmp' crate exec "$id" pwd
	expect 'red' crate exec "$id" sh -c 'echo $COLOUR'
	expect 'blue /' crate exec -e COLOUR=blue -w / "$id" sh -c 'echo $COLOUR $PWD'
	crate exec "$id" sh -c 'echo kept >/file'
	expect 'kept' crate exec "$id" cat /file
	expect "$(crate exec "$id" cat /proc/1/mountinfo)" crate exec "$id" cat /proc/self/mountinfo
	gone
}

test_it_is_confined_as_the_first_program_is() {
	up -- probe wait
	crate exec "$id" sh -c 'grep -E "^(Cap|NoNewPrivs)" /proc/1/status' >first
	expect "$(cat first)" crate exec "$id" grep -E '^(Cap|NoNewPrivs)' /proc/self/status
	expect_code 0 crate exec "$id" probe fds
	same descriptors "$(cut -d ' ' -f 1 out | tr '\n' ' ')" '0 1 2 '
	gone
}

test_it_runs_as_another_user() {
	only root ranges
	up -u 1:1 -- probe wait
	expect '1:1' crate exec "$id" sh -c 'echo $(id -u):$(id -g)'
	expect '0:0' crate exec -u 0 "$id" sh -c 'echo $(id -u):$(id -g)'
	# Its outputs are its own: it can open them anew.
	expect 'again' crate exec -u 2:2 "$id" sh -c 'echo again >/dev/stdout'
	gone
}

test_streams_and_codes_are_passed_on() {
	up -- probe wait
	expect 3 sh -c "printf abc | crate exec -i $id wc -c"
	expect 0 sh -c "printf abc | crate exec $id wc -c"
	expect_code 7 crate exec "$id" sh -c 'echo out; echo err >&2; exit 7'
	same 'standard output' "$(cat out)" out
	same 'standard error' "$(cat err)" err
	expect_code 137 crate exec "$id" sh -c 'kill -KILL $$'
	expect_code 127 crate exec "$id" no-such-program
	one_line crate-sup no-such-program
	expect_code 126 crate exec "$id" /tmp
	expect_code 126 crate exec -w /no/such "$id" true
	expect_code 125 crate exec "$id"
	expect_code 125 crate exec --no-such-flag "$id" true
	# What it writes is its caller's, not the log's.
	expect '' crate logs "$id"
	gone
}

test_it_goes_with_its_caller_or_stays_without() {
	up -- probe wait
	crate exec "$id" probe wait &
	local pid=$!
	eventually sh -c "crate top $id | grep -c 'probe wait' | grep -q 2"
	kill -KILL "$pid"
	eventually sh -c "crate top $id | grep -c 'probe wait' | grep -q 1"
	expect_code 0 crate exec -d "$id" sleep 1000
	eventually sh -c "crate top $id | grep -q 'sleep 1000'"
	expect_code 127 crate exec -d "$id" no-such-program
	gone
}

test_signals_reach_it() {
	up -- probe wait
	local pid
	crate exec "$id" sh -c 'trap "exit 5" TERM; echo up; while :; do sleep 0.05; done' >up &
	pid=$!
	eventually grep -q up up
	kill -TERM "$pid"
	code=0
	wait "$pid" || code=$?
	same 'exit code' "$code" 5
	gone
}

test_it_gets_a_terminal() {
	up -- probe wait
	python3 "$TESTS/terminal.py" --size 31x97 crate exec -it "$id" sh -c 'tty; stty size; read line; exec probe wait' <<-EOF
		expect /dev/pts/
		expect 31 97
		raw
		send \r
		resize 20 50
		send \x03
		end 130
		same
	EOF
	gone
}

# --- L11: a descendant keeps the output open ---

test_L11_a_descendant_that_keeps_the_output_holds_nobody_up() {
	up -- probe wait
	expect 'done' timeout 20 crate exec "$id" sh -c 'sleep 1000 & echo done'
	eventually sh -c "crate top $id | grep -q 'sleep 1000'"
	gone
	# With the first program all others end.
	expect 'done' timeout 20 crate run --rm "$BUSYBOX" sh -c 'sleep 1000 & echo done'
}

# --- L17: no memory is left ---

test_L17_out_of_memory_is_told_and_the_supervisor_stays() {
	only root
	local group=/sys/fs/cgroup/memory/crate-test.$$
	mkdir "$group" 2>/dev/null || skip 'there is no memory controller of cgroups version 1 to make a group in'
	echo 24M >"$group/memory.limit_in_bytes"
	have "$BUSYBOX"
	id=$(crate create "$BUSYBOX" awk 'BEGIN { s = "x"; while (1) s = s s }')
	# shellcheck disable=SC3037
	run bash -c "echo \$\$ >$group/cgroup.procs; exec crate-sup run --events-fd 3 $id 3>events"
	rmdir "$group"
	same 'exit code' "$code" 137
	same events "$(jq -r .event <events | tr '\n' ' ')" 'start oom exit '
	crate rm "$id" >/dev/null
}

# --- L19: limits are reached ---

test_L19_messages_name_the_limit() {
	have "$BUSYBOX"
	# Each container is made before the limit is: what is tried is the supervisor.
	limited() { # LIMIT
		id=$(crate create --rm "$BUSYBOX" true)
		expect_code 125 bash -c "$1; exec crate-sup run $id"
		[ -z "$(crate ps -aq)" ] || fail 'a start that failed left a container that was to be removed'
	}
	limited 'ulimit -n 16'
	one_line crate-sup 'No file descriptors available'
	has err 'ulimit -n'
	# Root has no limits of these kinds but the system's own.
	[ "$KIND" != root ] || return 0
	limited 'ulimit -u 1'
	one_line crate-sup
	has err 'ulimit -u'
	id=$(crate create --rm "$BUSYBOX" true)
	expect_code 125 crate-sup unshare sh -c "echo 0 >/proc/sys/user/max_pid_namespaces && exec crate-sup run $id"
	one_line crate-sup
	has err 'sysctl user.max_'
}

# --- L20: exec into what does not run ---

test_L20_exec_into_what_does_not_run() {
	have "$BUSYBOX"
	id=$(crate create "$BUSYBOX" sh -c 'exit 3')
	expect_code 126 crate exec "$id" true
	one_line crate-sup 'does not run'
	crate start -a "$id" || :
	expect_code 126 crate exec "$id" true
	expect_code 126 crate exec -d "$id" true
	gone
	expect_code 125 crate exec "$id" true
	one_line crate-sup 'no such container'
	up -- probe wait
	kill -KILL "$(supervisor)"
	eventually sh -c "! crate exec $id true"
	expect_code 126 crate exec "$id" true
	gone
}

# Programs are run in it while it ends and starts: each runs inside, or not at all.
test_L20_exec_into_a_dying_container() {
	up -- probe wait
	local i codes=
	for i in 1 2 3 4 5 6 7 8; do
		(
			while [ ! -e stop ]; do
				code=0
				crate exec "$id" sh -c 'exit 42' 2>>err.all || code=$?
				echo "$code"
			done
		) >"codes.$i" &
	done
	for i in $(seq 10); do
		crate restart -t 0 "$id" >/dev/null
	done
	touch stop
	wait
	codes=$(cat codes.* | sort -u | tr '\n' ' ')
	# 42: it ran; 137: it was killed with the container; 126: the container did not run, or ended just then.
	case " $codes" in
	*' 42 '*) ;;
	*) fail "none ran: $codes" ;;
	esac
	for i in $codes; do
		case $i in
		42 | 126 | 137) ;;
		*) fail "exit code $i: $(tail -n 3 err.all)" ;;
		esac
	done
	gone
}
