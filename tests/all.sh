#!/bin/bash
# all.sh CARGO [unit|stories]: every test, ending with the line `N passed, N failed, N skipped` alone.
# Unit tests count one each, stories one for each case and kind of user. Where all are played, a test that CVES.md or FAULTS.md
# names and that has not run is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=$1 what=${2:-all}
mkdir -p target
log=target/test.log
passed=0 failed=0 skipped=0 status=0

# add_cargo_counts: from the lines that close each of cargo's test binaries.
add_cargo_counts() {
	local p f i
	while read -r p f i; do
		passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + i))
	done < <(sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed; \([0-9]*\) ignored.*/\1 \2 \3/p' "$log")
}

unit() {
	"$cargo" test --workspace --lib --bins --test replay --test tables 2>&1 | tee "$log" || status=1
	add_cargo_counts
	# What does not even compile counts as one.
	[ "$status" = 0 ] || [ "$failed" != 0 ] || failed=1
}

stories() {
	local results=target/test.results ours=0
	: >"$results"
	RESULTS=$PWD/$results bash tests/stage.sh bash -c '
		status=0
		"$@" || status=$?
		cat "$CRATE_STAGE/results" >"$RESULTS"
		exit $status' stories "$cargo" test --test scripts || ours=1
	passed=$((passed + $(grep -c '^passed' "$results" || :)))
	skipped=$((skipped + $(grep -c '^skipped' "$results" || :)))
	local wrong
	wrong=$(grep -c '^failed' "$results" || :)
	# A failure outside all cases counts as one.
	[ "$ours" = 0 ] || { status=1 && [ "$wrong" != 0 ] || wrong=1; }
	failed=$((failed + wrong))
	grep '^skipped' "$results" || :
	grep '^failed' "$results" || :
}

# What the tables of faults name has run. Root alone plays it as every kind of user.
tables() {
	[ "$(id -u)" = 0 ] || return 0
	bash tests/ran.sh target/test.results "$log" tests/CVES.md tests/FAULTS.md || failed=$((failed + 1))
}

case $what in
all) unit && stories && tables ;;
unit | stories) "$what" ;;
esac
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] || status=1
exit "$status"
