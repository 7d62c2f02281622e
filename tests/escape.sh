#!/bin/bash
# escape.sh: a container that wants to get hold of the runtime's own programs, processes and descriptors. watch.c lies in
# wait inside. STORM=full tries ten times as often: a thousand runs under each watcher of the executables.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

ROUNDS=200 RUNS=20
if [ "${STORM:-}" = full ]; then ROUNDS=2000 RUNS=1000; fi

# Copies of the programs, which may be lost.
own_programs() {
	mkdir own
	cp "$CRATE_STAGE"/bin/crate* own/
	PATH=$WORK/own:$PATH
	sums=$(sha256sum own/*)
}

unchanged() { same 'the programs' "$(sha256sum own/*)" "$sums"; }

EVERY='["CHOWN","DAC_OVERRIDE","DAC_READ_SEARCH","FOWNER","FSETID","KILL","SETGID","SETUID","SETPCAP","NET_ADMIN","NET_RAW","SYS_CHROOT",
	"SYS_PTRACE","SYS_ADMIN","MKNOD","SETFCAP","SYSLOG"] | map("CAP_" + .)'
declare -A POWERS=(
	[usual]=.
	[tracing]='.process.capabilities |= with_entries(select(.key | IN("bounding", "effective", "permitted")) | .value += ["CAP_SYS_PTRACE"])'
	[every]=".process.capabilities |= with_entries(select(.key | IN(\"bounding\", \"effective\", \"permitted\")) | .value = ($EVERY))
		| del(.linux.seccomp, .linux.maskedPaths, .linux.readonlyPaths) | .process.noNewPrivileges = false"
)

# powered POWER FLAG... IMAGE CMD...: makes a container with some power more than usual; its id in $id.
powered() {
	local filter=${POWERS[$1]} config
	shift
	id=$(crate create -v "$CRATE_STAGE/bin/watch:/watch:ro" -v "$CRATE_STAGE/bin/attack:/attack:ro" "$@")
	config=$CRATE_ROOT/containers/$id/config.json
	jq "$filter" "$config" >changed.json
	cat changed.json >"$config"
}

# ambush POWER FLAG... CMD...: starts a watcher, which is ready then.
ambush() {
	local power=$1
	shift
	powered "$power" "$@"
	crate start "$id" >/dev/null
	eventually sh -c "crate logs $id | grep -q waiting"
}

# Ends the watcher; what it says of itself is in $WORK/out.
sprung() {
	crate kill -s TERM "$id" >/dev/null
	crate wait "$id" >/dev/null
	expect_code 0 crate logs "$id"
	line '^seen '
	crate rm -f "$id" >/dev/null
}

counted() { sed -n "s/^seen.* $1 \([0-9]*\).*/\1/p" "$WORK/out"; } # WHAT, after the first

none() { same "$1" "$(counted "$1")" 0; }

some() { [ "$(counted "$1")" -ge "${2:-1}" ] || { show; fail "too few were $1"; }; } # WHAT [COUNT]

joined() { # COUNT PROGRAM: so many programs join
	local round
	for round in $(seq "$1"); do
		timeout 60 crate exec "$id" "$2" 0.01 || fail "exec $round ended with $?"
	done
}

# --- E1: the runtime's executables ---

test_E1_executables_of_those_who_join() { # E1: CVE-2019-5736
	own_programs
	have "$BUSYBOX"
	local power
	for power in usual tracing; do
		# shellcheck disable=SC2046
		ambush $power "$BUSYBOX" /watch exe sleep $(stat -c %d:%i own/*)
		joined $((ROUNDS / 2)) sleep
		sprung
		some own $((ROUNDS / 20))
		none written
	done
	# It is no lack of trying: an executable of its own is written to, as soon as nobody executes it.
	ambush usual "$BUSYBOX" sh -c 'cp /bin/busybox /run/sleep; exec /watch exe sleep $(stat -c %d:%i /run/sleep)'
	(joined 20 /run/sleep) 2>/dev/null || : # It is no program any more then.
	sprung
	some opened
	some written
	unchanged
}

# Process 1 of --init stays, and is open to one that may trace it; its executable is a copy in memory that nobody can change.
test_E1_the_executable_that_stays() { # E1: CVE-2019-5736
	own_programs
	have "$BUSYBOX"
	ambush usual --init "$BUSYBOX" /watch exe sleep
	sprung
	none opened
	ambush tracing --init "$BUSYBOX" /watch exe sleep
	sprung
	some opened
	none written
	unchanged
}

# The program itself is the runtime: it runs once more, as a program of the container's.
test_E1_the_runtime_as_the_program() { # E1: CVE-2019-5736
	own_programs
	own_store
	have "$BUSYBOX"
	local round
	mkdir -p layer/bin
	printf '#!/proc/self/exe\n' >layer/bin/again
	chmod 755 layer/bin/again
	ln -s /proc/self/exe layer/bin/linked
	tar -cf layer.tar -C layer bin
	sh "$TESTS/image.sh" layout image own '{"Entrypoint":["/bin/again"],"Env":["PATH=/bin"]}' "$IMAGES/busybox.tar" layer.tar
	expect_code 0 crate pull --quiet --as localhost/own:1 "oci:$WORK/image:own"
	for round in $(seq $((RUNS / 10 + 1))); do
		expect_code 125 crate run --rm localhost/own:1
		expect_code 125 crate run --rm --entrypoint linked localhost/own:1
		expect_code 125 crate run --rm "$BUSYBOX" /proc/self/exe
		expect_code 125 crate run --rm --init "$BUSYBOX" /proc/self/exe
	done
	id=$(crate run -d "$BUSYBOX" probe wait)
	expect_code 125 crate exec "$id" /proc/self/exe
	for round in $(seq "$RUNS"); do
		run crate run --rm "$BUSYBOX" sh -c ': >>/proc/self/exe; : >/proc/1/exe; cp /bin/true /proc/self/exe'
	done
	crate rm -f "$id" >/dev/null
	unchanged
}

# --- E2: descriptors and the working directory ---

refused() { # CMD...: nothing ran
	run "$@"
	case $code in
	125 | 126) nothing_out && one_line crate-sup ;;
	*) show "$*"; fail 'the working directory was taken' ;;
	esac
}

test_E2_working_directories_of_descriptors() { # E2: CVE-2024-21626
	have "$BUSYBOX"
	exec 7</ 11</etc 19<"$HOME"
	local number
	id=$(crate run -d "$BUSYBOX" probe wait)
	for number in $(seq 3 30); do
		refused crate run --rm -w "/proc/self/fd/$number" "$BUSYBOX" probe cwd
		refused crate exec -w "/proc/self/fd/$number" "$id" probe cwd
	done
	for number in 3 5 7 11 19; do
		refused crate run --rm -w "/proc/1/fd/$number" "$BUSYBOX" probe cwd
		refused crate run --rm -w "/proc/thread-self/fd/$number/../.." "$BUSYBOX" probe cwd
		refused crate exec -w "/proc/thread-self/fd/$number" "$id" probe cwd
		refused crate exec -w "/proc/self/task/../fd/$number" "$id" probe cwd
	done
	for number in self/cwd self/root 1/cwd 1/root thread-self/cwd self/cwd/../../..; do
		refused crate run --rm -w "/proc/$number" "$BUSYBOX" probe cwd
	done
	for number in self/cwd self/root thread-self/cwd; do
		refused crate exec -w "/proc/$number" "$id" probe cwd
	done
	# These are there for one who joins, and would lead to the container's root: no such link is followed.
	for number in 1/cwd 1/root; do
		refused crate exec -w "/proc/$number" "$id" probe cwd
		has "$WORK/err" 'Symbolic link loop'
	done
	crate rm -f "$id" >/dev/null
	exec 7<&- 11<&- 19<&-
}

test_E2_working_directory_of_an_image() { # E2: CVE-2024-21626
	own_store
	exec 7</
	local number
	for number in 3 4 5 7 8; do
		rm -rf image
		sh "$TESTS/image.sh" layout image own "{\"WorkingDir\":\"/proc/self/fd/$number\",\"Env\":[\"PATH=/bin\"]}" "$IMAGES/busybox.tar"
		expect_code 0 crate pull --quiet --as localhost/own:1 "oci:$WORK/image:own"
		refused crate run --rm localhost/own:1 probe cwd
		refused crate run --rm --init localhost/own:1 probe cwd
	done
	exec 7<&-
}

# leaky CMD...: with a file, a directory and a socket open that nobody has meant to pass on.
leaky() {
	python3 - "$@" <<-'END'
		import os, socket, sys
		listener = socket.create_server(("127.0.0.1", 0))
		for number, fd in (9, os.open("/etc/passwd", os.O_RDONLY)), (33, os.open("/", os.O_DIRECTORY)), (70, listener.fileno()):
		    os.dup2(fd, number, inheritable=True)
		os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
		os.execvp(sys.argv[1], sys.argv[1:])
	END
}

three() { # the numbers of descriptors in the last standard output are those of the standard streams
	same descriptors "$(tr -d '\r' <"$WORK/out" | sed -n 's/^\([0-9][0-9]*\) .*/\1/p' | sort -u | tr '\n' ' ')" '0 1 2 '
}

test_E2_descriptors_of_the_caller() { # E2: CVE-2024-21626
	have "$BUSYBOX"
	local init
	expect_code 0 leaky sh -c 'ls -l /proc/self/fd' && has "$WORK/out" ' 70 -> ' # They would be there.
	expect_code 0 leaky crate run --rm "$BUSYBOX" probe fds && three
	expect_code 0 leaky crate run --rm -t "$BUSYBOX" probe fds && three
	expect_code 0 leaky crate run --rm --init "$BUSYBOX" probe fds && three
	for init in '' --init; do
		# shellcheck disable=SC2086
		expect_code 0 leaky crate run -d $init --name leaky "$BUSYBOX" sh -c 'probe fds; ls -l /proc/1/fd; exec probe wait'
		kept_by_the_supervisor
		expect_code 0 leaky crate exec leaky probe fds && three
		expect_code 0 leaky crate exec -t leaky probe fds && three
		expect_code 0 leaky crate exec -d leaky sh -c 'probe fds >/detached'
		eventually crate exec leaky grep -q '^2 ' /detached
		expect_code 0 crate exec leaky cat /detached && three
		expect_code 0 leaky crate restart -t 0 leaky
		kept_by_the_supervisor
		expect_code 0 crate logs leaky
		lacks "$WORK/out" passwd
		lacks "$WORK/out" ' 70 '
		expect_code 0 leaky crate stop -t 0 leaky
		expect_code 0 leaky crate start leaky
		kept_by_the_supervisor
		expect_code 0 crate rm -f leaky
	done
}

# A supervisor in the background has none of its caller's files.
kept_by_the_supervisor() {
	local pid
	pid=$(jq .supervisor "$CRATE_RUN/$(crate inspect --format '{{.Id}}' leaky)/pid")
	ls -l "/proc/$pid/fd" >supervisor.fds
	lacks supervisor.fds /etc/passwd
	! grep ' -> /$' supervisor.fds || fail 'the supervisor keeps a directory'
	lacks supervisor.fds ' 70 -> '
}

# Nothing that the supervisor or crate-init opens would be inherited by what is executed later.
test_E2_everything_is_opened_close_on_exec() { # E2: CVE-2024-21626
	only root # Others cannot look into what is not dumpable.
	needs strace
	have "$BUSYBOX"
	local calls=open,openat,openat2,open_tree,memfd_create,pipe,pipe2,socket,socketpair,accept,accept4,fsopen,fsmount,signalfd4,epoll_create1,eventfd2,inotify_init1,dup,timerfd_create
	id=$(crate run -d "$BUSYBOX" probe wait)
	: >calls
	local command
	for command in "crate-sup exec $id probe true" "crate-sup exec -t $id probe true" "crate-sup run $(crate create "$BUSYBOX" probe true)" \
		"crate-sup start $(crate create -t "$BUSYBOX" probe true)" "crate-sup visit $id -- $CRATE_STAGE/bin/probe true"; do
		# shellcheck disable=SC2086
		expect_code 0 timeout 60 strace -f -qq -z -a 1 -e signal=none -s 4096 -o calls.new -e trace=$calls $command
		cat calls.new >>calls
	done
	has calls memfd_create
	has calls open_tree
	has calls pipe2
	# Flags have their names; those of crate-init's calls that strace knows by number only are 1 where they say so.
	grep -v -E 'CLOEXEC|openat\(.*/proc/self/maps' calls >open || :
	same 'what would be inherited' "$(cat open)" ''
	crate rm -f "$id" >/dev/null
}

# --- E3: the processes that join ---

test_E3_those_who_join_cannot_be_traced() { # E3: CVE-2016-9962
	have "$BUSYBOX"
	local power
	for power in usual tracing every; do
		ambush $power "$BUSYBOX" /watch trace sleep
		joined $((ROUNDS / 3)) sleep
		sprung
		some own $((ROUNDS / 30))
		some allowed # Programs that have joined are as open as any other.
		# The capability of the real root's container reaches what it sees. It sees nothing that has more than itself.
		[ "$KIND $power" = 'root tracing' ] || [ "$KIND $power" = 'root every' ] || none won
		none strong
	done
}

test_E3_process_1_of_init_cannot_be_traced() { # E3: CVE-2016-9962
	have "$BUSYBOX"
	ambush usual --init "$BUSYBOX" /watch trace sleep
	sprung
	none won
	# What may trace finds it.
	ambush tracing --init "$BUSYBOX" /watch trace sleep
	sprung
	some won
}

# --- what is left of all that ---

# Containers leave nothing outside, however they end: mounts, processes, keys, control groups, files.
test_E12_nothing_is_left_of_killed_runs() { # E12
	own_store
	have "$BUSYBOX"
	local count=100 killed=20 seed
	if [ "${STORM:-}" = full ]; then count=500 killed=100; fi
	for seed in ${CENSUS_SEED:-1}; do
		expect_code 0 python3 "$TESTS/census.py" "$seed" $count $killed "$BUSYBOX"
		line "^$count runs, killed: .*supervisor"
		line 'inside'
	done
}
