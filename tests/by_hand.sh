# shellcheck shell=bash disable=SC2034
# by_hand.sh: crate-init by itself, in namespaces made by hand; supervise.py plays its supervisor.

tree() { mkdir tree target && tar -xf "$IMAGES/busybox.tar" -C tree; }

supervise() {
	case $KIND in
	ranges) crate-sup unshare python3 "$TESTS/supervise.py" "$@" ;;
	*) python3 "$TESTS/supervise.py" "$@" ;;
	esac
}

BASE="--private --root $WORK/tree --mount proc proc /proc nosuid --mount tmpfs tmpfs /dev nosuid,mode=755 --devices"
PTS='--mount devpts devpts /dev/pts nosuid,noexec,newinstance,ptmxmode=0666,mode=0600'
FEW='--bounding CAP_KILL --effective CAP_KILL --permitted CAP_KILL --no-new-privs'

# in_tree OPTION... -- PROGRAM...: in a new container; what OPTIONs mount comes before --pivot.
in_tree() {
	# shellcheck disable=SC2086
	supervise $BASE ${MOUNTS:-} --pivot --env PATH=/bin --cwd / "$@"
}

on_terminal() { MOUNTS="${PTS} --console CONSOLE ${SIZE:-31 97}" in_tree "$@"; }

# start OPTION... -- PROGRAM...: in_tree in the background, until it runs; sets container, its process 1.
start() {
	: >start.err
	in_tree "$@" >start.out 2>start.err &
	until grep -q '^runs\|^failed' start.err; do sleep 0.02; done
	has start.err runs
	container=$(sed -n 's/^process //p' start.err)
}

end() {
	kill -KILL "$container"
	wait
}

join() { JOIN=$container python3 "$TESTS/supervise.py" --joined --env PATH=/bin "$@"; }

gone() { # PID: within 20 s
	local end=$((SECONDS + 20))
	while [ -e "/proc/$1" ]; do
		[ $SECONDS -lt $end ] || fail "process $1 still runs"
		sleep 0.02
	done
}

# What a terminal says ends its lines with CR too.
expect_shown() { # TEXT CMD...
	local want=$1
	shift
	expect_code 0 "$@"
	same 'what the terminal shows' "$(tr -d '\r' <"$WORK/out")" "$want"
}
