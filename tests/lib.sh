# shellcheck shell=bash disable=SC2034
# lib.sh: what every story uses. A story is a file of functions test_NAME; story.sh plays each in a process of its own,
# with CRATE_STAGE, CRATE_REGISTRY (stage.sh) and KIND (root, ranges, single) set.
# By hand: bash tests/STORY.sh [KIND] [test_NAME...]
set -euo pipefail
umask 022

STORY=$(basename "$0" .sh)
if [ $# != 1 ] || [ -z "${CRATE_STAGE:-}" ] || [ -z "${KIND:-}" ]; then
	exec bash "$(dirname "$0")/story.sh" "$STORY" "$@"
fi
CASE=$1

REG=$CRATE_REGISTRY
BUSYBOX=$REG/busybox:1
DEBIAN=$REG/debian:12
IMAGES=$CRATE_STAGE/images
TESTS=$CRATE_STAGE/tests
PATH=$CRATE_STAGE/bin:$PATH:/usr/sbin:/sbin
# One directory for the story's cases, which share a store; one for this case, removed with its end.
STORY_DIR=$CRATE_STAGE/tmp/$STORY.$KIND
WORK=$STORY_DIR/$CASE
mkdir -p "$WORK/home"
cd "$WORK"
export PATH HOME=$WORK/home CRATE_ROOT=$STORY_DIR/store CRATE_RUN=$STORY_DIR/run
export -n CRATE_STAGE CRATE_REGISTRY KIND
unset XDG_RUNTIME_DIR XDG_DATA_HOME XDG_CONFIG_HOME REGISTRY_AUTH_FILE

started=()
clean_up() {
	local status=$? pid
	for pid in "${started[@]}"; do
		kill -KILL "$pid" 2>/dev/null || :
		wait "$pid" 2>/dev/null || :
	done
	cd /
	if [ "$status" = 0 ] || [ "$status" = 77 ] || [ "$status" = 78 ]; then
		remove "$WORK"
	fi
}
trap clean_up EXIT

# Trees of a range's ids, or with closed directories, are removed by the root of the user's namespace.
remove() { rm -rf "$@" 2>/dev/null || crate-sup unshare rm -rf "$@"; }

fail() {
	echo "$CASE: $*" >&2
	exit 1
}

# MUST_RUN=1 says that on this machine nothing may be left out.
skip() {
	if [ "${MUST_RUN:-}" = 1 ]; then fail "would be skipped: $*"; fi
	echo "$*" >"$WORK.skipped"
	exit 77
}

only() { # KIND...: the case has a meaning for these kinds of user alone; for others it does not count at all
	case " $* " in
	*" $KIND "*) ;;
	*) exit 78 ;;
	esac
}

needs() { # PROGRAM...
	local program
	for program; do command -v "$program" >/dev/null || skip "$program is not installed"; done
}

needs_debian() { skopeo inspect --raw --tls-verify=false "docker://$DEBIAN" >/dev/null 2>&1 || skip "the Debian image is made by root only"; }

# run CMD...: run with its output in $WORK/out and $WORK/err and its exit code in $code.
run() {
	code=0
	"$@" >"$WORK/out" 2>"$WORK/err" || code=$?
}

show() {
	echo "$*"
	echo "exit code $code; standard output:"
	head -c 4000 "$WORK/out"
	echo 'standard error:'
	head -c 4000 "$WORK/err"
}

expect_code() { # CODE CMD...
	local want=$1
	shift
	run "$@"
	[ "$code" = "$want" ] || { show "$(printf '%q ' "$@")" >&2; fail "exit code $code instead of $want"; }
}

expect() { # OUTPUT CMD...: exit code 0 and exactly this on standard output
	local want=$1
	shift
	expect_code 0 "$@"
	[ "$(cat "$WORK/out")" = "$want" ] || { show "$(printf '%q ' "$@")" >&2; fail "standard output is not: $want"; }
}

# The last command told its failure in one line that begins with its name, perhaps with a hint below.
one_line() { # PROGRAM [TEXT...]
	local lines text program=$1
	shift
	lines=$(grep -c -v '^hint: ' "$WORK/err" || :)
	[ "$lines" = 1 ] || { cat "$WORK/err" >&2; fail "$lines lines on standard error instead of one"; }
	grep -q "^$program: ." "$WORK/err" || { cat "$WORK/err" >&2; fail "the message does not begin with $program:"; }
	for text; do has "$WORK/err" "$text"; done
}

has() { # FILE TEXT
	grep -q -F -e "$2" "$1" || { cat "$1" >&2; fail "$2 is missing"; }
}

lacks() { # FILE TEXT
	! grep -q -F -e "$2" "$1" || { cat "$1" >&2; fail "$2 should not be there"; }
}

same() { # WHAT A B
	[ "$2" = "$3" ] || fail "$1: $2 is not $3"
}

# A pattern of grep -E that one line of the last standard output has.
line() {
	grep -q -E -e "$1" "$WORK/out" || { show 'last command' >&2; fail "no line $1"; }
}

# Asks again until it is so, for 10 s.
eventually() { # CMD...
	local i
	for i in $(seq 200); do
		! "$@" >/dev/null 2>&1 || return 0
		sleep 0.05
	done
	fail "it did not come true: $*"
}

nothing_out() { [ ! -s "$WORK/out" ] || { cat "$WORK/out" >&2; fail 'standard output is not empty'; }; }

# Held once, the image is there for all cases of the story.
have() { [ $# = 0 ] || crate pull --quiet --pull missing "$@" >/dev/null 2>&1 || crate pull --quiet "$@" >/dev/null; }

own_store() { # a store of this case alone
	CRATE_ROOT=$WORK/store
	CRATE_RUN=$WORK/run
}

store_bytes() { in_userns du -s -B1 "$CRATE_ROOT" | cut -f 1; }

in_userns() { crate-sup unshare "$@"; }

# The range's or one id's root sees what belongs to the container's ids as they are inside.
fsck_clean() { expect_code 0 crate-store fsck; }
