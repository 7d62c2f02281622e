#!/bin/bash
# terminal.sh: containers at a terminal, which terminal.py plays. What programs say here they print in pieces that the
# terminal's echo of a command does not have.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# at [--size ROWSxCOLUMNS] CMD...: the steps of terminal.py come on standard input.
at() { python3 "$TESTS/terminal.py" "$@" || fail "at a terminal: $*"; }

made() { # CMD...: a container with a terminal; its id in $id
	id=$(crate-store create --interactive --tty "$BUSYBOX" -- "$@")
}

recorded() { # FIELD of the running container's record
	sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p" "$CRATE_RUN/$id/pid"
}

gone() { # ends and removes what is left of the container
	crate-sup kill --wait --quiet "$id" 2>/dev/null || :
	[ "$(crate rm "$id")" = "$id" ] || fail "$id is not removed"
}

# --- the terminal is restored ---

WAITING='echo ready; exec probe wait'

# Each way to die: the exit code, and the steps that lead to it.
restored() { # CODE [STEP...] with a program that waits
	local code=$1
	shift
	made sh -c "$WAITING"
	{
		printf '%s\n' 'expect ready' raw "$@"
		printf '%s\n' "end $code" same
	} | at crate-sup run "$id"
	gone
}

test_L14_terminal_is_restored_when_the_program_ends() {
	have "$BUSYBOX"
	local code
	for code in 0 7; do
		made sh -c "echo ready; read line; exit $code"
		at crate-sup run "$id" <<-EOF
			expect ready
			raw
			send \r
			end $code
			same
		EOF
		gone
	done
	made no-such-program
	printf '%s\n' 'expect no-such-program' 'end 127' same | at crate-sup run "$id"
	gone
	made cat
	printf '%s\n' raw 'send \x04' 'end 0' same | at crate-sup run "$id"
	gone
	restored 130 'send \x03'
	restored 137 "until kill -KILL \$(sed -n 's/.*\"pid\":\\([0-9]*\\).*/\\1/p' $CRATE_RUN/\$(ls -t $CRATE_RUN | head -n 1)/pid)"
}

test_L14_terminal_is_restored_when_the_client_is_signalled() {
	have "$BUSYBOX"
	restored 143 'signal TERM'
	restored 130 'signal INT'
	restored 129 'signal HUP'
	restored 131 'signal QUIT'
	restored 143 'hold TSTP' cooked 'signal TERM' 'signal CONT'
}

test_L14_terminal_is_restored_when_the_client_is_killed() {
	have "$BUSYBOX"
	local count
	restored 137 'signal KILL'
	restored 137 'group KILL'
	restored 137 'hold STOP' 'signal KILL'
	restored 137 'hold TSTP' cooked 'signal KILL'
	for count in 1 2 3 4 5 6 7 8; do restored 137 'signal KILL'; done
}

test_L14_terminal_is_restored_when_others_end_it() {
	have "$BUSYBOX"
	restored 0 'send \x10\x11'
	made sh -c "$WAITING"
	printf '%s\n' 'expect ready' raw "do crate-sup stop -t 5 $id" 'end 143' same | at crate-sup run "$id"
	printf '%s\n' 'expect ready' raw "do crate-sup kill -s KILL $id" 'end 137' same | at crate-sup run "$id"
	# shellcheck disable=SC2016
	printf '%s\n' 'expect ready' raw "do kill -KILL \$(sed -n 's/.*\"supervisor\":\([0-9]*\).*/\1/p' $CRATE_RUN/$id/pid)" \
		'expect supervisor' 'end 125' same | at crate-sup run "$id"
	gone
}

# Where nobody reads what is shown, the program hears of it; standard input is a terminal all the same.
test_L14_terminal_is_restored_when_the_reader_goes_away() {
	have "$BUSYBOX"
	made sh -c 'echo ready; exec yes'
	at bash -c "crate-sup run $id | head -n 1; exit \${PIPESTATUS[0]}" <<-EOF
		expect ready
		end 141
		same
	EOF
	gone
}

test_a_terminal_that_is_hung_up_ends_the_program() {
	have "$BUSYBOX"
	made sh -c "$WAITING"
	printf '%s\n' 'expect ready' raw 'hang up' 'signal HUP' 'end 129' | at crate-sup run "$id"
	gone
}

# --- its size ---

test_L15_first_size() {
	have "$BUSYBOX"
	local count
	made stty size
	for count in 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29; do
		printf '%s\n' "expect $count 1$count\r\n" 'end 0' same | at --size "${count}x1$count" crate-sup run "$id"
	done
	printf '%s\n' 'end 0' same | at --size 0x0 crate-sup run "$id"
	gone
}

# A program that says its size whenever it is told of one.
DRAWING='trap "stty size" WINCH; echo ready; while :; do sleep 0.1; done'

test_resize() {
	have "$BUSYBOX"
	made sh -c "$DRAWING"
	{
		printf '%s\n' 'expect ready' 'resize 10 20' 'expect 10 20\r\n' 'resize 11 21' 'expect 11 21\r\n'
		# Of many the last one counts.
		seq -f 'resize %g 33' 1 200
		printf '%s\n' 'expect 200 33\r\n' 'send \x10\x11' 'end 0' same
	} | at crate-sup run "$id"
	gone
}

# --- leaving and coming back ---

