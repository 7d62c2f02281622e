#!/bin/bash
# filter.sh: what crate-init gives a program besides capabilities: a filter of system calls, limits, kernel settings, a keyring.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$TESTS/by_hand.sh"

# A filter for FILE: these system calls end with that error, others are made.
bpf() { # FILE ERRNO NAME...
	python3 "$TESTS/bpf.py" "$@"
}

# What crate-init does between the options and the program, besides what any program does.
OWN='setresuid setresgid setgroups capset prctl prlimit64 setsid ioctl dup2 close_range umask keyctl seccomp fchown fchmod poll sendmsg'

test_seccomp_is_in_force() {
	tree
	bpf filter 74 sethostname # EBADMSG
	expect_code 0 in_tree -- hostname new
	local more
	for more in '' --reap; do
		# shellcheck disable=SC2086
		FILE=filter expect_code 1 in_tree --no-new-privs --seccomp FILE $more -- hostname new
		has "$WORK/err" 'Bad message'
		# shellcheck disable=SC2086
		FILE=filter expect "$(printf '2\n2')" in_tree --no-new-privs --seccomp FILE $more -- sh -c \
			'for p in 1 self; do sed -n "s/^Seccomp:\t//p" /proc/$p/status; done'
	done
	FILE=filter start --no-new-privs --seccomp FILE -- sleep 60
	FILE=filter expect_code 1 join --no-new-privs --seccomp FILE -- hostname new
	has "$WORK/err" 'Bad message'
	end
}

# It may deny all that crate-init does itself, or answer it and do nothing.
test_seccomp_comes_last() {
	tree
	local errno
	for errno in 0 1; do
		# shellcheck disable=SC2086
		bpf filter $errno $OWN
		# shellcheck disable=SC2086
		FILE=filter expect "$(printf '%016x\n' 0 32 32 32 0)" in_tree $FEW --reap --seccomp FILE -- sed -n 's/^Cap...:\t//p' /proc/self/status
		FILE=filter expect_shown /dev/pts/0 on_terminal --no-new-privs --seccomp FILE -- sh -c 'readlink /proc/self/fd/0'
	done
	[ "$KIND" != single ] || return 0
	FILE=filter expect "$(printf '33\t33\t33\t33\n44\t44\t44\t44')" in_tree --user 33:44 --no-new-privs --seccomp FILE -- \
		sed -n 's/^[UG]id:\t//p' /proc/self/status
}

# The capability that loads it then is the program's in no case, nor that of process 1 that stays.
test_seccomp_without_no_new_privs() {
	tree
	local errno few=${FEW% *}
	for errno in 0 1; do
		# shellcheck disable=SC2086
		bpf filter $errno $OWN
		# shellcheck disable=SC2086
		FILE=filter expect "$(printf '%016x\n' 0 32 32 32 0; printf '%s\n' 0 2)" in_tree $few --seccomp FILE -- \
			sed -n 's/^\(Cap...\|NoNewPrivs\|Seccomp\):\t//p' /proc/self/status
		# shellcheck disable=SC2086
		FILE=filter expect "$(printf '%016x\n' 0 32 32 32 0)" in_tree $few --reap --seccomp FILE -- sed -n 's/^Cap...:\t//p' /proc/1/status
		[ "$KIND" != single ] || continue
		# shellcheck disable=SC2086
		FILE=filter expect "$(printf '%016x\n' 0 0 0 32 0)" in_tree $few --user 33:44 --seccomp FILE -- sed -n 's/^Cap...:\t//p' /proc/self/status
	done
	bpf filter 74 sethostname
	# shellcheck disable=SC2086
	FILE=filter start $few --seccomp FILE -- sleep 60
	# shellcheck disable=SC2086
	FILE=filter expect "$(printf '%016x\n' 0 32 32 32 0)" join $few --seccomp FILE -- sed -n 's/^Cap...:\t//p' /proc/self/status
	end
}

test_seccomp_refuses_what_is_no_filter() {
	tree
	bpf filter 1 read
	: >empty
	head -c 9 filter >odd
	head -c $((4097 * 8)) /dev/zero >long
	head -c 16 filter >invalid
	local name more
	for more in '' --reap; do
		for name in empty odd long; do
			# shellcheck disable=SC2086
			FILE=$name expect_code 125 in_tree --no-new-privs --seccomp FILE $more -- true
			has "$WORK/err" 'failed 125 the seccomp filter is not of 1 to 4096 instructions'
		done
		# shellcheck disable=SC2086
		FILE=invalid expect_code 125 in_tree --no-new-privs --seccomp FILE $more -- true
		has "$WORK/err" 'failed 125 loading the seccomp filter: Invalid argument'
	done
	FILE=tree expect_code 125 in_tree --no-new-privs --seccomp FILE -- true
	has "$WORK/err" 'failed 125 reading the seccomp filter: Is a directory'
	expect_code 125 in_tree --no-new-privs --seccomp 99 -- true
	has "$WORK/err" 'failed 125 reading the seccomp filter: Bad file descriptor'
}

# Process 1 that may not wait would wait forever.
test_seccomp_that_stops_process_1_ends_it() {
	tree
	bpf filter 1 wait4
	FILE=filter expect_code 125 timeout 20 bash -c "$(declare -f supervise in_tree); $(declare -p BASE TESTS KIND WORK); in_tree --reap --no-new-privs --seccomp FILE -- true"
}

