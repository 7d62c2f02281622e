#!/bin/bash
# run.sh: containers, as a user meets them.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

in_busybox() { crate run --rm "$BUSYBOX" "$@"; }

# --- from nothing to a running program ---

test_each_program_by_hand() {
	own_store
	local digest
	digest=$(crate-fetch --quiet "$BUSYBOX")
	expect "$digest" crate-sup unshare crate-store unpack "$digest"
	expect hi crate-sup run "$(crate-store create "$digest" -- echo hi)"
}

test_one_command_from_an_empty_store() {
	own_store
	expect hi crate run --rm "$BUSYBOX" echo hi
}

test_debian_by_hand_and_in_one_command() {
	needs_debian
	own_store
	expect_code 0 crate run --rm "$DEBIAN" cat /etc/os-release
	line 'ID=debian'
	expect_code 0 crate-sup run "$(crate-store create "$(crate-fetch --quiet "$DEBIAN")" -- cat /etc/os-release)"
	line 'ID=debian'
}

test_debian_modes_and_identity() {
	needs_debian
	expect_code 0 crate run --rm "$DEBIAN" sh -c 'apt-get --version && id && ls -ld /tmp /usr/bin/passwd'
	line '^apt '
	line 'uid=0\(root\)'
	line '^drwxrwxrwt.* root +root .* /tmp$'
	line '^-rwsr-xr-x.* root +root .* /usr/bin/passwd$'
}

# --- exit codes ---

test_exit_codes() {
	have "$BUSYBOX"
	expect_code 0 in_busybox true
	expect_code 1 in_busybox false
	expect_code 7 in_busybox sh -c 'exit 7'
	expect_code 255 in_busybox probe exit 255
}

test_program_that_kills_itself() {
	have "$BUSYBOX"
	expect_code 137 in_busybox sh -c 'kill -9 $$'
}

test_program_killed_from_outside_is_137() {
	have "$BUSYBOX"
	local pid child
	mkfifo pipe.out
	in_busybox sh -c 'echo ready; exec probe wait' >pipe.out &
	pid=$!
	exec 8<pipe.out
	read -r -u 8 text
	same 'output' "$text" ready
	read -r child <"/proc/$pid/task/$pid/children" || : # no newline ends it
	kill -KILL "$child"
	code=0
	wait "$pid" || code=$?
	same 'exit code' "$code" 137
}

test_missing_program_is_127() {
	have "$BUSYBOX"
	expect_code 127 in_busybox no-such-program
	nothing_out
	has "$WORK/err" no-such-program
	expect_code 127 in_busybox /no/such/program
	has "$WORK/err" /no/such/program
}

test_unusable_program_is_126() {
	have "$BUSYBOX"
	local program
	for program in /etc /etc/passwd /bin/garbage; do
		expect_code 126 in_busybox "$program"
		nothing_out
		has "$WORK/err" "$program"
	done
}

test_missing_image_is_125() {
	expect_code 125 crate run --rm "$REG/no/such:image" true
	nothing_out
	has "$WORK/err" "$REG/no/such:image"
	expect_code 125 crate run --rm localhost:1/nobody true
	has "$WORK/err" localhost:1
	expect_code 125 crate run --pull never "$REG/not/held" true
}

test_our_own_failures_are_125() {
	have "$BUSYBOX"
	expect_code 125 crate run
	expect_code 125 crate run --rm -w relative "$BUSYBOX" true
	expect_code 125 crate run --rm -v /no/such/folder:/x "$BUSYBOX" true
	has "$WORK/err" /no/such/folder
	expect_code 125 crate run --rm -u nobody-here "$BUSYBOX" true
	has "$WORK/err" nobody-here
}

# --- the program: search, arguments, environment, directory ---

test_path_is_searched_without_a_shell() {
	have "$BUSYBOX"
	expect "$(printf '[a b]\n[$HOME]\n[*]\n[]')" in_busybox probe args 'a b' '$HOME' '*' ''
	expect 'script /bin/script x' in_busybox script x
	expect_code 127 crate run --rm -e PATH=/nowhere "$BUSYBOX" probe true
	expect_code 0 crate run --rm -e PATH=/nowhere:/bin "$BUSYBOX" probe true
}

