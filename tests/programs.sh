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

# The flags that a text tells, of help those of its usage and its lists.
flags() { grep -oP '(?<![\w-])(--[a-z][a-z-]+|-[A-Za-z])(?![\w-])' | sort -u || :; }
of_help() { "$@" --help 2>/dev/null | grep -E '^( *-|[Uu]sage| {7}crate)' | flags || :; }
of_page() { sed -e 's/\\-/-/g; s/\\f./ /g; s/"//g' "$TESTS/man/$1.1" | "${@:2}" | flags; }
headings() { grep -A 1 '^\.TP' | grep '^\.B'; }
verbs() { "$1" --help | sed -n 's/^  \([a-z]*\)  .*/\1/p'; }

# What a verb's help tells stands in a manual, and each option that a manual lists in a help.
test_manuals_tell_what_help_tells() {
	local verb program page
	for program in crate crate-store crate-fetch crate-sup; do
		{
			of_help "$program"
			for verb in $(verbs "$program"); do of_help "$program" "$verb"; done
			[ "$program" != crate-fetch ] || { of_help crate-fetch --login && of_help crate-fetch --logout; }
		} | sort -u >"$program.help"
		of_page "$program" cat >"$program.page"
	done
	for verb in $(verbs crate); do
		case $verb in
		start | stop | kill | restart | wait | logs | exec | attach | top | check) page=crate-sup ;;
		pull | login | logout) page=crate-fetch ;;
		*) page=crate-store ;;
		esac
		of_help crate "$verb" >of-verb
		same "flags of crate $verb that crate(1) and $page(1) lack" "$(sort -u crate.page "$page.page" | comm -13 - of-verb)" ''
	done
	for program in crate-store crate-fetch crate-sup; do
		same "flags of $program that $program(1) and crate(1) lack" "$(sort -u crate.page "$program.page" | comm -13 - "$program.help")" ''
		same "options of $program(1) that no help tells" "$(of_page "$program" headings | comm -23 - <(sort -u crate.help "$program.help"))" ''
	done
	same 'options of crate(1) that no help tells' "$(of_page crate headings | comm -23 - crate.help)" ''
}
