#!/bin/bash
# table.sh: what a program finds itself to be in a container, beside the tables of man/crate.1; what it cannot reach there, gain
# there, or have done by what it says.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# The rows of the manual's tables, without the line that names the columns.
rows() { # FIRST COLUMN'S NAME
	awk -F '\t' -v first="$1" '/^\.TS/ { inside = 0 } /^\.TE/ { inside = 0 } inside; $1 == first { inside = 1 }' "$TESTS/man/crate.1"
}

bundle() { echo "$CRATE_ROOT/containers/$1"; }

edit() { # ID FILTER: change config.json by hand
	jq "$2" "$(bundle "$1")/config.json" >config.new
	cat config.new >"$(bundle "$1")/config.json"
}

others() { [ "$KIND" = single ] || echo app; } # who else than root there is inside

# --- E15: capabilities and the rest of the status ---

# as_documented COLUMN CMD...: the status that CMD shows has the values of the manual.
as_documented() {
	local column=$1
	shift
	expect_code 0 "$@" probe status Cap NoNewPrivs Seccomp: Umask
	same "status of $*" "$(tr -d '\r' <"$WORK/out" | sed 's/:[[:space:]]*/ /' | sort)" "$(rows Field | cut -f "1,$column" | tr '\t' ' ' | sort)"
}

# E15: CVE-2022-24769, CVE-2022-29162.
test_E15_status_is_the_documented_one() {
	have "$BUSYBOX"
	local user column id flag
	[ "$(rows Field | wc -l)" -ge 7 ] || fail 'the manual has no table'
	for user in root $(others); do
		column=2
		[ "$user" = root ] || column=3
		for flag in --rm --init -t; do
			as_documented "$column" crate run --rm "$flag" -u "$user" "$BUSYBOX"
		done
		id=$(crate run -d -u "$user" "$BUSYBOX" probe wait)
		as_documented "$column" crate exec "$id"
		as_documented "$column" crate exec -t "$id"
		crate rm -f "$id" >/dev/null
	done
	[ "$KIND" != single ] || return 0
	id=$(crate run -d "$BUSYBOX" probe wait)
	as_documented 3 crate exec -u app "$id"
	as_documented 3 crate exec -u 4242:4242 "$id"
	as_documented 2 crate exec -u 0 "$id"
	crate rm -f "$id" >/dev/null
}

# E15: namespaces, limits, groups, and how readily the kernel kills it.
test_E15_namespaces_and_limits_are_the_documented_ones() {
	have "$BUSYBOX"
	local kind id command own='mnt pid uts ipc cgroup net'
	# What is in the quotes is for the container's shell.
	command='for kind in mnt pid uts ipc cgroup net user time; do echo $kind $(readlink /proc/self/ns/$kind); done; cat /proc/self/limits /proc/self/oom_score_adj'
	[ "$KIND" = root ] || own="$own user"
	sh -c "$command" >outside
	id=$(crate run -d "$BUSYBOX" probe wait)
	crate exec "$id" sh -c "$command" >inside.exec
	crate rm -f "$id" >/dev/null
	crate run --rm "$BUSYBOX" sh -c "$command" >inside.run
	for id in run exec; do
		same "namespaces of $id" "$(diff outside "inside.$id" | sed -n 's/^> \([a-z]*\) .*/\1/p' | tr '\n' ' ')" "$own "
		same "limits of $id" "$(diff outside "inside.$id" | grep '^[<>]' | grep -v '\[' || :)" ''
	done
	# There are more filters than around it.
	kind=$(crate run --rm "$BUSYBOX" probe status Seccomp_filters | cut -f 2)
	[ "$kind" -gt "$(sed -n 's/^Seccomp_filters:\t//p' /proc/self/status)" ] || fail "there are $kind filters"
	expect 'Groups:	0 ' crate run --rm "$BUSYBOX" probe status Groups
	[ -z "$(others)" ] || expect 'Groups:	10 50 1000 ' crate run --rm -u app "$BUSYBOX" probe status Groups
}

