#!/bin/bash
# check.sh: what containers want of a system is tried, and its lack is told with a way out.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

state() { # NAME: the state of a finding in $WORK/out
	jq -r --arg name "$1" '.[] | select(.name == $name) | .state' "$WORK/out"
}

fix() { jq -r --arg name "$1" '.[] | select(.name == $name) | .fix' "$WORK/out"; }

# injected RULE...: the check with system calls that fail as strace(1) has them fail, in the processes it starts too.
injected() {
	needs strace
	local rules=() rule
	for rule; do rules+=(-e "inject=$rule"); done
	run strace -f -qq -o "$WORK/trace" "${rules[@]}" crate-sup check --format json
}

test_everything_here_works() {
	expect_code 0 crate check --format json
	local name
	for name in kernel user-namespaces namespaces filesystems overlay system-calls memory-files seccomp landlock store \
		programs; do
		same "$name" "$(state "$name")" works
	done
	same 'findings that need a fix and have none' \
		"$(jq '[.[] | select(.state != "works" and (.fix // "") == "")] | length' "$WORK/out")" 0
	same 'what is left in the store' "$(ls "$CRATE_ROOT/ingest")" ''
}

test_ranges_are_told() {
	expect_code 0 crate check --format json
	case $KIND in
	single)
		same id-ranges "$(state id-ranges)" degraded
		case $(fix id-ranges) in
		"usermod --add-subuids "*" $(id -un)") ;;
		*) fail "no way to get ranges: $(fix id-ranges)" ;;
		esac
		;;
	*) same id-ranges "$(state id-ranges)" works ;;
	esac
}

# The table has the same states, a line each, and the fixes below.
test_table() {
	crate check --format json | jq -r '.[] | .state + " " + .name' >"$WORK/json"
	expect_code 0 crate check
	same 'states' "$(grep -v '^ ' "$WORK/out" | awk '{ print $1, $2 }')" "$(cat "$WORK/json")"
	same 'fixes' "$(grep -c '^ *fix: ' "$WORK/out" || :)" "$(grep -c -v '^works' "$WORK/json" || :)"
}

# N1: what the kernel denies is named, with the line that allows it.
test_namespaces_denied() {
	only root # As a user newuidmap would be traced.
	injected unshare:error=ENOSPC
	same 'exit code' "$code" 1
	same user-namespaces "$(state user-namespaces)" degraded
	same 'fix' "$(fix user-namespaces)" 'sysctl -w user.max_user_namespaces=15000'
	same namespaces "$(state namespaces)" fails
}

test_namespaces_denied_to_a_user() {
	only single
	injected clone3:error=EPERM:when=2+ unshare:error=EPERM
	same 'exit code' "$code" 1
	same user-namespaces "$(state user-namespaces)" fails
}

test_lacks_of_the_kernel() {
	only root single
	injected landlock_create_ruleset:error=EOPNOTSUPP seccomp:error=EINVAL
	same 'exit code' "$code" 0
	same landlock "$(state landlock)" degraded
	case $(fix landlock) in "boot with lsm=landlock"*) ;; *) fail "$(fix landlock)" ;; esac
	same seccomp "$(state seccomp)" degraded
	injected openat2:error=ENOSYS
	same 'exit code' "$code" 1
	same system-calls "$(state system-calls)" fails
	injected fsmount:error=EPERM
	same filesystems "$(state filesystems)" fails
	same overlay "$(state overlay)" degraded
}

test_store_that_cannot_be_written() {
	CRATE_ROOT=/proc/nowhere expect_code 1 crate-sup check --format json
	same store "$(state store)" fails
}

test_programs_that_are_missing() {
	cp "$(command -v crate-sup)" "$WORK/crate-sup"
	expect_code 1 "$WORK/crate-sup" check --format json
	same programs "$(state programs)" fails
}

test_no_certificates() {
	only root single
	injected stat,newfstatat,statx:error=ENOENT
	case $(state certificates) in degraded) ;; *) fail "$(state certificates)" ;; esac
}

test_usage() {
	expect_code 2 crate check --format yaml
	expect_code 2 crate check everything
}
