#!/bin/bash
# walls.sh: a program of a container, as root there, that tries each known way out: by the kernel's files, by mounts and
# namespaces, by handles and devices, by terminals and sockets of the host. attack.c tries; where everything is allowed the same
# attack wins, which shows that it is one.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

EVERY='["CHOWN","DAC_OVERRIDE","DAC_READ_SEARCH","FOWNER","FSETID","KILL","SETGID","SETUID","SETPCAP","NET_ADMIN","NET_RAW","SYS_CHROOT",
	"SYS_PTRACE","SYS_ADMIN","MKNOD","SETFCAP","SYSLOG"] | map("CAP_" + .)'
OPEN=".process.capabilities |= with_entries(select(.key | IN(\"bounding\", \"effective\", \"permitted\")) | .value = ($EVERY))
	| del(.linux.seccomp, .linux.maskedPaths, .linux.readonlyPaths) | .process.noNewPrivileges = false
	| .mounts |= map(select(.destination == \"/sys\").options -= [\"ro\"])"

# box FILTER FLAG... -- CMD...: a new container, id, whose config.json has passed through the filter of jq.
box() {
	local filter=$1 flags=()
	shift
	while [ "$1" != -- ]; do
		flags+=("$1")
		shift
	done
	shift
	id=$(crate create --rm -v "$CRATE_STAGE/bin/attack:/attack:ro" ${flags[@]+"${flags[@]}"} "$BUSYBOX" "$@")
	jq "$filter" "$CRATE_ROOT/containers/$id/config.json" >changed.json
	cat changed.json >"$CRATE_ROOT/containers/$id/config.json"
}

# The same, and it is run.
in_box() {
	local id
	box "$@"
	run crate start -a "$id"
	[ "$code" = 0 ] || { show "$*"; fail "exit code $code"; }
}

# The same by exec in a container that runs, which has not been changed.
by_exec() { # FLAG... -- CMD...
	local flags=() id
	while [ "$1" != -- ]; do
		flags+=("$1")
		shift
	done
	shift
	id=$(crate run -d -v "$CRATE_STAGE/bin/attack:/attack:ro" ${flags[@]+"${flags[@]}"} "$BUSYBOX" probe wait)
	expect_code 0 crate exec "$id" "$@"
	crate rm -f "$id" >/dev/null
}

held() { # what the attacks said: none won, and there were some
	line ': '
	! grep ': won$' "$WORK/out" || fail 'these won'
}

both() { # FLAG... -- CMD...: by run, also without a filter of system calls, and by exec
	in_box . "$@"
	held
	in_box 'del(.linux.seccomp)' "$@"
	held
	by_exec "$@"
	held
}

# --- files of the kernel ---

# What acts on the host, or has it execute something, when it is written.
WRITES='/proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sys/kernel/hotplug /proc/sys/kernel/poweroff_cmd
	/proc/sys/kernel/sysrq /proc/sys/kernel/panic /proc/sys/vm/panic_on_oom /proc/sys/fs/suid_dumpable /proc/sys/fs/binfmt_misc/register
	/proc/sys/net/ipv4/ip_forward /proc/sys/user/max_user_namespaces /proc/sysrq-trigger /proc/irq/default_smp_affinity
	/proc/kmem /proc/mem /dev/mem /dev/kmem /dev/kmsg /dev/port /proc/bus /proc/fs
	/sys/kernel/uevent_helper /sys/kernel/uevent_seqnum /sys/power/state /sys/power/disk /sys/kernel/debug /sys/kernel/mm/ksm/run
	/sys/fs/cgroup/release_agent /sys/fs/cgroup/memory/release_agent /sys/fs/cgroup/pids/release_agent /sys/fs/cgroup/cgroup.procs
	/sys/firmware/efi/efivars /sys/module/kernel/parameters/panic /sys/class/net/lo/mtu /proc/acpi'

test_files_of_the_kernel_are_not_written() { # E13, E14
	have "$BUSYBOX"
	# shellcheck disable=SC2086
	both -- /attack write $WRITES
	# shellcheck disable=SC2086
	both --network host -- /attack write $WRITES
	# Root's container that may do everything does.
	[ "$KIND" = root ] || return 0
	# shellcheck disable=SC2086
	in_box "$OPEN" -- /attack write $WRITES
	has "$WORK/out" '/proc/sys/kernel/core_pattern: won'
	has "$WORK/out" '/sys/power/state: won'
}

test_secrets_of_the_kernel_are_not_read() { # E13
	have "$BUSYBOX"
	both -- /attack read /proc/kcore /proc/keys /proc/timer_list /dev/mem /dev/kmsg /proc/kmsg \
		/proc/sched_debug /proc/interrupts /proc/scsi/scsi /sys/firmware/dmi/tables/DMI
	in_box "$OPEN" -- /attack read /proc/interrupts
	has "$WORK/out" won
}

# Process 1 of --init is the runtime's: what it has open, and where it is, is not told.
test_the_runtime_s_process_is_closed() { # E1, E3
	have "$BUSYBOX"
	in_box . --init -- /attack read /proc/1/environ /proc/1/mem /proc/1/maps /proc/1/root/etc/passwd /proc/1/cwd/etc/passwd /proc/1/exe \
		/proc/1/fd/0 /proc/1/fd/3 /proc/1/task/1/fd/0
	held
	in_box . --init -- /attack write /proc/1/mem /proc/1/exe /proc/1/cwd /proc/1/root /proc/1/fd/0
	held
}

# --- mounts and namespaces ---

test_calls_that_change_the_surroundings() { # E18, CVE-2022-0492
	have "$BUSYBOX"
	in_box . -- /attack calls /tmp
	held
	by_exec -- /attack calls /tmp
	held
	[ "$KIND" = single ] || { in_box . -u app -- /attack calls /tmp && held; }
	# With no filter it may have a user namespace of its own, and still no mount in this one.
	in_box 'del(.linux.seccomp)' -- /attack calls /tmp
	has "$WORK/out" 'unshare of users: won'
	lacks "$WORK/out" 'mount: won'
	lacks "$WORK/out" 'mount of a tmpfs: won'
	lacks "$WORK/out" 'sethostname: won'
	lacks "$WORK/out" 'pivot_root: won'
	in_box "$OPEN" -- /attack calls /tmp
	has "$WORK/out" 'mount of a tmpfs: won'
	has "$WORK/out" 'bind mount: won'
	has "$WORK/out" 'sethostname: won'
}

test_release_agents() { # E14: CVE-2022-0492
	have "$BUSYBOX"
	local controller filter
	for controller in memory pids devices none,name=systemd; do
		for filter in . 'del(.linux.seccomp)'; do
			in_box "$filter" -- /attack agent $controller /tmp
			held
			in_box "$filter" --network host -- /attack agent $controller /tmp
			held
		done
	done
}

# Two roots one below the other: where the first is no more than that of chroot(2) the host's comes in sight.
test_second_chroot() {
	have "$BUSYBOX"
	mkdir -p jail/inner
	cp "$CRATE_STAGE/bin/attack" jail/
	echo secret >secret
	both -- sh -c "/attack chroot /tmp $WORK/secret; cd /tmp && mkdir -p deep && cd deep && /attack chroot /tmp $WORK/secret"
	in_box "$OPEN" -- /attack chroot /tmp "$WORK/secret"
	held
	if [ "$KIND" = root ]; then
		expect "second chroot: won" chroot jail /attack chroot /inner "$WORK/secret"
	else
		expect "second chroot: won" unshare -r chroot jail /attack chroot /inner "$WORK/secret"
	fi
}

# in_jail PROPAGATION plain|mount SCRIPT: after chroot(2) to a directory, or to one that is a mount point, in a mount namespace whose
# mounts are of that propagation.
in_jail() {
	unshare --mount --propagation "$1" sh -c '
		mkdir -p "jail/$1" jail/proc jail/dev jail/sys jail/tmp
		[ "$2" = plain ] || mount --bind jail jail
		mount --bind "$1" "jail/$1"
		for dir in /proc /dev /sys; do mount --rbind $dir jail$dir; done
		cp /bin/busybox jail/
		exec chroot jail /busybox sh -c "$3"' sh "$CRATE_STAGE" "$2" "$3"
}

# The root that crate is started with may be one of chroot(2): nothing beyond it is let in, and no mount gets there.
test_second_chroot_where_the_first_is_around_crate() { # N8
	only root # In a chroot the kernel makes no user namespace.
	have "$BUSYBOX"
	local propagation kind
	echo secret >secret
	for propagation in private shared; do
		for kind in plain mount; do
			expect_code 0 in_jail $propagation $kind "
				attack chroot /tmp $WORK/secret
				set -e
				/busybox cat /proc/self/mountinfo >before
				crate run --name jailed -d -v $CRATE_STAGE/bin/attack:/attack:ro $BUSYBOX probe wait
				/busybox cat /proc/self/mountinfo >after
				crate exec jailed /attack chroot /tmp $WORK/secret
				crate rm -f jailed
				crate run --rm -v $CRATE_STAGE/bin/attack:/attack:ro $BUSYBOX /attack chroot /tmp $WORK/secret"
			same 'ways that won' "$(grep ': won$' "$WORK/out")" 'second chroot: won' # It is the one without a container.
			same 'ways that did not' "$(grep -c '^second chroot: No such' "$WORK/out")" 2
			cmp jail/before jail/after || fail 'a mount of the container is seen outside'
		done
	done
}

# --- handles, devices ---

test_files_by_their_handles() { # CAP_DAC_READ_SEARCH of docker before 1.0 ("shocker")
	have "$BUSYBOX"
	mkdir volume
	echo secret >secret
	local handle
	read -r -a handle < <("$CRATE_STAGE/bin/attack" handle secret)
	both -v "$WORK/volume:/volume" -- /attack open-handle /volume "${handle[@]}"
	in_box "$OPEN" -v "$WORK/volume:/volume" -- /attack open-handle /volume "${handle[@]}"
	if [ "$KIND" = root ]; then line 'handle: won'; else held; fi
}

test_devices_that_are_made_open_nowhere() { # E21, E23
	have "$BUSYBOX"
	mkdir volume
	local number
	for number in c:1:1 c:1:5 b:254:0 b:8:0; do
		in_box . -v "$WORK/volume:/volume" --tmpfs /scratch -- /attack nodes $number
		! grep 'won$' "$WORK/out" || fail "device $number opens"
		[ "$KIND" != root ] || for where in / /dev /dev/shm /run /volume /scratch; do line "^made in $where$"; done
	done
	[ "$KIND" != root ] || expect "$(printf 'made in %s\ndevice: won' "$WORK")" "$CRATE_STAGE/bin/attack" nodes c:1:5 "$WORK"
}

# --- processes, sockets ---

test_processes_of_the_host() {
	have "$BUSYBOX"
	sleep 100 &
	started+=($!)
	both -- /attack signal $! $$ "$PPID"
	expect 'signal: won' "$CRATE_STAGE/bin/attack" signal $!
}

test_abstract_sockets() { # E20: CVE-2020-15257
	have "$BUSYBOX"
	local name=crate-test-$KIND-$$
	python3 -c "
import socket, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
s.bind('\0$name')
s.listen()
open('ready', 'w').close()
time.sleep(100)" &
	started+=($!)
	eventually test -e ready
	both -- /attack abstract "$name"
	# Who shares the host's network shares these, but none is the runtime's, and no path of its leads to one.
	in_box . --network host -- /attack abstract "$name"
	line 'won$'
	in_box . --network host -- sh -c 'grep -c . /proc/net/unix; sed -n "s/.* @/@/p" /proc/net/unix | grep crate; find / -xdev -type s; find /run /dev -type s'
	sed -i "/^@$name/d; /^@.*crate-test-/d" "$WORK/out"
	same 'sockets' "$(tail -n +2 "$WORK/out")" ''
}

# --- E17: the caller's terminal ---

# at_shell STEP...: at a shell on a terminal of its own.
at_shell() { printf '%s\n' "$@" | PS1='$ ' python3 "$TESTS/terminal.py" bash --noprofile --norc -i || fail "at a terminal: $*"; }

# Whoever shares the terminal of the shell has it do what a file then tells.
typed_into_the_shell() { at_shell "send $CRATE_STAGE/bin/attack type 'touch typed'\\r" 'until [ -e typed ]'; }

# not_typed CMD: nothing that it types at its terminals reaches the shell that it is started from.
not_typed() {
	at_shell "send $1; echo en''ded\\r" 'expect ended\r\n' "send echo ag''ain\\r" 'expect again\r\n' 'do [ ! -e typed ]'
}

test_E17_what_is_typed_stays_inside() { # E17: CVE-2017-5226, CVE-2023-28100, CVE-2019-7303
	have "$BUSYBOX"
	typed_into_the_shell
	rm typed
	local filter flags id
	for flags in -t -it -i --init; do
		for filter in . 'del(.linux.seccomp)'; do
			box "$filter" $flags -- /attack type 'touch typed'
			not_typed "crate-sup run $id"
		done
		box "$filter" $flags -- /attack type 'touch typed'
		not_typed "crate-sup run $id | cat"
		box "$filter" $flags -- /attack type 'touch typed'
		not_typed "crate start -a -i $id"
	done
	box "$filter" -- probe wait
	crate start "$id" >/dev/null
	for flags in -t -it -i -d; do
		not_typed "crate exec $flags $id /attack type 'touch typed'"
	done
	crate rm -f "$id" >/dev/null
}

test_E17_terminals_take_no_text_from_inside() { # E17: CVE-2019-7303
	have "$BUSYBOX"
	# Without a terminal there is none to be had.
	both -i -- /attack type x
	# A terminal of its own takes text, which reaches nobody else; and does not where system calls are filtered.
	in_box 'del(.linux.seccomp)' -t -- /attack type x
	line '^TIOCSTI 0: won'
	in_box . -t -- /attack type x
	! grep 'TIOC[SL][TI].*won' "$WORK/out" || fail 'text was taken'
	line '^TIOCSTI with a high bit 0: Operation not permitted'
}

# --- E9: the standard streams ---

# Neither what the image calls by the names of devices nor the caller's own files get another owner or mode.
test_E9_streams_are_not_opened_by_name() { # E9: CVE-2026-88265
	own_store
	mkdir -p layer/dev volume/dev
	local name user before
	: >volume/target
	chmod 0604 volume/target
	for name in null stdin stdout stderr tty console zero full random urandom; do
		ln -s /volume/target layer/dev/$name
		ln -s /volume/target volume/dev/$name
	done
	tar -cf layer.tar -C layer dev
	sh "$TESTS/image.sh" layout image own '{"Env":["PATH=/bin"]}' "$IMAGES/busybox.tar" layer.tar
	expect_code 0 crate pull --quiet --as localhost/own:1 "oci:$WORK/image:own"
	before=$(stat -c '%a %u %g %s' volume/target)
	for user in 0 $([ "$KIND" = single ] || echo app); do
		for name in -i -t --init; do
			expect_code 0 crate run --rm $name -u "$user" -v "$PWD/volume:/volume" localhost/own:1 true
			run crate run --rm $name -u "$user" -v "$PWD/volume:/volume" -v "$PWD/volume/dev:/dev" localhost/own:1 true
			run crate run --rm $name -u "$user" -v "$PWD/volume:/volume" -v "$PWD/volume/target:/dev/null" localhost/own:1 true
			same 'the file of the volume' "$(stat -c '%a %u %g %s' volume/target)" "$before"
		done
		: >caller
		chmod 0604 caller
		crate run --rm -i -u "$user" "localhost/own:1" sh -c 'echo x; chmod 777 /dev/stdin /dev/stdout /proc/self/fd/1; :' <caller >caller.out 2>caller.err
		same 'the files of the caller' "$(stat -c '%a %u' caller caller.out caller.err)" "$(printf '604 %s\n644 %s\n644 %s' "$(id -u)" "$(id -u)" "$(id -u)")"
	done
}
