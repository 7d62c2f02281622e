#!/bin/bash
# faults.sh: the commands that change the store, killed at system calls, and on disks that are full or fail.
# A sample of the points; with STORM=full, all of them (make test-faults).
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# S1: SIGKILL at every system call; S3: ENOSPC, EDQUOT and EIO at every call that changes a file.
test_S1_S3_fault_at_any_call() {
	needs strace
	local sample=(--every 8)
	[ "${STORM:-}" != full ] || sample=()
	TMPDIR=$WORK in_userns python3 "$TESTS/faults.py" "${sample[@]}"
}

# S3: a store on file systems of every size.
test_S3_file_systems_of_every_size() {
	TMPDIR=$WORK in_userns unshare --mount python3 "$TESTS/faults_sweep.py" 32768
}

# S3: what nobody can be told costs neither the exit code nor what was done.
test_S3_nowhere_to_write_messages() {
	local code=0
	crate-fetch localhost:1/nobody 2>/dev/full || code=$?
	same 'exit code of crate-fetch' "$code" 5
	code=0
	crate-store tag nobody other 2>/dev/full || code=$?
	same 'exit code of crate-store' "$code" 3
}
