#!/bin/bash
# programs.sh: what all five programs have in common: how they are built, and how they answer wrong usage.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

PROGRAMS='crate crate-fetch crate-store crate-sup crate-init'

test_programs_are_static() {
	local program
	for program in $PROGRAMS; do
		run file -b "$CRATE_STAGE/bin/$program"
		line 'statically linked'
		lacks "$WORK/out" 'interpreter'
		run ldd "$CRATE_STAGE/bin/$program"
		[ "$code" != 0 ] || fail "ldd finds libraries of $program"
	done
	sh "$TESTS/static.sh" "$CRATE_STAGE"/bin/crate*
}

# The build's own check must not pass what is dynamic.
test_static_check_refuses_a_dynamic_program() {
	expect_code 1 sh "$TESTS/static.sh" /bin/bash
	expect_code 1 sh "$TESTS/static.sh" "$TESTS/static.sh"
}

test_version_and_help_are_on_stdout() {
	local program
	for program in crate crate-fetch crate-store crate-sup; do
		expect_code 0 "$program" --version
		line "^$program [0-9]+\.[0-9]+\.[0-9]+"
		expect_code 0 "$program" --help
		line 'sage'
		[ ! -s "$WORK/err" ] || fail "$program --help writes to standard error"
	done
}

test_wrong_usage_is_2_and_told() {
	local program
	for program in crate crate-fetch crate-store crate-sup; do
		expect_code 2 "$program" --no-such-option
		nothing_out
		has "$WORK/err" "$program: "
		expect_code 2 "$program"
		nothing_out
	done
	expect_code 2 crate no-such-verb
	expect_code 2 crate-fetch localhost:1/a localhost:1/b
	expect_code 2 crate pull
}

# A flag that is not built yet is refused by its name: accepted and ignored would be worse.
test_unknown_flags_of_run_are_125() {
	expect_code 125 crate run --no-such-flag "$BUSYBOX" true
	has "$WORK/err" no-such-flag
	nothing_out
}
