#!/bin/bash
# cgroup.sh: limits are in force before the program runs, or it does not run; with the cgroups that are here. vm.sh plays
# version 2 in any case.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# limited JQ COMMAND...: the id of a container with these resources.
limited() {
	local resources=$1 id
	shift
	have "$BUSYBOX"
	id=$(crate-store create "$BUSYBOX" -- "$@")
	jq --argjson it "$resources" '.linux.resources = $it' "$CRATE_ROOT/containers/$id/config.json" >"$WORK/config.json"
	cp "$WORK/config.json" "$CRATE_ROOT/containers/$id/config.json"
	echo "$id"
}

can_limit() { # CONTROLLER: root can limit by it here
	only root
	! crate-sup check | grep -q "$1 cannot be limited" || skip "$1 cannot be limited here"
}

# The directory of the container's cgroup with this controller: in version 1 each has a tree of its own.
group() { # CONTROLLER
	local path
	path=$(grep -E "[/,]$1([/,]|\$)" "$CRATE_RUN/$id/cgroup" || cat "$CRATE_RUN/$id/cgroup")
	[ -d "$path" ] || fail "no cgroup $path"
	echo "$path"
}

# set_to CONTROLLER FILE1 VALUE1 FILE2 VALUE2: the container's limit in version 1, or in version 2.
set_to() {
	local dir
	dir=$(group "$1")
	if [ -e "$dir/cgroup.controllers" ]; then
		same "$4" "$(cat "$dir/$4")" "$5"
	else
		same "$2" "$(cat "$dir/$2")" "$3"
	fi
}

# All cgroups of containers in any hierarchy.
groups() { find /sys/fs/cgroup -type d -name "crate-${1:-*}" 2>/dev/null; }

gone() { [ -z "$(groups "$id")" ]; }

# E19: a fork bomb stops at --pids-limit: without it there would be 40 and more processes.
test_fork_bomb() {
	can_limit pids
	local bomb='for i in $(seq 40); do sleep 60 & done; echo no limit'
	id=$(limited '{"pids":{"limit":20}}' sh -c "sh -c '$bomb' & exec sleep 60")
	expect_code 0 crate-sup start "$id"
	eventually grep -q 'max [1-9]' "$(group pids)/pids.events"
	[ "$(cat "$(group pids)/pids.current")" -le 20 ] || fail 'more processes than allowed'
	# The supervisor is not in it, and clears up.
	expect_code 0 crate-sup kill --wait "$id"
	gone || fail "left: $(groups "$id")"
	# The same bomb wins without a limit.
	id=$(limited '{}' sh -c "$bomb")
	expect 'no limit' crate-sup run "$id"
}

# E19, L17: what wants more memory than allowed is killed; that, and nothing else, is told as oom.
test_memory_bomb() {
	can_limit memory
	local bomb='x=x; while true; do x=$x$x; done' events=$WORK/events
	id=$(limited '{"memory":{"limit":16777216}}' sh -c "exec sh -c '$bomb'")
	expect_code 137 crate-sup run --events-fd 3 "$id" 3>"$events"
	same 'events' "$(jq -r .event "$events" | tr '\n' ' ')" 'start oom exit '
	expect true crate inspect -f '{{.State.OOMKilled}}' "$id"
	gone || fail "left: $(groups "$id")"
	# One that only its child is killed of, too.
	id=$(limited '{"memory":{"limit":16777216}}' sh -c "sh -c '$bomb'; exit 3")
	expect_code 3 crate-sup run "$id"
	expect true crate inspect -f '{{.State.OOMKilled}}' "$id"
	# Started again without being killed, it was not.
	id=$(limited '{"memory":{"limit":16777216}}' sh -c 'kill -9 $$')
	expect_code 137 crate-sup run "$id"
	expect false crate inspect -f '{{.State.OOMKilled}}' "$id"
}

test_values_are_what_was_asked_for() {
	can_limit memory
	can_limit cpu
	id=$(limited '{"memory":{"limit":33554432,"swap":50331648},"cpu":{"quota":50000,"period":100000,"shares":512}}' sleep 100)
	expect_code 0 crate-sup start "$id"
	set_to memory memory.limit_in_bytes 33554432 memory.max 33554432
	set_to memory memory.memsw.limit_in_bytes 50331648 memory.swap.max 16777216
	set_to cpu cpu.cfs_quota_us 50000 cpu.max '50000 100000'
	set_to cpu cpu.cfs_period_us 100000 cpu.max '50000 100000'
	set_to cpu cpu.shares 512 cpu.weight 59
	# What exec starts is in the same cgroups, and sees itself at the top of them.
	expect_code 0 crate-sup exec "$id" sh -c 'cat /proc/self/cgroup; sleep 100 >/dev/null 2>&1 &'
	same 'cgroups seen inside' "$(cut -d : -f 3 "$WORK/out" | sort -u)" /
	same 'processes' "$(wc -l <"$(group memory)/cgroup.procs")" 2
	# What cannot be limited as the container is does not run in it.
	mv "$CRATE_RUN/$id/cgroup" "$WORK/cgroup"
	expect_code 125 crate-sup exec "$id" true
	one_line crate-sup 'its cgroup is not known'
	mv "$WORK/cgroup" "$CRATE_RUN/$id/cgroup"
	expect_code 0 crate-sup kill --wait "$id"
	gone || fail "left: $(groups "$id")"
	# As much swap as memory, unless something else is asked for.
	id=$(limited '{"memory":{"limit":33554432}}' sleep 100)
	expect_code 0 crate-sup start "$id"
	set_to memory memory.memsw.limit_in_bytes 67108864 memory.swap.max 33554432
	expect_code 0 crate rm -f "$id"
	gone || fail "left: $(groups "$id")"
}

