#!/bin/busybox sh
# shellcheck shell=dash
# guest.sh: process 1 of the emulated machine of vm.sh. For each case below it prints `vm begin CASE`, and in the end `vm ok CASE` or what
# went wrong.
PATH=/bin
export PATH
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t cgroup2 cgroup /sys/fs/cgroup
insmod /overlay.ko
echo 'root:x:0:0::/:/bin/sh
user:x:1000:1000::/home:/bin/sh' >/etc/passwd
chmod 1777 /tmp
chown 1000:1000 /home
chmod 755 /

fail() {
	echo "vm failed: $*"
	exit 1
}

same() { # WHAT A B
	[ "$2" = "$3" ] || fail "$1: $2 is not $3"
}

has() { # FILE TEXT
	grep -q -F -e "$2" "$1" || { cat "$1"; fail "$2 is missing"; }
}

group() { find /sys/fs/cgroup -name "crate-$1*"; }

none_left() { [ -z "$(group '[0-9a-f]')" ] || fail "left: $(group '[0-9a-f]')"; }

eventually() {
	for _ in $(seq 600); do
		! "$@" >/dev/null 2>&1 || return 0
		sleep 0.1
	done
	fail "it did not come true: $*"
}

forks='for i in $(seq 40); do sleep 600 & done'
bomb='x=x; while true; do x=$x$x; done'
IMAGE=oci-archive:/image.tar

initramfs() {
	same output "$(crate run --rm $IMAGE echo hello)" hello
	same root "$(crate run --rm $IMAGE awk '$2 == "/" { print $3 }' /proc/mounts)" overlay
	# Nothing of the host's root is in reach, and none of its mounts.
	same init "$(crate run --rm $IMAGE ls /init /image.tar 2>/dev/null)" ''
	# But for the files that are bound from it.
	crate run --rm $IMAGE grep -v ' /etc/' /proc/self/mountinfo >/tmp/mounts
	! grep rootfs /tmp/mounts || fail 'the root of the host is among the mounts'
	none_left
}

# A second root; in a user namespace of its own a procfs without masks, which it may have beside another one.
out_of_initramfs() {
	own='unshare -Ur -m -p -f sh -c "mount -t proc proc /tmp && cat /tmp/1/comm"'
	attack chroot /tmp /init >/tmp/won
	has /tmp/won 'chroot: won'
	id=$(crate run -d -v /bin/attack:/attack:ro --security-opt seccomp=unconfined $IMAGE sleep 600)
	for in in "crate exec $id" "crate run --rm -v /bin/attack:/attack:ro --security-opt seccomp=unconfined $IMAGE"; do
		$in /attack chroot /tmp /init >/tmp/held
		has /tmp/held 'second chroot: No such file or directory'
		$in unshare -Ur -m true || fail 'no user namespace: this shows nothing'
		$in sh -c "$own" && fail "$in: a procfs without masks"
	done
	same procfs "$(crate run --rm --privileged $IMAGE sh -c "$own")" cat
	crate rm -f "$id"
	none_left
}

root_pids() {
	id=$(crate run -d --pids-limit 20 $IMAGE sh -c "sh -c '$forks' & exec sleep 600")
	eventually grep -q 'max [1-9]' "$(group "$id")/pids.events"
	[ "$(cat "$(group "$id")/pids.current")" -le 20 ] || fail 'more processes than allowed'
	crate rm -f "$id" || fail rm
	none_left
}

root_memory() {
	code=0
	crate run --name oom -m 16m $IMAGE sh -c "$bomb" || code=$?
	same code "$code" 137
	same OOMKilled "$(crate inspect -f '{{.State.OOMKilled}}' oom)" true
	none_left
	crate rm oom
}

root_cpu() {
	id=$(crate run -d --cpus 0.5 --cpu-shares 1024 -m 32m --memory-swap 48m $IMAGE sleep 600)
	dir=$(group "$id")
	same cpu.max "$(cat "$dir/cpu.max")" '50000 100000'
	same cpu.weight "$(cat "$dir/cpu.weight")" 100
	same memory.max "$(cat "$dir/memory.max")" 33554432
	same memory.swap.max "$(cat "$dir/memory.swap.max")" 16777216
	crate rm -f "$id"
	none_left
}

root_exec() {
	id=$(crate run -d --pids-limit 20 $IMAGE sleep 600)
	same cgroup "$(crate exec "$id" cat /proc/self/cgroup)" 0::/
	crate exec -d "$id" sleep 600
	same processes "$(wc -l <"$(group "$id")/cgroup.procs")" 2
	crate rm -f "$id"
	none_left
}

root_shown() {
	same limit "$(crate run --rm --pids-limit 20 $IMAGE cat /sys/fs/cgroup/pids.max)" 20
	same cgroup "$(crate run --rm --pids-limit 20 $IMAGE cat /proc/self/cgroup)" 0::/
	crate run --rm --pids-limit 20 $IMAGE sh -c 'echo max >/sys/fs/cgroup/pids.max' && fail 'its limit was written'
	crate run --rm --pids-limit 20 $IMAGE mkdir /sys/fs/cgroup/x && fail 'a cgroup was made'
	crate run --rm $IMAGE grep cgroup /proc/mounts && fail 'a cgroup is shown that is not its own'
	none_left
}

