#!/bin/bash
# story.sh STORY [KIND] [CASE...]: play a story's cases as one kind of user, or as every kind that can be had here.
#   root     the real root
#   ranges   an ordinary user with a range in subuid(5) and subgid(5)
#   single   an ordinary user without
# Root plays the others as the users that setup.sh makes; anybody else plays only what they are themselves.
# Each case adds a line to $CRATE_STAGE/results: passed|failed|skipped STORY KIND CASE [REASON].
# Exit code: 0, 1 if a case failed, 77 if all were skipped.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
story=${1:?usage: story.sh STORY [KIND] [CASE...]}
shift
if [ -z "${CRATE_STAGE:-}" ]; then
	exec bash "$here/stage.sh" bash "$here/story.sh" "$story" "$@"
fi
file=$CRATE_STAGE/tests/$story.sh
[ -f "$file" ] || { echo "story.sh: no story $story" >&2; exit 2; }

own_kind() {
	if [ "$(id -u)" = 0 ]; then
		echo root
	elif command -v newuidmap >/dev/null && grep -q "^$(id -un):" /etc/subuid && grep -q "^$(id -un):" /etc/subgid; then
		echo ranges
	else
		echo single
	fi
}

kinds=$(own_kind)
[ "$kinds" != root ] || kinds='root ranges single'
case ${1:-} in
root | ranges | single)
	case " $kinds " in *" $1 "*) kinds=$1 ;; *)
		echo "skipped $story $1 all this user is $kinds" | tee -a "$CRATE_STAGE/results"
		[ "${MUST_RUN:-}" != 1 ] || exit 1
		exit 77 ;;
	esac
	shift
	;;
esac
cases=("$@")
[ $# -gt 0 ] || mapfile -t cases < <(sed -n 's/^\(test_[a-zA-Z0-9_]*\)() {.*/\1/p' "$file")

# as KIND CMD...: with a clean environment, in a directory that everybody may read.
as() {
	local kind=$1
	shift
	set -- env -i PATH="$PATH" LANG=C.UTF-8 TERM=dumb KIND="$kind" MUST_RUN="${MUST_RUN:-}" STORM="${STORM:-}" CRATE_STAGE="$CRATE_STAGE" \
		CRATE_REGISTRY="$CRATE_REGISTRY" "$@"
	cd "$CRATE_STAGE"
	if [ "$(id -u)" = 0 ] && [ "$kind" != root ]; then
		runuser -u "crate-$kind" -- "$@"
	else
		"$@"
	fi
}

play() { # KIND CASE: sets outcome
	local kind=$1 case=$2 code=0 log=$CRATE_STAGE/tmp/$story.$1.$2.log reason=''
	as "$kind" timeout -s KILL "${CASE_TIMEOUT:-180}" bash ${TRACE:+-x} -c '. "$0"; "$1"' "$file" "$case" </dev/null >"$log" 2>&1 || code=$?
	case $code in
	0) outcome=passed ;;
	78) outcome=other && return ;;
	77) outcome=skipped reason=$(cat "$CRATE_STAGE/tmp/$story.$kind/$case.skipped") ;;
	137) outcome=failed reason='took too long' ;;
	*) outcome=failed reason="exit code $code" ;;
	esac
	echo "$outcome $story $kind $case${reason:+ $reason}" | tee -a "$CRATE_STAGE/results"
	[ "$outcome" != failed ] || sed 's/^/    /' "$log"
}

passed=0 failed=0
for kind in $kinds; do
	for case in "${cases[@]}"; do
		play "$kind" "$case"
		case $outcome in
		passed) passed=$((passed + 1)) ;;
		failed) failed=$((failed + 1)) ;;
		esac
	done
done
[ "$failed" = 0 ] || exit 1
[ "$passed" != 0 ] || exit 77
