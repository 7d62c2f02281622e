#!/bin/bash
# flags.sh: what the flags of confinement and limits put into config.json, and which are refused before anything is made.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# made FLAG...: the config.json of a container that is made with these flags.
made() {
	local id
	id=$(crate create "$@" "$BUSYBOX" true)
	cat "$(crate path "$id")/config.json"
	crate rm "$id" >/dev/null
}

# says FILTER WANTED FLAG...: what jq's FILTER finds in it.
says() {
	local filter=$1 wanted=$2
	shift 2
	same "$filter with $*" "$(made "$@" | jq -c -r "$filter")" "$wanted"
}

USUAL=CHOWN,DAC_OVERRIDE,FOWNER,FSETID,KILL,SETGID,SETUID,SETPCAP,NET_BIND_SERVICE,NET_RAW,SYS_CHROOT,MKNOD,AUDIT_WRITE,SETFCAP

test_capabilities() {
	have "$BUSYBOX"
	local set='.process.capabilities | [.bounding, .effective, .permitted] | unique | map(join(",")) | join(" ") | gsub("CAP_"; "")'
	says "$set" "$USUAL"
	says "$set" "${USUAL/,NET_RAW/}" --cap-drop net_raw
	says "$set" "${USUAL/,MKNOD/,SYS_TIME,MKNOD}" --cap-add=CAP_SYS_TIME
	says "$set" NET_BIND_SERVICE --cap-drop ALL --cap-add NET_BIND_SERVICE
	says "$set" CHOWN,KILL --cap-add=kill,chown --cap-drop=all
	says "$set" '' --cap-drop ALL
	# All is what there is, for root what root has.
	local all
	all=$(crate create --cap-add ALL --cap-drop CHOWN "$BUSYBOX" true)
	all=$(jq -r '.process.capabilities.bounding | join(" ")' "$(crate path "$all")/config.json")
	case " $all " in
	*' CAP_CHOWN '*) fail 'what is dropped of all is there' ;;
	*' CAP_SYS_ADMIN '*) ;;
	*) fail "all are $all" ;;
	esac
	says '.process.capabilities | [.inheritable, .ambient]' '[null,null]' --cap-add ALL
}

test_security_options() {
	have "$BUSYBOX"
	says .process.noNewPrivileges true
	says .process.noNewPrivileges false --security-opt no-new-privileges=false
	says .process.noNewPrivileges true --privileged --security-opt no-new-privileges
	says '.linux.seccomp.defaultAction' SCMP_ACT_ERRNO
	says '.linux.seccomp' null --security-opt seccomp=unconfined
	echo '{"defaultAction":"SCMP_ACT_LOG"}' >profile.json
	says '.linux.seccomp' '{"defaultAction":"SCMP_ACT_LOG","syscalls":[]}' --security-opt seccomp=profile.json
	says '.linux | [.maskedPaths, .readonlyPaths] | map(length)' '[0,0]' --security-opt systempaths=unconfined
	says '.linux | [.maskedPaths, .readonlyPaths] | map(index("/proc/keys", "/proc/sys", "/etc/text"))' \
		'[null,null,11,null,null,null]' --security-opt unmask=/proc/keys:/proc/sys --security-opt mask=/etc/text
}

test_privileged() {
	have "$BUSYBOX"
	made --privileged >privileged.json
	expect true jq '.annotations["run.crate.privileged"] == "true" and .process.noNewPrivileges == false and
		.linux.seccomp == null and .linux.maskedPaths == [] and .linux.readonlyPaths == [] and
		(.mounts[] | select(.destination == "/sys") | .options | index("ro") == null) and
		(.process.capabilities.bounding | index("CAP_SYS_ADMIN") != null)' privileged.json
}