test_everything_after_the_image_is_the_command_s() {
	have "$BUSYBOX"
	expect "$(printf '[--rm]\n[-e]\n[--]\n[-v]')" in_busybox probe args --rm -e -- -v
}

test_config_of_the_image() {
	only root ranges
	have "$REG/busybox:config"
	expect "$(printf '[from]\n[cmd]')" crate run --rm "$REG/busybox:config"
	expect "$(printf '[mine]')" crate run --rm "$REG/busybox:config" mine
	expect /made/by/config crate run --rm --entrypoint probe "$REG/busybox:config" cwd
	expect "$(printf 'uid 1000 1000 1000\ngid 1000 1000 1000\ngroups 10 50 1000')" crate run --rm --entrypoint probe "$REG/busybox:config" ids
	expect_code 0 crate run --rm --entrypoint probe "$REG/busybox:config" env
	line '^FROM_IMAGE=a b$'
	line '^EMPTY=$'
	line '^HOME=/home/app$'
}

test_entrypoint_replaces_and_drops_cmd() {
	have "$REG/busybox:config"
	expect_code 0 crate run --rm -u 0 --entrypoint /bin/probe "$REG/busybox:config" true
	expect '[only]' crate run --rm -u 0 --entrypoint probe "$REG/busybox:config" args only
	expect_code 2 crate run --rm -u 0 --entrypoint probe "$REG/busybox:config"
}

test_environment() {
	have "$BUSYBOX"
	expect_code 0 in_busybox probe env
	line '^PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin$'
	line '^HOME=/root$'
	line '^HOSTNAME=.'
	lacks "$WORK/out" CRATE_
	printf '# comment\nFROM_FILE=1\nBOTH=file\n\nSPACES=a  b \n' >variables
	expect_code 0 env TAKEN=caller crate run --rm --env-file variables -e BOTH=flag -eSHORT=1 -e TAKEN -e NOT_SET_HERE "$BUSYBOX" probe env
	line '^FROM_FILE=1$'
	line '^BOTH=flag$'
	line '^SHORT=1$'
	line '^TAKEN=caller$'
	lacks "$WORK/out" NOT_SET_HERE
	lacks "$WORK/out" comment
	expect_code 125 crate run --rm --env-file no-such-file "$BUSYBOX" true
}

test_working_directory() {
	have "$BUSYBOX"
	expect / in_busybox probe cwd
	expect /tmp crate run --rm -w /tmp "$BUSYBOX" probe cwd
	expect /new/one crate run --rm -w /new/one "$BUSYBOX" probe cwd
}

test_working_directory_cannot_lead_out() {
	have "$BUSYBOX"
	local fd
	for fd in 3 5 7 9 11; do
		run crate run --rm -w "/proc/self/fd/$fd" "$BUSYBOX" probe cwd
		case $code in
		125 | 126) nothing_out ;;
		*) show; fail "a working directory of descriptor $fd was taken" ;;
		esac
	done
}

# --- identity ---

test_users() {
	have "$BUSYBOX"
	expect_code 0 in_busybox probe ids
	line '^uid 0 0 0$'
	line '^gid 0 0 0$'
	[ "$KIND" != single ] || return 0
	expect "$(printf 'uid 1000 1000 1000\ngid 1000 1000 1000\ngroups 10 50 1000')" crate run --rm -u app "$BUSYBOX" probe ids
	expect_code 0 crate run --rm -u 1000:50 "$BUSYBOX" probe ids
	line '^uid 1000 '
	line '^gid 50 '
	expect_code 0 crate run --rm -u app:wheel "$BUSYBOX" probe ids
	line '^gid 10 '
	expect_code 0 crate run --rm -u 4242 "$BUSYBOX" probe ids
	line '^uid 4242 '
	line '^gid 0 '
}

test_one_id_says_why_another_user_is_refused() {
	only single
	have "$BUSYBOX"
	expect_code 125 crate run --rm -u app "$BUSYBOX" true
	nothing_out
	has "$WORK/err" app
}

