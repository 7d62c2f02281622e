#!/bin/bash
# init.sh: crate-init by itself, in namespaces made by hand; supervise.py plays its supervisor.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

. "$TESTS/by_hand.sh"

# --- the terminal ---

test_console_is_the_program_s_terminal() {
	tree
	expect_shown "$(printf '/dev/pts/0\n31 97\nname\nconsole\ntty\nstdout\nstderr')" on_terminal -- sh -c \
		'tty; stty size; echo name >/dev/pts/0; echo console >/dev/console; echo tty >/dev/tty; echo stdout; echo stderr >&2'
	has "$WORK/err" 'terminal /dev/pts/0'
	has "$WORK/err" runs
}

test_console_is_handed_out_before_a_failure_too() {
	tree
	expect_code 127 on_terminal -- no-such-program
	has "$WORK/err" 'failed 127 executing no-such-program: not found in PATH'
	nothing_out
	expect_code 127 on_terminal --reap -- no-such-program
	has "$WORK/err" 'failed 127 executing no-such-program: not found in PATH'
	nothing_out
}

test_console_of_no_size_is_left_alone() {
	tree
	SIZE='0 0' expect_shown "$(printf '%s /dev/pts/0 0x0\n' 0 1 2)" on_terminal -- probe tty
	SIZE='65535 1' expect_shown "$(printf '%s /dev/pts/0 1x65535\n' 0 1 2)" on_terminal -- probe tty
	SIZE='65536 1' expect_code 125 on_terminal -- stty size
	has "$WORK/err" 'not a number: 65536'
}

test_console_belongs_to_the_user() {
	tree
	expect_shown "$(printf '88:0 0 620\n88:0 0 620')" on_terminal -- stat -c '%t:%T %u %a' /dev/pts/0 /dev/console
	[ "$KIND" != single ] || return 0
	expect_shown "$(printf '33 0 620\nby name')" on_terminal --user 33:44 -- sh -c 'stat -c "%u %g %a" /dev/pts/0; echo by name >/dev/pts/0'
}

# What stands in the place of the devpts decides nothing.
test_console_needs_a_devpts() {
	tree
	MOUNTS='--console CONSOLE 1 1' expect_code 125 in_tree -- true
	has "$WORK/err" 'failed 125 making a terminal in dev/pts: No such file'
	MOUNTS='--mount tmpfs tmpfs /dev/pts mode=755 --console CONSOLE 1 1' expect_code 125 in_tree -- true
	has "$WORK/err" 'is not a devpts'
	ln -s /real tree/link
	ln -s /real tree/dev/pts
	BASE="--private --root $WORK/tree --mount proc proc /proc nosuid ${PTS/\/dev\/pts/\/real}"
	MOUNTS='--console CONSOLE 1 1' expect_code 125 in_tree -- true
	has "$WORK/err" 'making a terminal in dev/pts: Symbolic link loop'
}

test_console_keys_reach_the_program() {
	tree
	TYPE=$'\003' expect_code 130 on_terminal --reap -- sleep 60
	TYPE=$'text\n\004' expect_code 0 on_terminal --reap -- sh -c 'stty -echo; cat >/text; [ "$(cat /text)" = text ]'
}

# --- process 1 that stays ---

test_reap_ends_as_the_program_does() {
	tree
	expect_code 0 in_tree --reap -- true
	expect_code 7 in_tree --reap -- sh -c 'exit 7'
	expect_code 137 in_tree --reap -- sh -c 'kill -KILL $$'
	expect_code 134 in_tree --reap -- sh -c 'kill -ABRT $$'
	expect_code 127 in_tree --reap -- no-such-program
	has "$WORK/err" 'failed 127 executing no-such-program: not found in PATH'
	expect_code 126 in_tree --reap -- /etc
	has "$WORK/err" 'failed 126 executing /etc'
}