test_limits() {
	have "$BUSYBOX"
	says .process.rlimits '[{"type":"RLIMIT_CORE","hard":0,"soft":0},{"type":"RLIMIT_NOFILE","hard":64,"soft":32}]' \
		--ulimit nofile=1 --ulimit core=0 --ulimit nofile=32:64
	says .linux.resources '{"memory":{"limit":67108864},"pids":{"limit":9}}' -m 64m --pids-limit 9
	says .linux.resources '{"memory":{"limit":67108864,"swap":-1}}' --memory=64m --memory-swap=-1
	says .linux.resources '{"cpu":{"shares":2,"quota":150000,"period":100000}}' --cpus 1.5 -c 2
	says .linux.resources '{"cpu":{"quota":5000,"period":10000}}' --cpu-period 10000 --cpu-quota 5000
	says .linux.resources null --memory 0 --cpus 0 --pids-limit -1
	says .linux.sysctl '{"kernel.shmmni":"9","net.ipv4.ip_forward":"1"}' \
		--sysctl net/ipv4/ip_forward=1 --sysctl kernel.shmmni=8 --sysctl kernel.shmmni=9
	says '.mounts[] | select(.destination == "/dev/shm") | .options[-1]' size=1048576 --shm-size 1m
}

test_devices() {
	have "$BUSYBOX"
	says '.mounts[] | select(.destination == "/dev/other") | [.type, .source] + .options | join(" ")' \
		'bind /dev/null bind ro nosuid noexec' --device /dev/null:/dev/other:rw
	mkdir folder
	expect_code 125 crate run --device /etc/passwd "$BUSYBOX" true
	one_line crate-store 'that is no device' 'hint: see --volume'
	expect_code 125 crate run --device "$PWD/folder" "$BUSYBOX" true
	one_line crate-store 'no device in it'
	expect_code 125 crate run --device /dev/no-such "$BUSYBOX" true
	one_line crate-store '/dev/no-such'
}

test_annotations() {
	have "$BUSYBOX"
	local userns=keep-id
	[ "$KIND" != root ] || userns=host
	says '.annotations | [.["run.crate.userns"], .["run.crate.root-emulation"], .["run.crate.privileged"]]' '[null,null,null]' \
		--cgroupns private --ipc=private --pid private --uts private --root-emulation=on --privileged=false
	says '.annotations | [.["run.crate.userns"], .["run.crate.root-emulation"]]' "[\"$userns\",\"false\"]" \
		--userns "$userns" --root-emulation off
}

# Each is wrong usage, told in a line that names the flag; nothing is made, and no image is asked for.
test_what_is_refused() {
	own_store
	local flag
	while read -r flag; do
		# shellcheck disable=SC2086
		expect_code 125 crate run $flag "localhost:1/nobody" true
		[ "$(wc -l <"$WORK/err")" = 1 ] || { show "$flag"; fail 'more than a line'; }
		grep -q -F -e "crate-store: ${flag%%[ =]*}" "$WORK/err" || { show "$flag"; fail 'the flag is not named'; }
		# shellcheck disable=SC2086
		expect_code 2 crate-store create $flag "localhost:1/nobody" true
	done <<-'END'
		--cap-add NO_SUCH
		--cap-drop CHOWN,NO_SUCH
		--cap-add ALL --cap-drop ALL
		--security-opt apparmor=docker-default
		--security-opt label=type:x
		--security-opt no-new-privileges=maybe
		--security-opt mask=etc
		--security-opt proc-opts=hidepid=2
		--security-opt unknown
		--userns auto
		--root-emulation maybe
		--ulimit nofile=2:1
		--ulimit nofiles=1
		--ulimit nofile
		--sysctl kernel.core_pattern=|/x
		--sysctl net/../kernel/core_pattern=x
		--sysctl net.//.kernel.core_pattern=x
		--sysctl net.ipv4.ip_forward=1 --network host
		--sysctl net.ipv4.ip_forward
		--device null
		--device /dev/null:r
		--device /dev/null:/dev/../x
		--shm-size 0
		--shm-size 64x
		--memory 5m
		--memory-swap 64m
		--memory-swap 32m --memory 64m
		--cpus 0.001
		--cpus 1 --cpu-quota 5000
		--cpu-period 1
		--cpu-quota 1
		--cpu-shares 1
		--pids-limit many
		--cgroupns host
		--ipc host
		--pid host
		--uts host
		--privileged=maybe
	END
	expect '' crate ps -aq
}