test_rlimit() {
	tree
	expect "$(printf '%s\n' 100 200 0 unlimited)" in_tree --rlimit RLIMIT_NOFILE 100 200 --rlimit RLIMIT_CORE 0 0 \
		--rlimit RLIMIT_CPU unlimited unlimited -- sh -c 'ulimit -n; ulimit -Hn; ulimit -c; ulimit -t'
	start -- sleep 60
	expect 100 join --rlimit RLIMIT_NOFILE 100 200 -- sh -c 'ulimit -n'
	end
	expect_code 125 in_tree --rlimit RLIMIT_NOFILE 200 100 -- true
	has "$WORK/err" 'failed 125 setting RLIMIT_NOFILE: Invalid argument'
	expect_code 125 in_tree --rlimit NOFILE 1 1 -- true
	has "$WORK/err" 'no such limit: NOFILE'
	expect_code 125 in_tree --rlimit RLIMIT_NOFILE 1k 1k -- true
	has "$WORK/err" 'not a number: 1k'
	(
		ulimit -Hn 500 -Sn 500
		if (ulimit -Hn 501) 2>/dev/null; then # CAP_SYS_RESOURCE, which this root may lack
			expect 501 in_tree --rlimit RLIMIT_NOFILE 501 501 -- sh -c 'ulimit -n'
		else
			expect_code 125 in_tree --rlimit RLIMIT_NOFILE 100 501 -- true
			has "$WORK/err" "failed 125 setting RLIMIT_NOFILE to 100:501: the caller's hard limit is 500"
		fi
	)
}

# Whatever too little there is of, a line says that nothing ran.
test_rlimit_too_small_to_begin() {
	tree
	local limit more
	for more in '' --reap; do
		for limit in AS DATA STACK FSIZE NOFILE; do
			# shellcheck disable=SC2086
			run in_tree --rlimit RLIMIT_$limit 1 1 $more -- true
			case $code in
			0) has "$WORK/err" runs ;;
			125 | 126) has "$WORK/err" "failed $code" ;;
			137 | 139) ;; # By the kernel, in place of the program.
			*) show "$limit" >&2 && fail "exit code $code" ;;
			esac
		done
	done
}

set_in_tree() { # NAME VALUE PROGRAM...
	local name=$1 value=$2
	shift 2
	# shellcheck disable=SC2086
	supervise --sysctl "$name" "$value" $BASE --pivot --env PATH=/bin --cwd / -- "$@"
}

# E8: what is written for procfs lands there or nowhere.
test_sysctl() {
	tree
	local name host
	host=$(cat /proc/sys/kernel/msgmax)
	expect 4097 set_in_tree kernel.msgmax 4097 cat /proc/sys/kernel/msgmax
	same "the host's" "$(cat /proc/sys/kernel/msgmax)" "$host"
	for name in '' . .. kernel..msgmax ../sys/kernel/msgmax kernel/msgmax kernel.../msgmax .kernel.msgmax kernel.msgmax.; do
		expect_code 125 set_in_tree "$name" 1 true
		has "$WORK/err" "failed 125 not a kernel setting: $name"
	done
	expect_code 125 set_in_tree kernel.no_such 1 true
	has "$WORK/err" 'failed 125 opening the kernel setting kernel.no_such: No such file or directory'
	expect_code 125 set_in_tree kernel.msgmax many true
	has "$WORK/err" 'failed 125 setting kernel.msgmax: Invalid argument'
}

# E8: where no procfs of its own is to be had, what covers the setting gets nothing. A cover that comes of another user
# namespace cannot be taken off, so that the kernel makes no procfs without it.
test_sysctl_behind_a_cover() {
	tree
	local cover='mount -t tmpfs cover "$0" &&' inner='exec unshare -Urm "$@"'
	local plan="python3 $TESTS/supervise.py --sysctl kernel.msgmax 4097 --private --root $WORK/tree --mount bind /proc /proc rbind --pivot"
	# shellcheck disable=SC2086
	expect 4097 unshare -Urm sh -c "$cover $inner" /proc/tty $plan -- /bin/cat /proc/sys/kernel/msgmax
	# shellcheck disable=SC2086
	expect 125,1 unshare -Urm sh -c "$cover mkdir /proc/sys/kernel && echo 1 >/proc/sys/kernel/msgmax; ($inner); "'
		echo $?,$(cat /proc/sys/kernel/msgmax)' /proc/sys $plan -- /bin/true
	has "$WORK/err" 'failed 125 opening the kernel setting kernel.msgmax: '
}

# E18: what the caller holds in its session keyring is out of reach.
test_session_keyring() {
	tree
	KEY=crate-test expect found in_tree -- probe key crate-test
	KEY=crate-test expect_code 1 in_tree --session-keyring -- probe key crate-test
	has "$WORK/err" 'Required key not available'
}

# It may be missing where no program could ask for keys.
test_session_keyring_that_cannot_be_made() {
	tree
	bpf quota 122 keyctl # EDQUOT
	bpf denied 1 keyctl add_key request_key
	bpf half 1 keyctl
	OUTER=quota expect_code 125 in_tree --session-keyring -- true
	has "$WORK/err" 'failed 125 making a session keyring: Quota exceeded'
	has "$WORK/err" 'hint: the limits are in /proc/sys/kernel/keys'
	OUTER=quota FILE=half expect_code 125 in_tree --session-keyring --no-new-privs --seccomp FILE -- true
	OUTER=quota FILE=denied expect_code 0 in_tree --session-keyring --no-new-privs --seccomp FILE -- true
	OUTER=denied expect_code 0 in_tree --session-keyring -- true
}