test_reap_forwards_signals() {
	tree
	expect 'all' in_tree --reap -- sh -c 'for s in HUP INT QUIT USR1 USR2 ALRM TERM TSTP TTIN TTOU CONT WINCH 34 64; do
		trap "seen=$s" $s; kill -$s 1; while [ "$seen" != $s ]; do sleep 0.01; done; done; echo all'
	expect_code 143 in_tree --reap -- sh -c 'kill -TERM 1; sleep 60'
	start --reap -- sh -c 'trap "exit 9" INT; echo ready; while :; do sleep 0.01; done'
	until grep -q ready start.out; do sleep 0.02; done
	kill -INT "$container"
	code=0
	wait $! || code=$?
	same 'exit code' "$code" 9
}

# All signals count as blocked, so whoever looks from outside sees that none would be lost.
test_reap_shows_that_signals_are_not_lost() {
	tree
	expect 'fffffffffffbfeff' in_tree --reap -- sh -c "sed -n 's/^SigBlk:\t//p' /proc/1/status"
	expect '0000000000000000' in_tree --reap -- sh -c "sed -n 's/^Sig[BI][lg][kn]:\t//p' /proc/self/status | sort -u"
}

test_reap_takes_orphans() {
	tree
	expect 'none is left' in_tree --reap -- sh -c 'i=0; while [ $i -lt 2000 ]; do (true &); i=$((i+1)); done
		while grep -q "State:.Z" /proc/[0-9]*/status 2>/dev/null; do sleep 0.05; done; echo none is left'
}

# Pipes end with the program, not with process 1: that has nothing open but its source of signals.
test_reap_keeps_nothing_open() {
	tree
	expect 0 in_tree --reap -- ls /proc/1/fd
	start --reap -- sleep 60 # It is told that this runs while it does.
	end
}

test_reap_cannot_be_looked_into() {
	tree
	# shellcheck disable=SC2086
	expect_code 1 in_tree --reap $FEW -- cat /proc/1/environ
	# shellcheck disable=SC2086
	expect_code 0 in_tree $FEW -- cat /proc/1/environ
}

test_reap_ends_with_its_supervisor() {
	tree
	local program='sleep 60'
	[ "$KIND" = single ] || program='su app -c "sleep 60"'
	start --reap -- sh -c "$program; true"
	kill -KILL "$(sed -n 's/^PPid:\t//p' "/proc/$container/status")"
	gone "$container"
	wait
}

# --- among the processes of a container ---

test_joined_is_among_the_container_s_processes() {
	tree
	start -- sleep 60
	expect "$(printf '%s\n' /tmp "$(wc -l <"/proc/$container/mounts")" sleep)" join --cwd /tmp -- sh -c \
		'pwd; grep -c . /proc/self/mounts; head -c 5 /proc/1/cmdline'
	expect_code 7 join -- sh -c 'exit 7'
	expect_code 127 join -- no-such-program
	has "$WORK/err" 'failed 127 executing no-such-program'
	end
}

test_joined_is_confined() {
	tree
	start -- sleep 60
	# shellcheck disable=SC2086
	expect "$(printf '%016x\n' 0 32 32 32 0; echo 1)" join $FEW -- sh -c "sed -n 's/^\(Cap...\|NoNewPrivs\):\t//p' /proc/self/status"
	expect_code 125 join --user nobody-here -- true
	has "$WORK/err" 'no user nobody-here'
	[ "$KIND" = single ] || expect '1000 /home/app' join --user app -- sh -c 'echo $(id -u) $HOME'
	end
}

test_joined_makes_no_working_directory() {
	tree
	start -- sleep 60
	expect_code 126 join --cwd /no/such -- true
	has "$WORK/err" 'failed 126 entering /no/such: No such file or directory'
	[ ! -e tree/no ] || fail 'it was made'
	end
}

test_joined_console() {
	tree
	MOUNTS=$PTS start -- sleep 60
	expect_shown "$(printf '/dev/pts/0\n10 20\nname\nno console')" join --console CONSOLE 10 20 -- sh -c \
		'tty; stty size; echo name >/dev/pts/0; [ -e /dev/console ] || echo no console'
	end
}

# --- the program's streams, and where the program comes from ---