test_capabilities_and_confinement() {
	have "$BUSYBOX"
	expect_code 0 in_busybox probe caps
	line '^CapInh:[[:space:]]0+$'
	line '^CapPrm:[[:space:]]00000000a80425fb$'
	line '^CapEff:[[:space:]]00000000a80425fb$'
	line '^CapBnd:[[:space:]]00000000a80425fb$'
	line '^CapAmb:[[:space:]]0+$'
	line '^NoNewPrivs:[[:space:]]1$'
	[ "$KIND" != single ] || return 0
	expect_code 0 crate run --rm -u app "$BUSYBOX" probe caps
	line '^CapPrm:[[:space:]]0+$'
	line '^CapEff:[[:space:]]0+$'
	line '^CapBnd:[[:space:]]00000000a80425fb$'
}

test_only_three_descriptors_are_open() {
	have "$BUSYBOX"
	exec 17</etc/passwd 33</
	expect_code 0 in_busybox probe fds
	same 'descriptors' "$(cut -d ' ' -f 1 "$WORK/out" | tr '\n' ' ')" '0 1 2 '
	exec 17<&- 33<&-
}

test_own_namespaces() {
	have "$BUSYBOX"
	local kind
	for kind in pid mnt uts ipc net cgroup; do
		expect_code 0 in_busybox readlink "/proc/self/ns/$kind"
		[ "$(cat "$WORK/out")" != "$(readlink "/proc/self/ns/$kind")" ] || fail "$kind is the host's"
	done
	expect_code 0 in_busybox probe pids
	line '^pid 1 ppid 0 '
}

# --- the root filesystem ---

test_devices_work_for_any_user() {
	have "$BUSYBOX"
	local users=0 user
	[ "$KIND" = single ] || users='0 app 4242'
	for user in $users; do
		# What the command says is the container's.
		# shellcheck disable=SC2016
		expect ok crate run --rm -u "$user" "$BUSYBOX" sh -c '
			echo lost >/dev/null && [ -z "$(cat /dev/null)" ] &&
			[ "$(head -c 4 /dev/zero | od -An -tx1 | tr -d " ")" = 00000000 ] &&
			[ "$(head -c 16 /dev/urandom | wc -c)" = 16 ] && [ "$(head -c 16 /dev/random | wc -c)" = 16 ] &&
			! echo x 2>/dev/null >/dev/full && echo x >/dev/shm/file && [ -e /dev/ptmx ] && [ -d /dev/pts ] && echo ok'
	done
	expect_code 0 in_busybox probe stat /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty
	same 'modes' "$(awk '{ print $2 }' "$WORK/out" | sort -u)" 020666
}

test_dev_fd() {
	have "$BUSYBOX"
	same 'through /dev/stdin' "$(echo hi | crate run --rm -i "$BUSYBOX" cat /dev/stdin)" hi
	same 'through /dev/fd/0' "$(echo hi | crate run --rm -i "$BUSYBOX" cat /dev/fd/0)" hi
	expect out in_busybox sh -c 'echo out >/dev/stdout; echo err >/dev/stderr'
	same 'standard error' "$(cat "$WORK/err")" err
}

test_modes_and_owners_of_the_image() {
	have "$BUSYBOX"
	expect_code 0 in_busybox probe stat /tmp /usr/bin/passwd /root /shared /home/app
	line '^/tmp 041777 0:0 '
	line '^/usr/bin/passwd 104755 0:0 '
	line '^/root 040700 0:0 '
	[ "$KIND" != single ] || return 0
	line '^/shared 042775 0:50 '
	line '^/home/app 040755 1000:1000 '
}

test_layers_lie_over_each_other() {
	have "$BUSYBOX"
	expect added in_busybox cat /added/file
	expect_code 1 in_busybox cat /etc/text
	expect_code 0 in_busybox ls /folder.d
	nothing_out
}

test_writes_stay_in_the_container() {
	have "$BUSYBOX"
	expect_code 0 in_busybox sh -c 'echo changed >/etc/os-release && rm -r /bin/script /added && mkdir /added && echo new >/added/new && cat /added/new'
	expect 'ID=busybox' in_busybox grep ID= /etc/os-release
	expect added in_busybox cat /added/file
	crate-store fsck
}

