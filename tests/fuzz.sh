#!/bin/bash
# fuzz.sh CARGO SECONDS [TARGET…]: run fuzz targets under libFuzzer for so long each, as many at once as there are
# processors. The corpus is fuzz/corpus/TARGET; what is found stays in target/fuzz/TARGET. Fails on a crash, on an
# input that takes more than a second of the processor or twenty in all, and on memory beyond the limits below.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=$1 seconds=$2
shift 2
out=target/fuzz
# Memory in MiB, libFuzzer's own included: 27 of it are resident before the first input, and its corpus is added.
limit=${FUZZ_MEMORY:-64}

host=$(rustc -vV | sed -n 's/^host: //p')
flags='-Cpasses=sancov-module --cfg fuzzing'
for option in level=4 inline-8bit-counters pc-table trace-compares; do
	flags="$flags -Cllvm-args=-sanitizer-coverage-$option"
done
RUSTFLAGS=$flags "$cargo" build --quiet --profile fuzz --target "$host" --target-dir "$out/build" -p crate-fuzz --features libfuzzer
# A copy, so that another build may go on meanwhile.
program=$out/crate-fuzz.$$
cp "$out/build/$host/fuzz/crate-fuzz" "$program"
trap 'rm -f "$program"' EXIT

targets=("$@")
[ $# -gt 0 ] || mapfile -t targets < <(ls fuzz/corpus)

# stat NAME LOG: one of libFuzzer's closing numbers, with commas.
stat() { sed -n "s/^stat::$1: *//p" "$2" | sed -E ':more; s/([0-9])([0-9]{3})(,|$)/\1,\2\3/; t more'; }

# fuzz TARGET: what libFuzzer tells goes into target/fuzz/TARGET/log, one line to the caller.
fuzz() {
	local dir=$out/$1 status=0 options=()
	mkdir -p "$dir/corpus" "$dir/found"
	[ ! -e "fuzz/$1.dict" ] || options+=("-dict=fuzz/$1.dict")
	# Twice the limit as data: what is allocated at once for one input fails there, whether it is touched or not.
	(
		echo "$BASHPID" >"$dir/pid"
		ulimit -d $((2 * limit * 1024))
		FUZZ_TARGET=$1 exec "$program" -max_total_time="$seconds" -timeout=20 -rss_limit_mb="$limit" -max_len=16384 \
			-print_final_stats=1 -artifact_prefix="$dir/found/" "${options[@]}" "$dir/corpus" "fuzz/corpus/$1"
	) >"$dir/log" 2>&1 || status=$?
	# What a crash left of its last directory; see fuzz/src/ground.rs.
	rm -rf {/dev/shm,"${TMPDIR:-/tmp}"}/crate-fuzz-"$(<"$dir/pid")"-*
	local outcome='no crash'
	[ "$status" = 0 ] || outcome="FAILED: see $dir/log"
	echo "fuzz: $1: $(stat number_of_executed_units "$dir/log") executions in $seconds s, peak $(stat peak_rss_mb "$dir/log") MiB, $outcome"
	return "$status"
}

status=0 running=0
for target in "${targets[@]}"; do
	[ "$running" -lt "$(nproc)" ] || { wait -n || status=1; running=$((running - 1)); }
	fuzz "$target" &
	running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
	wait -n || status=1
	running=$((running - 1))
done
exit "$status"
