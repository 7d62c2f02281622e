#!/bin/bash
# seccomp.sh: which system calls a container's program can make, by default, with capabilities, and with a profile.
# shellcheck disable=SC2094 # A file that is written is called like the program that writes it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# What the default profile says of each call of tests/probe/calls.c. Those marked + are let in: the error is the kernel's own
# and another in each kernel. All others are denied with the error that is here.
TABLE='
ptrace + process_vm_readv + name_to_handle_at + landlock_create_ruleset + memfd_create +
personality.query + personality.linux32 + personality.linux + personality.norandom EPERM
socket.inet + socket.netlink + socket.alg EPERM socket.vsock EPERM socket.alg+2^32 EPERM
keyctl EPERM add_key EPERM request_key EPERM perf_event_open EPERM bpf EPERM userfaultfd EPERM
io_uring_setup EPERM io_uring_enter EPERM io_uring_register EPERM
clone.user EPERM clone.net EPERM unshare EPERM setns EPERM clone3 ENOSYS
mount EPERM umount2 EPERM pivot_root EPERM fsopen EPERM fsconfig EPERM fsmount EPERM fspick EPERM open_tree EPERM
move_mount EPERM mount_setattr EPERM open_by_handle_at EPERM fanotify_init EPERM quotactl EPERM quotactl_fd EPERM
lookup_dcookie EPERM kexec_load EPERM kexec_file_load EPERM init_module EPERM finit_module EPERM delete_module EPERM
swapon EPERM swapoff EPERM reboot EPERM acct EPERM sethostname EPERM settimeofday EPERM clock_settime EPERM iopl EPERM
ioperm EPERM vhangup EPERM get_mempolicy EPERM mbind EPERM move_pages EPERM kcmp EPERM pidfd_getfd EPERM
process_madvise EPERM ustat EPERM lsm_get_self_attr EPERM
open_tree_attr ENOSYS file_getattr ENOSYS call.400 ENOSYS call.999 ENOSYS x32.getpid ENOSYS x32.ioctl ENOSYS
i386.getppid + i386.socket.inet + i386.socket.alg EPERM i386.mount EPERM i386.keyctl EPERM i386.unshare EPERM
i386.clone3 ENOSYS i386.ioctl.sti EPERM i386.call.999 ENOSYS
ioctl.winsize + ioctl.sti EPERM ioctl.sti+2^32 EPERM ioctl.linux EPERM mkdir +'

# The program that makes the calls comes from outside.
prepare() {
	have "$BUSYBOX"
	options=(--rm -v "$CRATE_STAGE/bin/calls:/bin/calls:ro")
}

# compare FILE: the lines of `calls` in it are as the table says.
compare() {
	local name wanted got
	while read -r name wanted; do
		got=$(sed -n "s/^$name //p" "$1")
		case $wanted in
		+) case $got in "" | EPERM | ENOSYS) fail "$name: $got, though it should be let in" ;; esac ;;
		*) same "$name" "$got" "$wanted" ;;
		esac
	done < <(echo "$TABLE" | tr ' ' '\n' | sed '/^$/d' | paste -d ' ' - -)
}

# E18: the default profile, for run and exec alike.
test_E18_table_of_calls() {
	prepare
	id=$(crate run -d "${options[@]}" "$BUSYBOX" probe wait)
	crate exec "$id" calls >by-exec
	crate rm -f "$id" >/dev/null
	compare by-exec
	crate run "${options[@]}" "$BUSYBOX" calls >run
	cmp run by-exec
	crate run "${options[@]}" --init "$BUSYBOX" calls >run
	cmp run by-exec
	crate run --rm "$BUSYBOX" probe status Seccomp >status
	has status "$(printf 'Seccomp:\t2')"
}