# E15, E21: a program of mode 4755, and one with capabilities of its own, started by another user: in the image and on a volume.
test_E15_no_program_gains_by_its_file() {
	only root ranges
	have "$BUSYBOX"
	local id upper plain='uid 1000 1000 1000'
	mkdir volume
	id=$(crate create -u 1000:1000 -v "$WORK/volume:/vol" "$BUSYBOX" sh -c 'for place in / /vol/; do ${place}suid ids | head -n 1; ${place}capable status CapEff; done')
	upper=$(bundle "$id")/upper
	cp "$CRATE_STAGE/bin/probe" volume/suid
	cp "$CRATE_STAGE/bin/probe" volume/capable
	chmod 4755 volume/suid
	in_userns python3 -c 'import os; os.setxattr("volume/capable", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))'
	in_userns cp -a volume/suid volume/capable "$upper"
	expect "$(printf '%s\nCapEff:\t0000000000000000\n%s\nCapEff:\t0000000000000000' "$plain" "$plain")" crate start -a "$id"
	# With new privileges they gain: but for root not on a volume.
	edit "$id" '.process.noNewPrivileges = false'
	if [ "$KIND" = root ]; then
		expect "$(printf 'uid 1000 0 0\nCapEff:\t0000000000002000\n%s\nCapEff:\t0000000000000000' "$plain")" crate start -a "$id"
	else
		expect "$(printf 'uid 1000 0 0\nCapEff:\t0000000000002000\nuid 1000 0 0\nCapEff:\t0000000000002000')" crate start -a "$id"
	fi
	crate rm "$id" >/dev/null
}

# --- E13: what is masked, what is read-only, and what is mounted at all ---

# as_mounted CMD...: what CMD finds mounted is what the manual has, and nothing else.
as_mounted() {
	local path type options want kind
	expect_code 0 "$@" probe mounts
	tr -d '\r' <"$WORK/out" >mounted
	while read -r path type options; do
		IFS=$'\t' read -r _ kind want < <(rows Path | grep "^$path	") || fail "$path is mounted, and not in the manual"
		case $kind in
		device | file) ;;
		masked) case $type in tmpfs | devtmpfs) ;; *) fail "$path is not masked: $type" ;; esac ;;
		read-only) kind=$type ;;
		*) same "the type of $path" "$type" "$kind" ;;
		esac
		for kind in ${want//,/ }; do
			case ,$options, in *,"$kind",*) ;; *) fail "$path has no $kind: $options" ;; esac
		done
	done <mounted
	while IFS=$'\t' read -r path _; do
		# What this kernel does not have is not masked, and a console comes with a terminal.
		if [ ! -e "$path" ] || [ "$path" = /dev/console ]; then continue; fi
		grep -q "^$path " mounted || fail "$path is in the manual, and not mounted"
	done < <(rows Path)
}

# E13: the mounts inside are those of the manual.
test_E13_mounts_are_the_documented_ones() {
	have "$BUSYBOX"
	local id
	[ "$(rows Path | wc -l)" -ge 30 ] || fail 'the manual has no table'
	as_mounted crate run --rm "$BUSYBOX"
	as_mounted crate run --rm --init "$BUSYBOX"
	as_mounted crate run --rm -t "$BUSYBOX"
	grep -q '^/dev/console ' mounted || fail 'there is no console'
	id=$(crate run -d "$BUSYBOX" probe wait)
	as_mounted crate exec "$id"
	crate rm -f "$id" >/dev/null
}

# What opens for writing below the paths that are to be read-only, and what masked paths tell.
WRITABLE='for path in /proc/sys /proc/irq /proc/bus /proc/fs /proc/sysrq-trigger /sys; do find $path -type f; done 2>/dev/null |
	while read -r file; do true >>"$file" && echo "$file"; done 2>/dev/null; :'
READABLE='for path in acpi asound interrupts kcore keys latency_stats sched_debug scsi timer_list timer_stats; do
	find /proc/$path -type f; head -c 100 /proc/$path; done 2>/dev/null
	find /sys/firmware /sys/devices/virtual/powercap -mindepth 1 2>/dev/null; :'

# E13: nothing opens, nothing tells; without the lists something does.
test_E13_masked_and_read_only_paths() {
	have "$BUSYBOX"
	local id
	id=$(crate run -d "$BUSYBOX" probe wait)
	expect '' crate exec "$id" sh -c "$WRITABLE"
	expect '' crate exec "$id" sh -c "$READABLE"
	crate rm -f "$id" >/dev/null
	id=$(crate create "$BUSYBOX" sh -c "$WRITABLE; $READABLE")
	expect '' crate start -a "$id"
	edit "$id" '.linux.maskedPaths = [] | .linux.readonlyPaths = [] | .mounts |= map(if .destination == "/sys" then .options -= ["ro"] else . end)'
	expect_code 0 crate start -a "$id"
	line '^/proc/sys/kernel/(domainname|shmmax)$'
	line '^/proc/acpi/.|^ *CPU0|^Timer List'
	crate rm "$id" >/dev/null
}

