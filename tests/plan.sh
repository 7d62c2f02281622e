#!/bin/bash
# plan.sh: `crate-sup plan` tells what a start would do, and does nothing.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

plan() { crate-sup plan "$1" >"$2"; }

# The plan of a container that is made with these flags, without what names the container.
plan_of() { # [FLAG...] IMAGE [COMMAND...]
	local id
	id=$(crate-store create "$@")
	crate-sup plan "$id" | sed "s/$id/ID/g; s/${id:0:12}/ID/g"
	crate rm "$id" >/dev/null
}

# The command line at its end.
command_line() { sed -n '/^$/,$p' "$1" | sed '1,/:$/d'; }

test_it_does_nothing_and_is_always_the_same() {
	have "$BUSYBOX"
	local id before
	mkdir shared
	id=$(crate create -v "$WORK/shared:/shared" "$BUSYBOX" sh -c 'echo ran >>/shared/ran; sleep 100')
	before=$(find "$CRATE_ROOT/containers/$id" | sort)
	plan "$id" first
	same 'the bundle' "$(find "$CRATE_ROOT/containers/$id" | sort)" "$before"
	[ ! -e shared/ran ] || fail 'it ran'
	crate start "$id" >/dev/null
	eventually test -e shared/ran
	plan "$id" running
	cmp first running
	crate kill --wait "$id" >/dev/null
	plan "$id" ended
	cmp first ended
	same 'how often it ran' "$(cat shared/ran)" ran
	crate rm "$id" >/dev/null
	expect_code 3 crate-sup plan no-such-container
	nothing_out
}

# What is at the end of it, typed into a shell, is the container; but for a filter that the supervisor watches by, and what the
# kernel says of the first overlay on a directory alone.
test_its_command_line_works_by_hand() {
	have "$BUSYBOX"
	local id look='probe ids; probe caps | grep -v Seccomp; cat /proc/self/mountinfo | cut -d " " -f 5- | sed "s/,uuid=on//"; hostname; env; pwd; ls /dev /proc/1/fd'
	id=$(crate create -e 'VAR=it'\''s $x' --hostname inside -w /etc "$BUSYBOX" sh -c "$look")
	plan "$id" plan
	command_line plan >script
	has script "--private"
	sh script >by-hand </dev/null
	crate start -a "$id" >by-crate
	diff by-hand by-crate || fail 'the container is another one by hand'
	has by-hand "VAR=it's \$x"
	crate rm "$id" >/dev/null
}

test_it_tells_whose_ids_there_are() {
	have "$BUSYBOX"
	plan_of "$BUSYBOX" true >out
	case $KIND in
	root)
		grep -q '^ids *the host' out
		grep -q '^of the host *user' out
		;;
	ranges) grep -q "^ids *user 0 is $(id -u) outside$" out && grep -q ' users 1 to 65536 are [0-9]* and so on outside$' out ;;
	single) grep -q '^ids *user 0 and group 0 are the caller, and there are no others: /etc/subuid has no range' out ;;
	esac || fail "$(cat out)"
}

test_it_tells_what_system_calls_are_answered() {
	have "$BUSYBOX"
	plan_of "$BUSYBOX" true >out
	grep -q '^system calls *SCMP_ACT_ERRNO: all but these' out || fail "$(cat out)"
	grep -q '^ *SCMP_ACT_ALLOW: [1-9][0-9][0-9], and [0-9]* with certain arguments' out || fail "$(cat out)"
	has out 'TIOCSTI'
	grep -q '^ *by a filter of [0-9]* instructions' out || fail "$(cat out)"
	plan_of --security-opt seccomp=unconfined --root-emulation=off "$BUSYBOX" true >out
	grep -q '^system calls *all$' out || fail "$(cat out)"
	lacks out 'by a filter'
	echo '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":7}]}' >profile.json
	plan_of --security-opt seccomp=profile.json "$BUSYBOX" true >out
	grep -q '^system calls *SCMP_ACT_ALLOW: all but these$' out || fail "$(cat out)"
	grep -q '^ *SCMP_ACT_ERRNO 7: 2$' out || fail "$(cat out)"
}

# Each flag that changes what a program can do, sees or is kept from.
test_each_flag_changes_it() {
	have "$BUSYBOX"
	mkdir shared
	plan_of "$BUSYBOX" true >plain
	plan_of "$BUSYBOX" true >again
	cmp plain again
	local flags own=''
	case $KIND in
	ranges) own='--userns keep-id' ;;
	single) own=$(printf '%s\n' '--userns keep-id' '--root-emulation off') ;;
	esac
	while read -r flags; do
		[ -n "$flags" ] || continue
		# shellcheck disable=SC2086
		plan_of $flags "$BUSYBOX" true >changed
		! cmp -s plain changed || fail "$flags is not in the plan"
	done <<-EOF
		-e A=b
		-w /etc
		-u 0:7
		-i
		-t
		-h other
		--entrypoint sh
		--network host
		--read-only
		--init
		--rm
		--restart always
		--stop-signal INT
		--stop-timeout 3
		--log-opt max-size=1m
		--pidfile $WORK/pid
		--tmpfs /more
		-v $WORK/shared:/shared
		-v $WORK/shared:/shared:ro
		--cap-add SYS_TIME
		--cap-drop ALL
		--privileged
		--security-opt no-new-privileges=false
		--security-opt seccomp=unconfined
		--security-opt mask=/etc/text
		--security-opt unmask=/proc/keys
		--security-opt unmask=/proc/sys
		--ulimit nofile=64
		--sysctl net.ipv4.ip_forward=1
		--device /dev/zero:/dev/twin
		--shm-size 1m
		-m 64m
		-m 64m --memory-swap -1
		--cpus 1.5
		-c 512
		--pids-limit 9
		$own
	EOF
}

# E23: what an image or a caller names cannot steer the terminal that the plan is read on.
test_E23_control_characters_are_written_out() {
	have "$BUSYBOX"
	plan_of -e "A=$(printf 'x\033[2Jy')" "$BUSYBOX" echo "$(printf '\033]0;title\007')" >out
	! LC_ALL=C grep -q "$(printf '[\001-\010\013-\037]')" out || fail 'control characters are printed'
	has out "\$'A=x\\033[2Jy'"
}
