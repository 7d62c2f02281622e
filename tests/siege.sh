#!/bin/bash
# siege.sh: what containers, clients and callers may do to a supervisor, and that it goes on serving all the same.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

make() { # NAME [FLAG...] -- PROGRAM...
	local name=$1 flags=()
	shift
	while [ "$1" != -- ]; do flags+=("$1") && shift; done
	have "$BUSYBOX"
	crate-store create --name "$name" "${flags[@]}" "$BUSYBOX" "$@" >"$WORK/id.$name"
}

gone() { # NAME
	crate-sup kill --wait --quiet "$1"
	crate-sup unshare crate-store rm "$1" >/dev/null
}

says() { crate-sup logs "$1" | grep -q -F -x -e "$2"; } # NAME LINE

# Another process goes on writing when the program has ended.
test_end_of_output_without_end() {
	make host -- probe wait
	expect host crate-sup start host
	mkfifo pipe
	crate-sup exec host sh -c 'yes & echo $$ >/tmp/pid' >pipe &
	local pid=$!
	started+=("$pid")
	exec 8<pipe
	head -c 100000 <&8 >/dev/null
	eventually crate-sup exec host sh -c '! kill -0 $(cat /tmp/pid)'
	kill -TERM "$pid"
	timeout 20 cat <&8 >/dev/null || fail 'the output does not end'
	exec 8<&-
	code=0
	wait "$pid" || code=$?
	same 'exit code' "$code" 0
	gone host
}

# Who waits takes a connection each; one that asks for something is heard.
test_L13_many_clients_and_stop() {
	local limit pids=() i
	for limit in 1024 40; do
		make many --restart always -- sh -c 'trap "exit 3" TERM; echo up; while :; do sleep 0.05; done'
		(ulimit -n "$limit" && crate-sup start many >/dev/null)
		eventually says many up
		pids=()
		for i in $(seq 80); do
			timeout -k 1 60 crate-sup wait many >"$WORK/waited.$i" &
			pids+=($!)
		done
		sleep 0.5
		expect many timeout -k 1 20 crate-sup stop -t -1 many
		wait "${pids[@]}"
		same 'exit codes' "$(cat "$WORK"/waited.* | sort | uniq -c | xargs)" '80 3'
		gone many
	done
}

test_logs_follow_from_one_run_to_the_next() {
	make again --restart on-failure:4 -- sh -c 'echo run; exit 1'
	crate-sup start again >/dev/null
	run timeout -k 1 30 crate-sup logs -f again
	same lines "$(grep -c run "$WORK/out")" 5
	gone again
}

# Within a line a terminal takes the end of input for a part of it.
test_input_ends_within_a_line() {
	local text
	make counts --interactive --tty -- sh -c 'stty -echo; echo ready; wc -c'
	for text in x 'x\ny' 'x\n'; do
		# shellcheck disable=SC2059
		printf "$text" | timeout -k 1 20 crate-sup run counts >"$WORK/out" || fail "$text: exit code $?"
		# shellcheck disable=SC2059
		same "$text" "$(tail -n 1 "$WORK/out" | tr -d '\r')" "$(printf "$text" | wc -c)"
	done
	gone counts
}

test_descriptors_are_named_once() {
	make once -- true
	expect_code 2 crate-sup run --ready-fd 5 --events-fd 5 once 5>"$WORK/events"
	expect_code 2 crate-sup run --events-fd 5 --events-fd 5 once 5>"$WORK/events"
	gone once
}

test_messages_do_not_steer_a_terminal() {
	make escape -- $'/\e[2J'
	expect_code 127 crate-sup run escape
	one_line crate-sup 'executing /?[2J'
	gone escape
}