root_killed() {
	id=$(crate run -d --pids-limit 20 $IMAGE sleep 600)
	kill -KILL "$(sed 's/.*"supervisor":\([0-9]*\).*/\1/' "/run/crate/$id/pid")"
	eventually sh -c "crate ps -a | grep lost"
	[ -n "$(group "$id")" ] || fail 'nothing was left: this shows nothing'
	crate rm "$id" || fail rm
	none_left
}

as_user() { # DIRECTORY SCRIPT: in this cgroup
	echo "$2" >/tmp/script
	sh -c 'echo $$ >"$0/cgroup.procs" && exec su -s /bin/sh -c "sh /tmp/script" user' "$1"
}

user_undelegated() {
	mkdir /sys/fs/cgroup/session
	as_user /sys/fs/cgroup/session "
		cd /home
		crate run --name none -m 16m $IMAGE touch /ran 2>/tmp/err
		[ \$? = 125 ] || exit 1
		crate run --rm $IMAGE echo unlimited"
	same code $? 0
	has /tmp/err '--memory: /sys/fs/cgroup/session'
	has /tmp/err 'hint: '
	has /tmp/err 'systemd-run --user --scope -p Delegate=yes'
	[ -z "$(find /home -name ran)" ] || fail 'it ran'
	none_left
}

# delegate DIRECTORY CONTROLLER...: a cgroup for the user below one that hands these controllers on.
delegate() {
	dir=$1
	shift
	mkdir -p "$dir"
	for controller; do
		echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
		echo "+$controller" >"${dir%/*}/cgroup.subtree_control"
	done
	chown 1000:1000 "$dir" "$dir/cgroup.procs" "$dir/cgroup.subtree_control"
}

user_delegated() {
	delegate /sys/fs/cgroup/delegated cpu memory pids
	as_user /sys/fs/cgroup/delegated "
		cd /home
		crate run --name oom -m 16m $IMAGE sh -c '$bomb'
		[ \$? = 137 ] || exit 1
		[ \$(crate inspect -f '{{.State.OOMKilled}}' oom) = true ] || exit 2
		id=\$(crate run -d --pids-limit 20 --cpus 0.5 $IMAGE sleep 600) || exit 3
		[ \$(cat /sys/fs/cgroup/delegated/crate-\$id/pids.max) = 20 ] || exit 4
		[ \"\$(crate exec \$id cat /sys/fs/cgroup/cpu.max)\" = '50000 100000' ] || exit 5
		crate exec \$id sh -c 'echo max >/sys/fs/cgroup/pids.max' && exit 6
		crate rm -f \$id || exit 7
		# The host's cgroups, which are the user's outside, are read-only inside, where they are seen at all.
		mkdir /sys/fs/cgroup/delegated/x && rmdir /sys/fs/cgroup/delegated/x || exit 8
		crate run --rm --network host $IMAGE mkdir /sys/fs/cgroup/delegated/x && exit 9
		crate run --rm --network host --pids-limit 20 $IMAGE mkdir /sys/fs/cgroup/x && exit 10
		[ \"\$(crate run --rm --network host --pids-limit 20 $IMAGE cat /sys/fs/cgroup/pids.max)\" = 20 ] || exit 11"
	same code $? 0
	none_left
	# Who is in the way of cgroups that hand controllers on has been moved below.
	[ -d /sys/fs/cgroup/delegated/crate-supervisors ] || fail 'no cgroup for supervisors'
}

user_without_cpu() {
	delegate /sys/fs/cgroup/outer/delegated memory pids
	as_user /sys/fs/cgroup/outer/delegated "
		cd /home
		crate run --rm --pids-limit 20 $IMAGE true || exit 1
		crate run --rm --cpus 0.5 $IMAGE touch /ran 2>/tmp/err"
	same code $? 125
	has /tmp/err '--cpus'
	has /tmp/err 'has no controller cpu'
	none_left
}

unmounted() {
	unshare -m sh -c "umount /sys/fs/cgroup; crate run --rm --pids-limit 9 $IMAGE touch /ran 2>/tmp/err"
	same code $? 125
	has /tmp/err 'the controller pids'
	has /tmp/err 'hint: mount -t cgroup2'
}

checked() {
	crate check >/tmp/checked
	grep cgroups /tmp/checked | grep -q '^works.*memory in version 2' || { cat /tmp/checked; fail 'cgroups do not work'; }
}

for case in initramfs out_of_initramfs root_pids root_memory root_cpu root_exec root_shown root_killed checked user_undelegated \
	user_delegated user_without_cpu unmounted; do
	echo "vm begin $case"
	($case) 2>&1 && echo "vm ok $case"
done
echo "vm end $(cut -d ' ' -f 1 /proc/uptime)"
poweroff -f