test_proc_and_sys() {
	have "$BUSYBOX"
	expect_code 0 in_busybox probe mounts
	line '^/ .*'
	line '^/proc proc .*nosuid.*'
	line '^/dev tmpfs .*nosuid'
	line '^/dev/pts devpts .*nosuid.*noexec'
	line '^/dev/shm tmpfs .*nosuid,nodev'
	line '^/dev/mqueue mqueue '
	line '^/sys sysfs ro,nosuid,nodev,noexec'
	line '^/proc/sys .* ro'
	# What is masked tells nothing, what is read-only takes nothing.
	expect_code 0 in_busybox sh -c 'cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null; find /sys/firmware /proc/acpi -mindepth 1 2>/dev/null; true'
	nothing_out
	expect_code 1 in_busybox sh -c 'echo 1 >/proc/sys/kernel/domainname'
	expect_code 1 in_busybox sh -c 'echo b >/proc/sysrq-trigger'
}

test_run_is_a_tmpfs() {
	have "$BUSYBOX"
	expect_code 0 in_busybox sh -c 'echo x >/run/file && grep " /run tmpfs " /proc/mounts'
}

test_hostname_and_hosts() {
	have "$BUSYBOX"
	expect here crate run --rm --hostname here "$BUSYBOX" probe hostname
	expect here crate run --rm -h here "$BUSYBOX" cat /etc/hostname
	expect_code 0 crate run --rm --hostname here "$BUSYBOX" cat /etc/hosts
	line '127\.0\.0\.1.*localhost'
	line 'here'
	local id
	id=$(crate create "$BUSYBOX" probe hostname)
	expect "${id:0:12}" crate start -a "$id"
	crate rm "$id" >/dev/null
	expect_code 0 in_busybox cat /etc/resolv.conf
	# None of them is written into the image or the writable layer.
	expect_code 0 in_busybox sh -c 'grep -E " /etc/(hosts|hostname|resolv.conf) " /proc/mounts | wc -l'
	line '^3$'
}

test_read_only() {
	have "$BUSYBOX"
	expect_code 1 crate run --rm --read-only "$BUSYBOX" sh -c 'echo x >/file'
	has "$WORK/err" 'ead-only'
	expect x crate run --rm --read-only --tmpfs /scratch "$BUSYBOX" sh -c 'echo x >/scratch/file && cat /scratch/file'
	expect x crate run --rm --read-only --tmpfs /tmp "$BUSYBOX" sh -c 'echo x >/tmp/file && cat /tmp/file && echo >/dev/null'
}

test_tmpfs() {
	have "$BUSYBOX"
	expect_code 0 crate run --rm --tmpfs /a/new/one "$BUSYBOX" grep ' /a/new/one tmpfs ' /proc/mounts
	expect_code 0 crate run --rm --tmpfs /t:size=64k "$BUSYBOX" grep ' /t tmpfs .*size=64k' /proc/mounts
}

test_bind_mounts() {
	have "$BUSYBOX"
	mkdir -p folder/sub
	echo text >folder/file
	expect text crate run --rm -v "$PWD/folder:/mnt/here" "$BUSYBOX" cat /mnt/here/file
	expect_code 0 crate run --rm -v "$PWD/folder:/mnt/here" "$BUSYBOX" sh -c 'echo new >/mnt/here/new'
	same 'written' "$(cat folder/new)" new
	same 'owner' "$(stat -c %u folder/new)" "$(id -u)"
	expect_code 1 crate run --rm -v "$PWD/folder:/mnt/here:ro" "$BUSYBOX" sh -c 'echo new >/mnt/here/never'
	[ ! -e folder/never ] || fail 'written through a read-only bind'
	# A file onto a file, one that is there in the image and one that is not.
	expect text crate run --rm -v "$PWD/folder/file:/etc/os-release" "$BUSYBOX" cat /etc/os-release
	expect text crate run --rm -v "$PWD/folder/file:/new/place" "$BUSYBOX" cat /new/place
	expect_code 0 crate run --rm -v "$PWD/folder:/a" -v "$PWD/folder/sub:/b" "$BUSYBOX" ls -d /a/sub /b
}

