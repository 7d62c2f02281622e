#!/bin/sh
# lint.sh CARGO: formatting, clippy and shellcheck, as far as the tools are there; what is not is told.
set -eu

cargo=$1
status=0
say() { echo "lint: $*" >&2; }

if "$cargo" fmt --version >/dev/null 2>&1; then
	"$cargo" fmt --all --check || status=1
else
	say 'no cargo fmt here: formatting is not checked'
fi
if "$cargo" clippy --version >/dev/null 2>&1; then
	"$cargo" clippy --workspace --all-targets --quiet -- -D warnings || status=1
else
	say 'no cargo clippy here: the code is not checked'
fi
if command -v shellcheck >/dev/null; then
	# SC2016: what stands in single quotes is mostly meant for a shell inside a container.
	shellcheck -e SC2016 -x -P SCRIPTDIR tests/*.sh .ci/run || status=1
else
	say 'no shellcheck here: the scripts are not checked'
fi
exit "$status"
