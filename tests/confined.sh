#!/bin/bash
# confined.sh: what reads foreign bytes has confined itself before the first of them. What is denied then is tried by the
# unit tests of store/src/confine.rs.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# traced CMD...: the command's calls, in order, in $WORK/calls.
traced() {
	needs strace
	local calls=landlock_restrict_self,seccomp,prctl,openat,open,socket,connect,execve
	run strace -f -qq -o "$WORK/calls" -e trace="$calls" "$@"
	[ "$code" = 0 ] || { show "$*" >&2; fail "exit code $code"; }
	sed -i '/O_PATH/d' "$WORK/calls" # Names what may be read, and reads nothing.
}

# confined_before PATTERN: both kinds of confinement succeed before the first call of this pattern, which there is; and nothing
# is executed afterwards.
confined_before() {
	local first call
	first=$(grep -n -m 1 -E "$1" "$WORK/calls" | cut -d : -f 1)
	[ -n "$first" ] || fail "no call of $1"
	for call in 'landlock_restrict_self\(.*= 0$' 'seccomp\(SECCOMP_SET_MODE_FILTER.*= 0$'; do
		head -n "$((first - 1))" "$WORK/calls" | grep -q -E "$call" || fail "$call is not before $1"
	done
	! tail -n "+$first" "$WORK/calls" | grep -q 'execve' || fail 'something is executed afterwards'
}

test_unpack() {
	own_store
	crate-fetch --quiet "$BUSYBOX" >/dev/null
	traced crate-store unpack "$BUSYBOX"
	confined_before 'open(at)?\(.*/blobs/'
}

test_unpack_of_lines() {
	own_store
	crate-fetch --quiet --layers "$BUSYBOX" >"$WORK/lines"
	traced crate-store unpack - <"$WORK/lines"
	confined_before 'open(at)?\(.*/blobs/'
}

test_fsck() {
	own_store
	crate-fetch --quiet "$BUSYBOX" >/dev/null
	crate-store unpack "$BUSYBOX" >/dev/null
	traced crate-store fsck --layers
	confined_before 'open(at)?\(.*/blobs/sha256/'
}

test_load() {
	own_store
	skopeo copy --quiet "oci:$IMAGES/busybox:busybox:1" "oci-archive:$WORK/a.tar:busybox:1"
	traced crate-store load --quiet --as busybox:1 "$WORK/a.tar"
	confined_before 'open(at)?\(.*/a\.tar"'
	traced crate-store load --quiet --as busybox:2 "oci:$IMAGES/busybox"
	confined_before 'open(at)?\(.*/busybox/index\.json'
}

test_fetch() {
	own_store
	traced crate-fetch --quiet "$BUSYBOX"
	confined_before '(socket|connect)\(.*AF_INET'
}

# A kernel without either: the work is done all the same, as crate check says.
test_kernels_that_cannot() {
	needs strace
	own_store
	expect_code 0 strace -f -qq -o "$WORK/calls" -e inject=landlock_create_ruleset:error=EOPNOTSUPP \
		-e inject=seccomp:error=ENOSYS crate-fetch --quiet "$BUSYBOX"
	expect_code 0 strace -f -qq -o "$WORK/calls" -e inject=landlock_create_ruleset:error=ENOSYS -e inject=seccomp:error=EINVAL \
		crate-store unpack "$BUSYBOX"
	fsck_clean
}