# --- streams ---

test_stdin_is_passed_with_i() {
	have "$BUSYBOX"
	same 'output' "$(echo hi | crate run --rm -i "$BUSYBOX" cat)" hi
	same 'without -i' "$(echo hi | crate run --rm "$BUSYBOX" cat)" ''
}

test_bytes_are_unchanged() {
	have "$BUSYBOX"
	local sum
	sum=$(probe flood 1 20000000 | sha256sum)
	same 'standard output' "$(crate run --rm "$BUSYBOX" probe flood 1 20000000 | sha256sum)" "$sum"
	same 'both ways' "$(probe flood 1 20000000 | crate run --rm -i "$BUSYBOX" cat | sha256sum)" "$sum"
	same 'standard error' "$(crate run --rm "$BUSYBOX" probe flood 2 3000000 2>&1 >/dev/null | sha256sum)" "$(probe flood 1 3000000 | sha256sum)"
}

test_reader_that_goes_away() {
	have "$BUSYBOX"
	same 'first bytes' "$(crate run --rm "$BUSYBOX" sh -c 'yes' 2>/dev/null | head -n 2 | tr -d '\n')" yy
}

test_no_terminal_without_t() {
	have "$BUSYBOX"
	expect "$(printf '0 no\n1 no\n2 no')" in_busybox probe tty
}

# --- network ---

test_network_none_and_default_have_loopback_alone() {
	have "$BUSYBOX"
	local flag
	for flag in '' --network=none; do
		expect_code 0 crate run --rm ${flag:+"$flag"} "$BUSYBOX" sh -c 'ls /sys/class/net; ip addr show lo'
		line '^lo$'
		line 'inet 127.0.0.1/8'
		line '[<,]UP[,>]'
		same 'interfaces' "$(grep -c -E '^[a-z0-9]+$' "$WORK/out")" 1
	done
}

test_network_host() {
	have "$BUSYBOX"
	expect "$(readlink /proc/self/ns/net)" crate run --rm --network host "$BUSYBOX" readlink /proc/self/ns/net
	# The registry of these tests is the host's.
	expect_code 0 crate run --rm --network host "$BUSYBOX" wget -q -O - "http://127.0.0.1:${REG#*:}/v2/"
	expect_code 1 in_busybox wget -q -O - "http://127.0.0.1:${REG#*:}/v2/"
}

# --- create, start, names, removal ---

test_create_prints_the_id_alone() {
	own_store
	expect_code 0 crate create "$BUSYBOX" echo hi
	line '^[0-9a-f]{64}$'
	same 'lines' "$(wc -l <"$WORK/out")" 1
	local id
	id=$(cat "$WORK/out")
	expect hi crate start -a "$id"
	expect hi crate start -a "${id:0:12}"
	expect "$id" crate rm "$id"
	expect_code 3 crate-store rm "$id"
}

test_writable_layer_survives_a_stop() {
	have "$BUSYBOX"
	local id
	# shellcheck disable=SC2016
	id=$(crate create "$BUSYBOX" sh -c 'echo x >>/count; cat /count | wc -l')
	expect 1 crate start -a "$id"
	expect 2 crate start -a "$id"
	expect "$id" crate rm "$id"
}

test_names() {
	have "$BUSYBOX"
	local id
	id=$(crate create --name web "$BUSYBOX" echo hi)
	expect hi crate start -a web
	expect_code 125 crate create --name web "$BUSYBOX" true
	has "$WORK/err" web
	expect_code 4 crate-store create --name web "$BUSYBOX" -- true
	expect_code 0 crate rm web
	expect_code 0 crate run --name web --rm "$BUSYBOX" true
	expect_code 0 crate run --name web --rm "$BUSYBOX" true
	expect_code 3 crate-store rm "$id"
}

test_cidfile() {
	have "$BUSYBOX"
	expect_code 0 crate run --rm --cidfile id "$BUSYBOX" true
	grep -q -E '^[0-9a-f]{64}$' id || fail "the file holds $(cat id)"
	expect_code 125 crate run --rm --cidfile id "$BUSYBOX" true
	has "$WORK/err" id
}

