#!/bin/bash
# devices.sh: the devices that a container has, those that it is given, and those that it makes.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# What a node of the host's numbers 1:5 (zero) says where it opens.
ZERO='head -c 3 "$0" 2>/dev/null | od -An -tx1 | tr -d " "'

in_box() { crate run --rm "$@"; }

# In the container as on the host: a device opens, or does not, as it does for the caller.
opens() { # PATH
	if [ -r "$1" ] && (: <"$1") 2>/dev/null; then echo opens; else echo closed; fi
}

# All capabilities: of root those that it has itself, of others those of a new user namespace.
all() {
	if [ "$KIND" = root ]; then sed -n 's/^CapBnd:[[:space:]]//p' /proc/self/status; else echo '0*1f*'; fi
}

# --- devices that are given ---

# The tmpfs of /dev denies nodes that are made there; what is bound on it is a mount of its own, and opens.
test_E21_given_devices_open() {
	have "$BUSYBOX"
	expect 000000 in_box --device /dev/zero:/dev/twin "$BUSYBOX" sh -c "$ZERO" /dev/twin
	expect 000000 in_box --device /dev/zero:/elsewhere/deep/zero:rw "$BUSYBOX" sh -c "$ZERO" /elsewhere/deep/zero
	expect 'No space left on device' in_box --device /dev/full:/dev/brim "$BUSYBOX" \
		sh -c '(echo x >/dev/brim) 2>&1 | sed "s/.*: //"'
	expect 000000 in_box --device /dev/zero "$BUSYBOX" sh -c "$ZERO" /dev/zero
	# The nodes of a directory, but not what a container has of its own.
	expect 000000 in_box --device /dev:/host "$BUSYBOX" sh -c "[ ! -e /host/pts ] && $ZERO" /host/zero
	[ "$KIND" != ranges ] || expect 000000 in_box -u 33:33 --device /dev/zero:/dev/twin "$BUSYBOX" sh -c "$ZERO" /dev/twin
}

# As the caller could outside, so inside.
test_E21_given_devices_have_the_host_s_rights() {
	have "$BUSYBOX"
	local device
	for device in /dev/fuse /dev/net/tun /dev/loop-control; do
		[ -c "$device" ] || continue
		expect "$(opens "$device")" in_box --device "$device" "$BUSYBOX" \
			sh -c '(: <"$0") 2>/dev/null && echo opens || echo closed' "$device"
	done
}

test_E21_modes_and_owners_of_given_devices_stay() {
	have "$BUSYBOX"
	local before
	before=$(stat -c '%a %u %g %Y' /dev/full)
	in_box --device /dev/full:/dev/mine --privileged "$BUSYBOX" \
		sh -c 'chmod 600 /dev/mine; chown 7:7 /dev/mine; touch /dev/mine; rm -f /dev/mine' >/dev/null 2>&1 || :
	same 'the host'\''s device' "$(stat -c '%a %u %g %Y' /dev/full)" "$before"
}

test_given_devices_that_cannot_be() {
	have "$BUSYBOX"
	expect_code 125 in_box --device /dev/no-such "$BUSYBOX" true
	nothing_out
	expect_code 125 in_box --device /dev/null:r "$BUSYBOX" true
	expect_code 125 in_box --device /etc/passwd "$BUSYBOX" true
	# One that is gone when the container starts.
	[ "$KIND" = root ] || return 0
	mknod node c 1 5
	local id
	id=$(crate create --device "$WORK/node:/dev/twin" "$BUSYBOX" true)
	rm node
	expect_code 125 crate start -a "$id"
	one_line crate-sup node
	crate rm "$id" >/dev/null
}

# --- devices that a container makes, and those of volumes ---

# E21: root has CAP_MKNOD by default, and makes the host's devices wherever it can write: none opens. A privileged one does,
# which shows that these nodes would.
test_E21_devices_that_are_made_do_not_open() {
	only root
	have "$BUSYBOX"
	local made='for at in / /dev /dev/shm /run /tmp /more /shared; do
		mknod "$at/made" c 1 5 2>/dev/null || continue
		if (: <"$at/made") 2>/dev/null; then echo "$at opens"; else echo "$at closed"; fi
		rm "$at/made"
	done'
	mkdir shared
	expect_code 0 in_box --tmpfs /more -v "$WORK/shared:/shared" "$BUSYBOX" sh -c "$made"
	lacks "$WORK/out" opens
	same 'how many were made' "$(grep -c closed "$WORK/out")" 7
	expect_code 0 in_box --privileged "$BUSYBOX" sh -c "$made"
	has "$WORK/out" '/ opens'
	has "$WORK/out" '/dev opens'
}

# E21: who is no root of the host makes none, privileged or not.
test_E21_users_make_no_devices() {
	only ranges single
	have "$BUSYBOX"
	local flags
	for flags in --privileged --cap-add=MKNOD; do
		in_box $flags --root-emulation=off "$BUSYBOX" sh -c 'mknod /made c 1 5; : </made' >out 2>&1 && fail 'it opened'
		has out 'Operation not permitted'
	done
}