# E14, CVE-2022-0492, CVE-2023-25809: its own cgroup namespace, and no cgroup file in reach, let alone a writable one.
test_no_cgroup_can_be_written_inside() {
	have "$BUSYBOX"
	expect_code 0 crate run --rm "$BUSYBOX" sh -c '
		grep cgroup /proc/mounts; sed "s/.*:/:/" /proc/self/cgroup | sort -u
		find /sys/fs/cgroup -name release_agent -o -name cgroup.procs
		mount -t cgroup -o memory cgroup /mnt && echo mounted; mount -t cgroup2 cgroup /mnt && echo mounted; :'
	same 'what is seen' "$(cat "$WORK/out")" :/
	# With the host's /sys, what is below it can be read at most.
	expect_code 0 crate run --rm --network host "$BUSYBOX" sh -c '
		awk "\$3 ~ /^cgroup/ { print \$4 }" /proc/mounts | cut -d , -f 1 | sort -u
		for f in $(find /sys/fs/cgroup -name release_agent -o -name cgroup.procs); do (: >>$f) 2>/dev/null && echo $f; done; :'
	lacks "$WORK/out" rw
	lacks "$WORK/out" /sys/fs
}

# A supervisor that is killed leaves a cgroup behind: each of those that clear up removes it.
test_killed_supervisors() {
	can_limit pids
	local by
	for by in rm gc prune start; do
		id=$(limited '{"pids":{"limit":20}}' sleep 100)
		expect_code 0 crate-sup start "$id"
		group pids >"$WORK/group"
		kill -KILL "$(jq .supervisor "$CRATE_RUN/$id/pid")"
		eventually lost
		[ -d "$(cat "$WORK/group")" ] || fail 'nothing was left: this test shows nothing'
		case $by in
		rm) expect_code 0 crate rm "$id" ;;
		gc) expect_code 0 crate gc ;;
		prune) expect_code 0 crate-store prune containers -f ;;
		start)
			expect_code 0 crate-sup start "$id"
			expect_code 0 crate rm -f "$id"
			;;
		esac
		gone || fail "$by left: $(groups "$id")"
	done
	# A damaged record leads to nobody else's.
	id=$(limited '{"pids":{"limit":20}}' true)
	mkdir -p "$CRATE_RUN/$id" "$WORK/tree/below"
	echo "$WORK/tree" >"$CRATE_RUN/$id/cgroup"
	expect_code 0 crate rm "$id"
	[ -d "$WORK/tree/below" ] || fail 'removed'
}

# A supervisor that is killed at any moment: gc finds all that it made.
test_killed_at_any_moment() {
	can_limit memory
	can_limit pids
	own_store
	local i running all='' left=0
	for i in $(seq 12); do
		id=$(limited '{"pids":{"limit":20},"memory":{"limit":33554432}}' sleep 100)
		crate-sup run "$id" >"$WORK/out" 2>"$WORK/err" &
		running=$!
		all="$all $id"
		started+=("$running")
		sleep "0.0$((i * 8 % 10))"
		kill -KILL "$running"
		wait "$running" 2>/dev/null || :
	done
	for id in $all; do
		eventually settled
		gone || left=$((left + 1))
	done
	[ "$left" -gt 0 ] || fail 'none was left: this shows nothing'
	expect_code 0 crate gc
	for id in $all; do gone || fail "left: $(groups "$id")"; done
}

settled() { [ "$(crate inspect -f '{{.State.Running}}' "$id")" = false ]; }

lost() { [ "$(crate inspect -f '{{.State.Status}}' "$id")" = lost ]; }

# N7: a limit that cannot be had is an error that says why and what to do, and nothing runs.
test_what_cannot_be_had() {
	local limit
	for limit in '{"memory":{"limit":33554432}}' '{"cpu":{"quota":50000}}' '{"pids":{"limit":5}}'; do
		id=$(limited "$limit" touch /ran)
		case $KIND in
		root) expect_code 125 unshare -m sh -c 'umount -R /sys/fs/cgroup && crate-sup run "$0"' "$id" ;;
		*) expect_code 125 crate-sup run "$id" ;;
		esac
		one_line crate-sup 'hint: '
		[ ! -e "$CRATE_ROOT/containers/$id/upper/ran" ] || fail 'it ran'
		gone || fail "left: $(groups "$id")"
	done
	# Read-only is told too.
	[ "$KIND" != root ] || {
		expect_code 125 unshare -m sh -c 'where=/sys/fs/cgroup; [ ! -d $where/pids ] || where=$where/pids
			mount -o remount,bind,ro $where && crate-sup run "$0"' "$id"
		one_line crate-sup '--pids-limit: ' 'Read-only file system' 'hint: '
	}
	# What was made before a later limit failed is removed: the least quota is 1000.
	[ "$KIND" != root ] || {
		id=$(limited '{"memory":{"limit":33554432},"cpu":{"quota":5}}' touch /ran)
		expect_code 125 crate-sup run "$id"
		one_line crate-sup '--cpus' 'Invalid argument' 'hint: '
		gone || fail "left: $(groups "$id")"
	}
	id=$(limited '{"memory":{"swap":33554432}}' touch /ran)
	expect_code 125 crate-sup run "$id"
	one_line crate-sup memory.swap
}

# Where nothing is limited no cgroup is made.
test_none_is_made_without_limits() {
	have "$BUSYBOX"
	id=$(limited '{"pids":{"limit":-1},"memory":{},"cpu":{"shares":0}}' sleep 100)
	expect_code 0 crate-sup start "$id"
	gone || fail "made: $(groups "$id")"
	[ ! -e "$CRATE_RUN/$id/cgroup" ] || fail 'written down'
	expect_code 0 crate rm -f "$id"
}
