#!/bin/bash
# vm.sh: cgroups of version 2, and a host that is no more than an initramfs, in an emulated machine: guest.sh is what runs
# there. It is started once for all cases of the story, and says for each in a line how it went.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

CONSOLE=$STORY_DIR/console

# pack: the initramfs, of our programs, busybox, an image, and the module for overlays.
pack() {
	local host=$WORK/host program
	mkdir -p "$host"/{bin,proc,sys,dev,tmp,run,etc,home}
	for program in crate crate-fetch crate-store crate-sup crate-init; do cp "$CRATE_STAGE/bin/$program" "$host/bin/"; done
	cp /bin/busybox "$CRATE_STAGE/bin/attack" "$host/bin/"
	cp "$IMAGES/vm/overlay.ko" "$host/"
	sh "$TESTS/image.sh" layout "$WORK/layout" busybox:1 '{"Env":["PATH=/bin"]}' "$IMAGES/busybox.tar"
	tar -cf "$host/image.tar" -C "$WORK/layout" .
	install -m 755 "$TESTS/guest.sh" "$host/init"
	(cd "$host" && find . | cpio -o -H newc 2>/dev/null) | gzip -1 >"$WORK/initramfs.gz"
}

boot() {
	only root # The emulated machine has users of its own.
	[ -e "$IMAGES/vm/vmlinuz" ] || skip 'no kernel was brought in for it'
	needs qemu-system-x86_64 cpio
	[ ! -e "$CONSOLE" ] || return 0
	pack
	timeout -k 5 160 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 1024 -nodefaults -nographic -no-reboot \
		-serial stdio -kernel "$IMAGES/vm/vmlinuz" -initrd "$WORK/initramfs.gz" \
		-append 'console=ttyS0 quiet panic=-1' </dev/null 2>&1 | tr -d '\r' >"$WORK/console" || :
	mv "$WORK/console" "$CONSOLE"
}

told() { # CASE: it went well in the emulated machine
	boot
	grep -q "^vm ok $1\$" "$CONSOLE" || {
		sed -n "/^vm begin $1\$/,/^vm begin /p" "$CONSOLE" >&2
		grep -q '^vm end' "$CONSOLE" || tail -n 20 "$CONSOLE" >&2
		fail "$1 did not go well in the emulated machine"
	}
}

# N8: in an initramfs the root file system can be neither moved nor left by pivot_root.
test_N8_initramfs() { told initramfs; }

# N8, E13: what crate covers there is not climbed to, and no procfs of it serves to have another.
test_ways_out_in_an_initramfs() { told out_of_initramfs; }

# E19
test_E19_pids_as_root() { told root_pids; }
test_E19_memory_as_root() { told root_memory; }
test_E19_cpu_as_root() { told root_cpu; }
test_E19_as_user_with_delegation() { told user_delegated; }

# What exec starts is limited too.
test_exec() { told root_exec; }

# E14: the cgroup is shown read-only, with the container's own at the top.
test_E14_own_cgroup_is_read_only() { told root_shown; }

# N7: not delegated, a controller that is not handed on, not mounted.
test_N7_as_user_without_delegation() { told user_undelegated; }
test_N7_controllers_that_are_missing() { told user_without_cpu; }
test_N7_not_mounted() { told unmounted; }

test_killed_supervisor() { told root_killed; }

test_check() { told checked; }