test_own_stdio_opens_again() {
	only root ranges
	tree
	same 'output' "$(in_tree --user 33:44 --own-stdio -- sh -c 'echo again >/dev/stdout' | cat)" again
	code=0
	in_tree --user 33:44 -- sh -c 'echo again >/dev/stdout' | cat >out || code=$?
	same 'exit code without it' "$code" 1
}

test_own_stdio_is_of_pipes_alone() {
	tree
	local user=33
	[ "$KIND" != single ] || user=0
	: >file
	in_tree --user $user --own-stdio -- true >file 2>/dev/null
	same 'owner' "$(stat -c %u file)" "$(id -u)"
	expect_code 125 in_tree --own-stdio -- true
	has "$WORK/err" '--own-stdio: before --user'
}

test_program_fd_runs_a_program_of_the_host() {
	tree
	cp tree/bin/busybox own
	rm -r tree/bin
	FILE=own expect "$(printf 'etc\n0\n1\n2\n3')" in_tree --program-fd FILE -- sh -c 'cd /; echo e*; ls /proc/self/fd'
	FILE=own expect_code 7 in_tree --reap --program-fd FILE -- sh -c 'exit 7'
	FILE=/etc/passwd expect_code 126 in_tree --program-fd FILE -- sh
	has "$WORK/err" 'failed 126 executing sh: Permission denied'
}

# --- visits ---

test_view_is_the_layers_read_only() {
	tree
	mkdir upper
	echo new >upper/new
	local lower
	for lower in "--lower $WORK/tree" "--lower $WORK/upper --lower $WORK/tree"; do
		# shellcheck disable=SC2086
		expect_code 0 supervise --private $lower --view "$WORK/target" --pivot --env PATH=/bin --cwd / -- sh -c \
			'cat /new; ls -d /etc; ! echo x >/x && ! echo x >/etc/text'
		line '^/etc$'
	done
	line '^new$'
	[ ! -e tree/x ] || fail 'it was written to'
	[ ! -e upper/x ] || fail 'it was written to'
	expect_code 125 supervise --private --lower "$WORK/none" --lower "$WORK/tree" --view "$WORK/target" --pivot -- sh
	has "$WORK/err" 'opening'
}

test_bare_shows_the_root_without_its_mounts() {
	tree
	mkdir volume tree/volume
	: >volume/file
	MOUNTS="--mount bind $WORK/volume /volume rbind" start -- sleep 60
	expect "$(printf 'dev:\n\nproc:\n\nvolume:')" join --bare -- ls dev proc volume
	expect file join --bare -- ls /volume
	expect "$(find tree | sed s/tree/./ | sort)" join --bare -- sh -c 'tar -cf - . | tar -tf - | sed "s,/$,," | sort'
	end
}

# --- where it starts, and as whom ---

# E2: a descriptor of the host is no way out, not even one that the caller left open.
test_cwd_follows_no_magic_link() {
	tree
	expect_code 125 in_tree --cwd /proc/self/fd/9 -- pwd 9<"$WORK"
	has "$WORK/err" 'failed 125 entering /proc/self/fd/9: Symbolic link loop'
	start -- sleep 60
	expect_code 126 join --cwd /proc/1/root -- pwd
	has "$WORK/err" 'failed 126 entering /proc/1/root: Symbolic link loop'
	expect /tmp join --cwd /../tmp -- pwd
	end
}

# E16: groups are kept only where nobody can let go of them.
test_groups_that_cannot_be_left_are_an_error() {
	only root
	needs setpriv
	tree
	# shellcheck disable=SC2086
	expect_code 0 setpriv --groups 0,44 python3 "$TESTS/supervise.py" $BASE --pivot --env PATH=/bin --user 0:0 -- id -G
	line '^0$'
	# shellcheck disable=SC2086
	expect_code 125 setpriv --groups 0,44 --bounding-set -setgid python3 "$TESTS/supervise.py" $BASE --pivot --user 0:0 -- /bin/true
	has "$WORK/err" 'failed 125 becoming the user: Operation not permitted'
}