test_rm_leaves_nothing() {
	have "$BUSYBOX"
	own_store
	have "$BUSYBOX"
	expect_code 0 in_busybox sh -c 'mkdir -p /d/e && chmod 0 /d && echo x >/x'
	expect_code 3 in_busybox sh -c 'exit 3'
	expect_code 127 in_busybox no-such-program
	same 'containers' "$(ls "$CRATE_ROOT/containers")" ''
	same 'running' "$(ls "$CRATE_RUN" 2>/dev/null)" ''
	same 'ingest' "$(ls "$CRATE_ROOT/ingest")" ''
}

test_running_container_is_busy() {
	have "$BUSYBOX"
	local id pid
	id=$(crate create -i "$BUSYBOX" cat)
	mkfifo pipe.in pipe.out
	crate start -a -i "$id" <pipe.in >pipe.out &
	pid=$!
	exec 7>pipe.in 8<pipe.out
	echo first >&7
	read -r -u 8 text
	same 'echo' "$text" first
	expect_code 4 crate-sup run "$id"
	expect_code 4 crate-store rm "$id"
	exec 7>&-
	wait "$pid"
	expect "$id" crate rm "$id"
}

# A program whose supervisor is killed goes with it, and its container can be started again.
test_killed_supervisor_takes_the_container_along() {
	have "$BUSYBOX"
	local id pid
	# shellcheck disable=SC2016
	id=$(crate create -i "$BUSYBOX" sh -c 'echo started; cat')
	mkfifo pipe.in pipe.out
	crate-sup run "$id" <pipe.in >pipe.out &
	pid=$!
	exec 7>pipe.in 8<pipe.out
	read -r -u 8 text
	same 'output' "$text" started
	kill -KILL "$pid"
	wait "$pid" || :
	# End of file comes when nobody inside holds the pipe any more.
	code=0
	read -r -t 30 -u 8 text || code=$?
	same 'end of file' "$code" 1
	exec 7>&- 8<&-
	expect started crate-sup run "$id" </dev/null
	expect "$id" crate rm "$id"
}

test_signals_are_forwarded() {
	have "$BUSYBOX"
	local pid
	mkfifo pipe.out
	crate run --rm "$BUSYBOX" sh -c 'trap "echo got; exit 9" TERM; probe wait & echo ready; wait' >pipe.out &
	pid=$!
	exec 8<pipe.out
	read -r -u 8 text
	same 'output' "$text" ready
	kill -TERM "$pid"
	read -r -u 8 text
	same 'output' "$text" got
	code=0
	wait "$pid" || code=$?
	same 'exit code' "$code" 9
}

# The container's files are not the image's: many at once do not disturb each other.
test_many_at_once() {
	have "$BUSYBOX"
	local pids=() i
	for i in 1 2 3 4 5 6 7 8; do
		crate run --rm "$BUSYBOX" sh -c "echo $i >/tmp/n && cat /tmp/n" >"out.$i" &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i" || fail 'one of several failed'; done
	same 'outputs' "$(sort -n out.? | tr -d '\n')" 12345678
}

test_flags_combine() {
	have "$BUSYBOX"
	same 'output' "$(echo x | crate run -i --rm=true -eA=1 -w/tmp "$BUSYBOX" sh -c 'cat; echo $A; pwd' | tr '\n' ' ')" 'x 1 /tmp '
}

test_layout_and_archive_run_directly() {
	expect hi crate run --rm "oci:$IMAGES/busybox" echo hi
	own_store
	expect hi crate run --rm "docker-archive:$IMAGES/busybox.docker.tar" echo hi
}

test_platform_that_cannot_run() {
	own_store
	run crate run --rm --platform linux/s390x -u 0 --entrypoint /bin/probe "$REG/busybox:index" true
	# The bytes are this machine's here; what counts is that the right manifest was taken.
	expect_code 0 crate images
	expect_code 125 crate run --rm --platform linux/riscv64 "$REG/busybox:index" true
	has "$WORK/err" linux/riscv64
}