# --- E14: control groups ---

# E14: CVE-2022-0492, CVE-2023-25809. No file of a control group opens for writing, and none can be mounted.
test_E14_no_control_group_is_writable() {
	have "$BUSYBOX"
	local network control='find /sys/fs/cgroup -name release_agent -o -name "cgroup.*" -o -name notify_on_release -o -name tasks'
	for network in private host; do
		expect '' crate run --rm --network $network "$BUSYBOX" sh -c "$control | while read -r file; do true >>\$file && echo \$file; done 2>/dev/null
			mkdir /tmp/group 2>/dev/null
			for kind in 'cgroup -o memory' 'cgroup -o rdma' 'cgroup -o none,name=mine' cgroup2; do
				mount -t \$kind group /tmp/group 2>/dev/null && echo mounted
				unshare -Urm mount -t \$kind group /tmp/group 2>/dev/null && echo mounted
			done; rmdir /sys/fs/cgroup/*/x 2>/dev/null; mkdir /sys/fs/cgroup/x /sys/fs/cgroup/memory/x /sys/fs/cgroup/unified/x 2>/dev/null && echo made; :"
	done
	# For root of the host they are there, and open.
	[ "$KIND" = root ] || return 0
	sh -c "$control" | while read -r file; do true >>"$file" && echo "$file"; done >writable 2>/dev/null || :
	[ -s writable ] || fail 'there is nothing to write here'
}

# --- E10: files of the image that are read ---

in_files() { crate-sup visit -w "$1" -- /bin/busybox sh -c "$2"; } # CONTAINER COMMAND: with its files, from outside

# E10: CVE-2024-9676, CVE-2024-1753, CVE-2026-47262: who the image says a user is, found for run and exec in bounded time and memory.
test_E10_passwd_and_group_that_are_none() {
	have "$BUSYBOX"
	local once stays id file how text count=0 limit='ulimit -v 120000; exec "$@"'
	echo 'keeper:x:0:0::/:/bin/sh' >host.passwd
	once=$(crate create -u keeper "$BUSYBOX" true)
	stays=$(crate run -d "$BUSYBOX" probe wait)
	while IFS='|' read -r file text how; do
		for id in $once $stays; do
			in_files "$id" 'rm -rf etc/passwd etc/group; echo keeper:x:0:0::/:/bin/sh >etc/passwd; echo keeper:x:0: >etc/group'
			[ "$text" = works ] || in_files "$id" "rm etc/$file; $how"
		done
		# These are the commands, with and without a fault.
		if [ "$text" = works ]; then
			expect_code 0 timeout 30 sh -c "$limit" sh crate start -a "$once"
			expect_code 0 timeout 30 sh -c "$limit" sh crate exec -u keeper "$stays" true
			continue
		fi
		count=$((count + 1))
		# With one id there are no groups to be set.
		[ "$KIND:$text" != 'single:group 0' ] || continue
		expect_code 125 timeout 30 sh -c "$limit" sh crate start -a "$once"
		one_line crate-sup "$text"
		expect_code 125 timeout 30 sh -c "$limit" sh crate exec -u keeper "$stays" true
		one_line crate-sup "$text"
	done <<-EOF
		passwd|works|
		passwd|no user keeper|ln -s ../../../../../..$WORK/host.passwd etc/passwd
		passwd|no user keeper|ln -s $WORK/host.passwd etc/passwd
		passwd|passwd|ln -s /proc/1/root/../../../..$WORK/host.passwd etc/passwd
		passwd|passwd|mkfifo etc/passwd
		passwd|passwd|mkdir etc/passwd
		passwd|passwd|ln -s passwd etc/passwd
		passwd|passwd|ln -s /dev/zero etc/passwd
		passwd|passwd|ln -s /dev/tty etc/passwd
		passwd|crate-sup|ln -s /proc/kmsg etc/passwd
		passwd|no user keeper|ln -s /proc/self/environ etc/passwd
		passwd|passwd|truncate -s 5G etc/passwd
		group|group|truncate -s 5G etc/group
		group|group|mkfifo etc/group
		group|group|ln -s /dev/zero etc/group
		group|group|yes group:x:1:keeper | head -n 1000000 >etc/group
		group|group 0|yes g:x:0:keeper | head -n 70000 >etc/group
	EOF
	same 'cases' "$count" 16
	crate rm -f "$once" "$stays" >/dev/null
}

# E10: reading the image's files takes nothing from the kernel's log, which tells each line once.
test_E10_the_kernel_s_log_is_not_read() {
	only root
	have "$BUSYBOX"
	local id unread='import ctypes; print(ctypes.CDLL(None).klogctl(9, None, 0))' before
	id=$(crate create -u keeper "$BUSYBOX" true)
	in_files "$id" 'rm etc/passwd; ln -s /proc/kmsg etc/passwd'
	echo 'a line of the tests' >/dev/kmsg
	before=$(python3 -c "$unread")
	[ "$before" -gt 0 ] || skip "somebody reads the kernel's log"
	expect_code 125 crate start -a "$id"
	[ "$(python3 -c "$unread")" -ge "$before" ] || fail "the kernel's log was read"
	crate rm "$id" >/dev/null
}

# --- E21: devices and set-user-ID programs ---

# E21: a device on a volume does not open, nor one that is in an image or made inside; the host opens it.
test_E21_devices_on_volumes_and_in_images_do_not_open() {
	only root
	have "$BUSYBOX"
	local id
	mkdir volume
	mknod volume/zero c 1 5
	[ "$(head -c 4 volume/zero | wc -c)" = 4 ] || skip 'no device opens here at all'
	id=$(crate create -v "$WORK/volume:/vol" --tmpfs /memory "$BUSYBOX" sh -c '
		mknod /made c 1 5; mknod /memory/made c 1 5; mknod /dev/made c 1 5; mknod /vol/made c 1 5
		for file in /vol/zero /vol/made /image /made /memory/made /dev/made; do [ -c $file ] && head -c 4 $file; done; head -c 4 /dev/zero | wc -c')
	mknod "$(bundle "$id")/upper/image" c 1 5
	expect 4 crate start -a "$id"
	[ "$(grep -c 'Permission denied' "$WORK/err")" = 6 ] || { cat "$WORK/err" >&2; fail 'not all of the devices were refused'; }
	crate rm "$id" >/dev/null
}

# --- E22: what an image says of itself ---

# E22: CVE-2026-53488, CVE-2026-50195. No label and no field of a config names something of the host, or asks for less confinement.
test_E22_labels_and_fields_act_on_nothing() {
	own_store
	local name id
	cat >evil.json <<-EOF
		{"Env":["PATH=/bin"],"Cmd":["true"],"hooks":{"createRuntime":[{"path":"$WORK/hook"}]},"Privileged":true,"CapAdd":["ALL"],
		"SecurityOpt":["seccomp=unconfined"],"Binds":["/:/host"],"PidMode":"host","Labels":{
		"run.crate.pidfile":"$WORK/acted","run.crate.privileged":"true","run.crate.userns":"host","run.crate.root-emulation":"false",
		"run.crate.init":"true","run.crate.layers":"","run.crate.restart":"always","run.crate.remove":"true","run.crate.user":"app",
		"run.oci.hooks.stdout":"$WORK/acted","run.oci.handler":"wasm","run.oci.keep_original_groups":"1","run.oci.systemd.subgroup":"x",
		"org.criu.config":"$WORK/acted","org.systemd.property.ExecStopPost":"$WORK/hook","io.kubernetes.cri-o.Devices":"/dev/kmsg",
		"io.podman.annotations.privileged":"TRUE","io.containers.autoupdate":"registry","org.opencontainers.runc.hooks":"$WORK/hook",
		"module.wasm.image/variant":"compat","com.docker.hooks":"$WORK/hook","io.containerd.runtime":"$WORK/hook"}}
	EOF
	printf '#!/bin/sh\n: >%s\n' "$WORK/acted" >hook
	chmod 755 hook
	echo '{"Env":["PATH=/bin"],"Cmd":["true"]}' >plain.json
	for name in plain evil; do
		sh "$TESTS/image.sh" layout "layout.$name" x "$(tr -d '\n\t' <"$name.json")" "$IMAGES/busybox.tar"
		expect_code 0 crate pull -q --as "localhost/$name:1" "oci:$WORK/layout.$name:x"
		id=$(crate create --hostname same "localhost/$name:1")
		crate-sup plan "$id" | sed "s/$id/ID/g; s,localhost/$name,IMAGE," >"plan.$name"
		jq -S '.annotations |= map_values("") | del(.annotations[] | select(. == ""))' "$(bundle "$id")/config.json" | sed "s/$id/ID/g" >"config.$name"
		expect_code 0 crate start -a "$id"
	done
	diff plan.plain plan.evil || fail 'labels change the plan'
	jq 'del(.annotations)' config.plain >config.a
	jq 'del(.annotations)' config.evil >config.b
	cmp config.a config.b || fail 'labels change the container'
	[ ! -e acted ] || fail 'a label was obeyed'
	# The labels are there, and by hand, where its owner writes it, such an annotation acts.
	expect_code 0 crate inspect localhost/evil:1
	has "$WORK/out" run.crate.pidfile
	edit "$id" ".annotations[\"run.crate.pidfile\"] = \"$WORK/acted\""
	expect_code 0 crate start -a "$id"
	[ -e acted ] || fail 'the annotation would not have acted'
}

# --- E23: what is shown ---

# What a terminal shows of CMD.
on_tty() { python3 -c 'import os, pty, sys; os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:]))' "$@" </dev/null >shown 2>&1 || :; }

# E23: nothing that an image, a container or an argument says steers the terminal, and nothing of the first two begins a line.
test_E23_names_cannot_steer_a_terminal() {
	own_store
	local evil=$'\e]0;owned\a\e[31m\nhint: forged\r\u009bforged' image id
	have "$BUSYBOX"
	jq -n --arg evil "$evil" '{Env: ["PATH=/bin", "EVIL=" + $evil], Entrypoint: [$evil], Labels: {($evil): $evil, plain: $evil}, WorkingDir: ("/" + $evil), StopSignal: $evil,
		Volumes: {("/" + $evil): {}}}' >config.json
	sh "$TESTS/image.sh" layout layout x "$(cat config.json)" "$IMAGES/busybox.tar"
	expect_code 0 crate pull -q --as localhost/evil:1 "oci:$WORK/layout:x"
	image=localhost/evil:1
	id=$(crate run -d --label "evil=$evil" -e "EVIL=$evil" --hostname same "$BUSYBOX" sh -c 'echo "$EVIL" >/proc/self/comm; probe wait' "$evil")
	while IFS='|' read -r -a words; do
		words=("${words[@]//EVIL/$evil}")
		on_tty "${words[@]}"
		[ -s shown ] || fail "nothing is shown: ${words[*]@Q}"
		! grep -q $'[\e\a\u009b]' shown || { cat -v shown >&2; fail "a terminal is steered: ${words[*]@Q}"; }
		# A caller may write lines to himself.
		case ${words[*]} in *forged*) continue ;; esac
		! grep -q '^.\{0,3\}\(hint: \)\?forged' shown || { cat -v shown >&2; fail "a line is forged: ${words[*]@Q}"; }
	done <<-EOF
		crate|ps|-a
		crate|ps|-a|--no-trunc
		crate|ps|-a|--format|{{.Command}} {{.Image}}
		crate|inspect|$id
		crate|inspect|$image
		crate|images
		crate-sup|plan|$id
		crate|top|$id
		crate|run|--rm|$image
		crate|run|--rm|-w|/|$image
		crate|run|--rm|-u|EVIL|$BUSYBOX|true
		crate|run|--rm|--entrypoint|EVIL|$BUSYBOX
		crate|run|--rm|-v|/EVIL:/x|$BUSYBOX|true
		crate|run|--rm|-v|/bin:EVIL|$BUSYBOX|true
		crate|run|--rm|--tmpfs|/x:EVIL|$BUSYBOX|true
		crate|run|--rm|--name|EVIL|$BUSYBOX|true
		crate|run|--rm|--hostname|EVIL|$BUSYBOX|true
		crate|run|--rm|--EVIL|$BUSYBOX|true
		crate|run|--rm|EVIL|true
		crate|run|--rm|$BUSYBOX|EVIL
		crate|exec|$id|EVIL
		crate|exec|-u|EVIL|$id|true
		crate|exec|-w|/EVIL|$id|true
		crate|exec|EVIL|true
		crate|logs|EVIL
		crate|rm|EVIL
		crate|rmi|EVIL
		crate|cp|$id:/EVIL|.
		crate|pull|oci:EVIL
		crate|load|-i|EVIL
		crate|EVIL
	EOF
	crate rm -f "$id" >/dev/null
}
