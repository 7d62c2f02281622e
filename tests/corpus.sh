#!/bin/bash
# corpus.sh: malformed layers, archives and documents, each with the exit code it is to end with.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# X1 to X12, P3, P6, P7.
test_every_case_ends_as_it_should() {
	mkdir corpus
	in_userns python3 "$TESTS/corpus" --kind "$KIND" corpus >corpus.log || { cat corpus.log >&2; fail 'not every case'; }
	remove corpus
	cat corpus.log
	[ "$(cut -d ' ' -f 1 corpus.log)" -ge 400 ] || fail 'fewer than 400 cases'
}

# X8: what is taken is what GNU tar and bsdtar read too.
test_archives_are_read_as_others_read_them() {
	needs tar bsdtar
	mkdir differ
	in_userns python3 "$TESTS/differ.py" --count "$([ "${STORM:-}" = full ] && echo 5000 || echo 300)" differ >differ.log || { cat differ.log >&2; fail 'readers differ'; }
	remove differ
	cat differ.log
}