# The same calls with no profile: what the table denies would have been let in, or the kernel says so by itself. Were it the
# kernel that denied them, the table would show nothing.
test_E18_without_a_profile_the_kernel_itself_answers() {
	prepare
	crate run "${options[@]}" --security-opt seccomp=unconfined "$BUSYBOX" calls >calls
	local name
	for name in keyctl add_key request_key perf_event_open userfaultfd io_uring_setup clone.user clone.net unshare setns \
		clone3 mount umount2 fsconfig open_tree mount_setattr quotactl quotactl_fd swapon clock_settime get_mempolicy \
		kcmp pidfd_getfd process_madvise personality.norandom socket.alg open_tree_attr i386.mount i386.keyctl \
		i386.unshare i386.clone3 i386.ioctl.sti ioctl.sti ioctl.linux; do
		[ "$(sed -n "s/^$name //p" calls | grep -c -E '^(EPERM|ENOSYS)$')" = 0 ] || fail "$name is denied without a profile"
	done
	crate run "${options[@]}" --privileged "$BUSYBOX" calls >calls
	has calls 'mount EFAULT'
	has calls 'clone3 EINVAL'
}

test_E18_capabilities_let_calls_in() {
	prepare
	crate run "${options[@]}" --cap-add SYS_ADMIN "$BUSYBOX" calls >calls
	has calls 'mount EFAULT'
	has calls 'clone.user EINVAL'
	has calls 'clone3 EINVAL'
	has calls 'i386.mount EFAULT'
	has calls 'keyctl EPERM'
	crate run "${options[@]}" --cap-add SYS_PTRACE,SYS_NICE --cap-drop SYS_CHROOT "$BUSYBOX" calls >calls
	has calls 'kcmp ESRCH'
	has calls 'get_mempolicy EINVAL'
	has calls 'mount EPERM'
	expect_code 1 crate run --rm --cap-drop SYS_CHROOT "$BUSYBOX" chroot / true
	has err 'Operation not permitted'
}

# profile NAME: a profile that lets all calls in but those of a rule of standard input.
profile() {
	printf '{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [%s]}' "$(cat)" >"$1"
}

test_profile_of_a_file() {
	prepare
	profile deny <<-'EOF'
		{"names": ["mkdir", "mkdirat", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
		{"names": ["umask"], "action": "SCMP_ACT_KILL_PROCESS", "args": [{"index": 0, "value": 55, "op": "SCMP_CMP_EQ"}]}
	EOF
	expect_code 1 crate run --rm --security-opt seccomp=deny "$BUSYBOX" mkdir /x
	has err 'Permission denied'
	expect 0022 crate run --rm --security-opt seccomp=deny "$BUSYBOX" sh -c umask
	# By SIGSYS.
	expect_code 159 crate run --rm --security-opt seccomp=deny "$BUSYBOX" sh -c 'exec sh -c "umask 067"'
	id=$(crate create --security-opt seccomp=deny "$BUSYBOX" sh -c 'mkdir /x')
	rm deny # It is in the container's own files now.
	expect_code 1 crate start -a "$id"
	has err 'Permission denied'
	crate rm "$id" >/dev/null
	# i386 was not let in.
	profile allow </dev/null
	crate run "${options[@]}" --security-opt seccomp=allow "$BUSYBOX" calls >calls 2>/dev/null || code=$?
	same 'the end of a call of i386' "$code" 159
	lacks calls i386
	has calls 'keyctl Not supported'
	has calls 'x32.getpid ENOSYS'
}

# Those conditions that depend on the container are resolved when it is made.
test_profile_in_docker_s_format() {
	have "$BUSYBOX"
	cat >docker <<-'EOF'
		{"defaultAction": "SCMP_ACT_ALLOW", "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": null}],
		"syscalls": [{"name": "mkdir", "action": "SCMP_ACT_ERRNO", "args": [], "comment": "", "includes": {"caps": ["CAP_SYS_NICE"],
		"minKernel": "4.8"}, "excludes": {"arches": ["s390x"]}}]}
	EOF
	expect_code 0 crate run --rm --security-opt seccomp=docker "$BUSYBOX" mkdir /x
	expect_code 1 crate run --rm --security-opt seccomp=docker --cap-add SYS_NICE "$BUSYBOX" mkdir /x
	has err 'Operation not permitted'
}

test_bad_profiles_are_refused() {
	have "$BUSYBOX"
	local text
	for text in '' '{' '[]' '{}' '{"defaultAction": "SCMP_ACT_NOTIFY"}' '{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"}' \
		'{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_VAX"]}' \
		'{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "DENY"}]}'; do
		echo "$text" >bad
		expect_code 125 crate run --rm --security-opt seccomp=bad "$BUSYBOX" true
		one_line crate-store 'reading bad: '
	done
	has err 'syscalls[0].action: "DENY" is not supported'
	head -c 2000000 /dev/zero | tr '\0' ' ' >bad
	expect_code 125 crate create --security-opt seccomp=bad "$BUSYBOX" true
	has err 'larger than 1048576 bytes'
	expect_code 125 crate create --security-opt seccomp=/no/such "$BUSYBOX" true
	one_line crate-store 'No such file'
	same 'containers' "$(crate ps -aq)" ''
}

# A profile that lets nothing in, execve(2) and exit_group(2) among it: what cannot end by a call ends by a signal.
test_profile_that_lets_nothing_in() {
	have "$BUSYBOX"
	local action flag
	for action in KILL KILL_PROCESS TRAP ERRNO; do
		echo "{\"defaultAction\": \"SCMP_ACT_$action\", \"syscalls\": [{\"names\": [\"file_getattr\"], \"action\": \"SCMP_ACT_ALLOW\"}]}" >nothing
		for flag in --init=false --init; do
			run timeout 20 crate run --rm $flag --security-opt seccomp=nothing "$BUSYBOX" true
			[ "$code" -gt 128 ] || { show "$action $flag"; fail 'it did not end by a signal'; }
		done
	done
	echo '{"defaultAction": "SCMP_ACT_KILL"}' >nothing
	run timeout 20 crate run --rm --security-opt seccomp=nothing "$BUSYBOX" true
	[ "$code" -gt 128 ] || { show true; fail 'it did not end by a signal'; }
	same 'containers' "$(crate ps -aq)" ''
}

# typed CMD...: what CMD prints, in which TTY stands for a terminal of the host's that is nobody's yet.
typed() {
	python3 - "$@" <<-'EOF'
		import os, pty, subprocess, sys
		master, slave = pty.openpty()
		words = [word.replace("TTY", os.ttyname(slave)) for word in sys.argv[1:]]
		print(subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout.decode().strip())
	EOF
}

# E17, CVE-2019-7303: what a container types at a terminal of the host's, the host's shell would run. Here it is given one;
# with no profile it types there, by requests that differ in their upper half, of which the kernel takes the lower.
test_E17_typing_at_a_terminal_is_denied() {
	needs python3
	[ "$(cat /proc/sys/dev/tty/legacy_tiocsti 2>/dev/null || echo 1)" = 1 ] || skip 'this kernel lets nobody type (dev.tty.legacy_tiocsti)'
	prepare
	same 'typed with no profile' "$(typed crate run "${options[@]}" --device TTY:/dev/theirs --security-opt seccomp=unconfined "$BUSYBOX" \
		calls type /dev/theirs)" 'typed 3'
	profile allow </dev/null
	same 'typed' "$(typed crate run "${options[@]}" --device TTY:/dev/theirs "$BUSYBOX" calls type /dev/theirs)" 'typed 0'
	same 'typed with SYS_ADMIN' "$(typed crate run "${options[@]}" --device TTY:/dev/theirs --cap-add SYS_ADMIN "$BUSYBOX" \
		calls type /dev/theirs)" 'typed 0'
	same 'typed with a profile that lets all in' "$(typed crate run "${options[@]}" --device TTY:/dev/theirs --security-opt seccomp=allow \
		"$BUSYBOX" calls type /dev/theirs)" 'typed 0'
	# With -t the terminal is the container's own, and nothing is typed there either.
	python3 "$TESTS/terminal.py" crate run "${options[@]}" -t "$BUSYBOX" calls type /dev/tty <<-'EOF'
		expect typed 0
		end 0
	EOF
}

# E18: C libraries start threads by clone3(2), and by clone(2) where they are told that it does not exist. The first is
# musl's, the second glibc's.
test_E18_threads_start() {
	needs gcc
	prepare
	expect threads crate run "${options[@]}" "$BUSYBOX" calls threads
	cat >threads.c <<-'EOF'
		#include <pthread.h>
		#include <stdio.h>
		static void *empty(void *nothing) { return nothing; }
		int main(void)
		{
			pthread_t thread;
			if (pthread_create(&thread, NULL, empty, NULL) || pthread_join(thread, NULL))
				return 1;
			puts("threads");
		}
	EOF
	gcc -static -pthread -o threads threads.c
	expect threads crate run --rm -v "$PWD/threads:/bin/threads:ro" "$BUSYBOX" threads
}