# E21: nodes and set-user-id programs that lie in a directory of the host mean nothing where it is a volume.
test_E21_nodes_and_setuid_files_of_volumes() {
	only root
	have "$BUSYBOX"
	mkdir shared
	mknod -m 666 shared/node c 1 5
	head -c 3 shared/node | cmp - <(printf '\0\0\0') || fail 'the node does not open on the host either'
	cp "$CRATE_STAGE/bin/probe" shared/probe
	chown 33:33 shared/probe
	chmod 6755 shared/probe
	expect_code 1 in_box -v "$WORK/shared:/shared" "$BUSYBOX" sh -c ': </shared/node'
	expect_code 0 in_box -v "$WORK/shared:/shared" --security-opt no-new-privileges=false "$BUSYBOX" /shared/probe ids
	line '^uid 0 0 0$'
	expect_code 0 in_box -v "$WORK/shared:/shared" --security-opt no-new-privileges=false "$BUSYBOX" \
		sh -c 'cp /shared/probe /probe && chown 33:33 /probe && chmod 6755 /probe && /probe ids'
	line '^uid 0 33 33$'
}

# --- privileged ---

# All nodes of the host are there, and open as they do for the caller outside.
test_privileged_has_the_host_s_devices() {
	have "$BUSYBOX"
	find /dev \( -path /dev/pts -o -path /dev/shm -o -path /dev/mqueue -o -name console -o -name ptmx \) -prune -o \
		\( -type c -o -type b \) -print | grep -v crate-test | sort >host
	in_box --privileged "$BUSYBOX" sh -c 'find /dev \( -path /dev/pts -o -path /dev/shm -o -path /dev/mqueue -o -name console \) -prune -o \
		\( -type c -o -type b \) -print | grep -v crate-test | sort' >inside
	diff host inside || fail 'the devices are others'
	in_box "$BUSYBOX" find /dev -type c -o -type b >usual
	[ "$(wc -l <usual)" -lt 8 ] || fail 'without the flag they are there too'
	local device
	for device in /dev/fuse /dev/net/tun /dev/kmsg /dev/loop-control; do
		[ -c "$device" ] || continue
		expect "$(opens "$device")" in_box --privileged "$BUSYBOX" \
			sh -c '(: <"$0") 2>/dev/null && echo opens || echo closed' "$device"
	done
}

test_privileged_lets_go_of_the_bounds() {
	have "$BUSYBOX"
	expect_code 0 in_box --privileged "$BUSYBOX" sh -c 'cat /proc/self/status; mkdir /mnt
		mount -t tmpfs tmpfs /mnt && echo mounted; grep " /proc\| /sys" /proc/mounts'
	line "^CapEff:[[:space:]]$(all)\$"
	line '^NoNewPrivs:[[:space:]]0$'
	line '^mounted$'
	line '^sysfs /sys sysfs rw,'
	same 'mounts on /proc and /sys' "$(grep -c '^[a-z]* /\(proc\|sys\)' "$WORK/out")" 2
	expect_code 0 in_box "$BUSYBOX" sh -c 'cat /proc/self/status; mkdir /mnt; mount -t tmpfs tmpfs /mnt || echo refused'
	line '^CapEff:[[:space:]]00000000a80425fb$'
	line '^refused$'
}

# A device that comes or goes does not matter to a start.
test_privileged_starts_while_devices_come_and_go() {
	only root
	have "$BUSYBOX"
	while [ ! -e enough ]; do mknod "/dev/crate-test.$$" c 1 5 && rm "/dev/crate-test.$$"; done &
	local i failed=''
	for i in $(seq 25); do
		in_box --privileged "$BUSYBOX" true || failed=$i
	done
	: >enough
	wait
	[ -z "$failed" ] || fail "start $failed"
}

# --- exec --privileged ---

# As docker and podman have it: all capabilities for this program, everything else as the container's.
test_exec_privileged() {
	have "$BUSYBOX"
	local id
	id=$(crate run -d "$BUSYBOX" sleep 100)
	expect_code 0 crate exec --privileged "$id" cat /proc/self/status
	line "^CapEff:[[:space:]]$(all)\$"
	line "^CapBnd:[[:space:]]$(all)\$"
	line '^CapInh:[[:space:]]0+$'
	line '^CapAmb:[[:space:]]0+$'
	line '^NoNewPrivs:[[:space:]]1$'
	expect_code 0 crate exec "$id" cat /proc/self/status
	line '^CapEff:[[:space:]]00000000a80425fb$'
	line '^CapBnd:[[:space:]]00000000a80425fb$'
	[ "$KIND" = single ] || {
		expect_code 0 crate exec --privileged -u 33:33 "$id" cat /proc/self/status
		line '^CapEff:[[:space:]]0+$'
	}
	crate rm -f "$id" >/dev/null
}