test_detach_keys_across_reads() {
	have "$BUSYBOX"
	made sh -c "$DRAWING"
	# That the new size is told proves that what was typed before it has been read.
	at crate-sup run "$id" <<-'EOF'
		expect ready
		raw
		send \x10
		resize 10 20
		expect 10 20
		send \x10
		resize 11 21
		expect 11 21
		send \x11
		end 0
		same
	EOF
	printf '%s\n' raw 'send \x10\x11' 'send \x01' 'resize 12 22' 'expect 12 22' 'send x' 'end 0' same |
		at crate-sup attach --detach-keys ctrl-a,x "$id"
	printf '%s\n' raw 'send \x10\x11' 'resize 13 23' 'expect 13 23' 'signal KILL' 'end 137' same |
		at crate-sup attach --detach-keys= "$id"
	expect_code 0 crate-sup top "$id"
	gone
	expect_code 2 crate-sup attach --detach-keys long "$id"
}

test_keys_that_do_not_detach_are_passed_on() {
	have "$BUSYBOX"
	made sh -c 'stty raw -echo; echo ready; head -c 4 | od -An -tx1'
	printf '%s\n' 'expect ready' raw 'send \x10' 'send \x10a\x11' 'expect 10 10 61 11' 'end 0' same | at crate-sup run "$id"
	gone
}

test_reattach_redraws() {
	have "$BUSYBOX"
	made sh -c "$DRAWING"
	printf '%s\n' 'expect ready' raw 'send \x10\x11' 'end 0' same | at crate-sup run "$id"
	# Even where the size is the same.
	printf '%s\n' 'expect 24 80\r\n' raw 'send \x10\x11' 'end 0' same | at crate-sup attach "$id"
	printf '%s\n' 'expect 40 100\r\n' raw 'send \x10\x11' 'end 0' same | at --size 40x100 crate-sup attach "$id"
	printf '%s\n' raw "do crate-sup stop -t 5 $id" 'end 143' same | at crate-sup attach "$id"
	expect_code 1 crate-sup attach "$id"
	one_line crate-sup 'not running'
	nothing_out
	gone
	expect_code 3 crate-sup attach "$id"
}

test_attach_passes_signals_on_or_not() {
	have "$BUSYBOX"
	id=$(crate-store create "$BUSYBOX" -- sh -c 'trap "echo got; exit 9" TERM; while :; do echo tick; sleep 0.1; done')
	expect "$id" crate-sup start "$id"
	printf '%s\n' 'expect tick' 'signal TERM' 'end 143' same | at crate-sup attach --sig-proxy=false "$id"
	printf '%s\n' 'expect tick' 'signal TERM' 'expect got' 'end 9' same | at crate-sup attach "$id"
	gone
}

# A client that does not read is no concern of the container's.
test_L13_slow_client_does_not_hold_the_container() {
	have "$BUSYBOX"
	made sh -c 'echo ready; while [ ! -e /tmp/go ]; do echo tick; sleep 0.1; done; probe flood 1 20000000; exit 5'
	expect "$id" crate-sup start "$id"
	at crate-sup attach "$id" <<-EOF
		expect tick
		hold STOP
		do crate-sup exec $id touch /tmp/go
		do [ "\$(crate-sup wait $id)" = 5 ]
		signal CONT
		expect not read in time
		end 5
		same
	EOF
	gone
}

# --- what the program sees ---

test_tty_is_pts_0() {
	have "$BUSYBOX"
	made sh -c 'tty; ls -l /proc/self/fd | grep -c /dev/pts/0; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all; : >/dev/tty && echo controls'
	printf '%s\n' 'expect /dev/pts/0\r\n' 'expect 2\r\n' 'expect all' 'expect controls' 'end 0' same | at crate-sup run "$id"
	gone
}

test_default_is_interactive_on_a_terminal() {
	have "$BUSYBOX"
	at crate run --rm "$BUSYBOX" <<-'EOF'
		raw
		send tty; echo a''b\r
		expect /dev/pts/0
		expect ab
		send exit 6\r
		end 6
		same
	EOF
	expect "$(printf '0 no\n1 no\n2 no')" crate run --rm "$BUSYBOX" probe tty
}

# --- the jobs of a shell ---

shell() { PS1='$ ' at bash --noprofile --norc -i; }

# The client, which is the child of the shell that the terminal was made for.
CLIENT='/proc/$(cut -d " " -f 1 /proc/$PID/task/$PID/children)'

test_job_control_with_a_terminal() {
	have "$BUSYBOX"
	made sh -c 'echo ready; while read word; do echo "<$word>"; done'
	shell <<-EOF
		send crate-sup run $id &\r
		until grep -q '^State:.T' $CLIENT/status
		send jobs\r
		expect Stopped
		send echo a''b; bg\r
		expect ab
		until grep -q '^State:.T' $CLIENT/status
		send echo c''d; fg\r
		expect cd
		raw
		send one\r
		expect <one>
		do kill -TSTP \$(basename $CLIENT)
		expect Stopped
		send echo e''f; fg\r
		expect ef
		raw
		send two\r
		expect <two>
		do kill -STOP \$(basename $CLIENT)
		expect Stopped
		send kill %1\r
		until ! grep -q . /proc/\$PID/task/\$PID/children
		send jobs\r
		expect Exit 143
		send exit\r
		end 0
		same
	EOF
	gone
}

test_job_control_without_a_terminal() {
	have "$BUSYBOX"
	id=$(crate-store create "$BUSYBOX" -- sh -c 'trap "echo got; exit 9" TERM; while :; do echo tick; sleep 0.1; done')
	shell <<-EOF
		send crate-sup run $id\r
		expect tick
		send \x1a
		expect Stopped
		send fg\r
		expect tick
		send \x1a
		expect Stopped
		send bg\r
		expect tick
		send kill %1; wait %1; echo co''de \$?\r
		expect got
		expect code 9
		send exit\r
		end 0
		same
	EOF
	gone
}
