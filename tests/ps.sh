#!/bin/bash
# ps.sh: what is said of containers, and what is kept of them: ps, rename, inspect, prune, rm -f, and the flags of create.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

column() { awk -v n="$1" 'NR > 1 { print $n }' "$WORK/out"; } # of the last standard output

annotation() { jq -r --arg key "$2" '.annotations[$key]' "$CRATE_ROOT/containers/$1/config.json"; }

# --- ps ---

test_states_of_containers() {
	own_store
	have "$BUSYBOX"
	local made ended lost
	made=$(crate create --name made "$BUSYBOX" true)
	ended=$(crate create --name ended "$BUSYBOX" sh -c 'exit 7')
	expect_code 7 crate start -a ended
	lost=$(crate create "$BUSYBOX" sh -c 'echo "two  words"')
	expect_code 0 crate start -a "$lost"
	rm "$CRATE_ROOT/containers/$lost/exit"
	expect_code 0 crate ps -a
	same 'header' "$(head -n 1 "$WORK/out" | tr -s ' ')" 'CONTAINER-ID NAME IMAGE STATUS PID CREATED COMMAND'
	same 'ids, the newest first' "$(column 1 | tr '\n' ' ')" "${lost:0:12} ${ended:0:12} ${made:0:12} "
	same 'names' "$(column 2 | tr '\n' ' ')" '<none> ended made '
	same 'images' "$(column 3 | sort -u)" "$BUSYBOX"
	same 'states' "$(column 4 | tr '\n' ' ')" 'lost exited(7) created '
	same 'pids' "$(column 5 | sort -u)" 0
	line '  sh -c echo "two  words"$'
	expect_code 0 crate ps
	same 'alive' "$(column 1)" ''
	expect '' crate ps -q
	expect "$(printf '%s\n%s\n%s' "$lost" "$ended" "$made")" crate ps -a -q --no-trunc
	expect "$(printf '%s\n%s' "${lost:0:12}" "${ended:0:12}")" crate ps -qn 2
	expect "${lost:0:12}" crate container ls -lq
}

test_what_runs_is_listed() {
	own_store
	have "$BUSYBOX"
	local id
	expect_code 0 crate run -d --name web "$BUSYBOX" probe wait
	id=$(cat "$WORK/out")
	expect_code 0 crate ps
	same 'id' "$(column 1)" "${id:0:12}"
	same 'status' "$(column 4)" running
	grep -q -a '^probe' "/proc/$(column 5)/cmdline" || fail "$(column 5) is not the program"
	expect running crate inspect --format '{{.State.Status}}' web
	expect true crate inspect --format '{{.State.Running}}' web
	expect_code 4 crate-store rm web
	expect_code 0 crate rename web other
	expect "$id" crate ps -q --no-trunc --filter name=other
	expect_code 0 crate container prune -f
	nothing_out
	expect other crate rm -f other
	expect '' crate ps -aq
}

test_filters() {
	own_store
	have "$BUSYBOX" "$REG/busybox:config"
	local a b c
	a=$(crate create --name alpha --label tier=front --label one "$BUSYBOX" true)
	b=$(crate create --name beta --label tier=back "$BUSYBOX" sh -c 'exit 3')
	c=$(crate create --name gamma "$REG/busybox:config")
	run crate start -a beta
	filtered() { # WANTED FILTER...
		local want=$1 args=()
		shift
		for filter; do args+=(--filter "$filter"); done
		expect "$want" crate ps -a --no-trunc --format '{{.Names}}' "${args[@]}"
	}
	filtered alpha name=alpha
	filtered "$(printf 'beta\nalpha')" name=alpha name=beta
	filtered "$(printf 'gamma\nbeta\nalpha')" name=a
	filtered alpha 'name=^a'
	filtered '' 'name=^a$'
	filtered beta "id=${b:0:8}"
	filtered "$(printf 'beta\nalpha')" label=tier
	filtered beta label=tier=back
	filtered '' label=tier=back label=one
	filtered "$(printf 'gamma\nbeta')" 'label!=one'
	filtered beta status=exited
	filtered "$(printf 'gamma\nalpha')" status=created
	filtered beta exited=3
	filtered '' exited=4
	filtered gamma "ancestor=$REG/busybox:config"
	filtered "$(printf 'beta\nalpha')" "image=$BUSYBOX"
	filtered alpha "before=$b"
	filtered "$(printf 'gamma\nbeta')" since=alpha
	filtered beta since=alpha before=gamma
	# What has ended is asked for, so it is shown without -a.
	expect "${b:0:12}" crate ps -q --filter status=exited
	expect_code 2 crate ps --filter status=dead
	one_line crate-store orphaned
	expect_code 2 crate ps --filter colour=red
	expect_code 3 crate ps --filter since=nobody
	expect "$(printf '%s\n' alpha beta gamma)" crate rm -f alpha beta gamma
	expect_code 3 crate-store inspect "$a"
	expect_code 3 crate-store inspect "$c"
}

test_formats() {
	own_store
	have "$BUSYBOX"
	local id
	id=$(crate create --name web --label a.b=c "$BUSYBOX" sh -c 'exit 7' with a command that is longer than a column is)
	expect_code 7 crate start -a web
	expect_code 0 crate ps -a --format json
	same 'JSON' "$(jq -r 'length, (.[0] | .ID, .Names, .Image, .State, .Status, .ExitCode, .Pid, .Labels["a.b"])' "$WORK/out" | tr '\n' ' ')" \
		"1 $id web $BUSYBOX exited exited(7) 7 0 c "
	same 'command' "$(jq -r '.[0].Command' "$WORK/out")" 'sh -c exit 7 with a command that is longer than a column is'
	jq -e '.[0].StartedAt > .[0].CreatedAt' "$WORK/out" >/dev/null || fail 'started before it was made'
	expect '[]' crate ps --format json
	expect "${id:0:12} exited(7)" crate ps -a --format '{{.ID}} {{.Status}}'
	expect "$(printf 'web\t7\n"exited"')" crate ps -a --format '{{.Names}}\t{{.ExitCode}}\n{{json .State}}'
	expect '{"a.b":"c"} map[a.b:c]' crate ps -a --format '{{json .Labels}} {{ .Labels }}'
	expect_code 2 crate ps -a --format '{{.NoSuch}}'
	nothing_out
	one_line crate-store NoSuch
	expect_code 2 crate ps -a --format '{{range .Labels}}'
	expect_code 2 crate ps -a --format yaml
	expect "$REG/busybox:1" crate images --format '{{.Repository}}:{{.Tag}}'
	expect "$id [sh -c]" sh -c "crate inspect -f '{{.Id}} {{.Args}}' web | cut -d ' ' -f 1-2 | sed 's/\[-c/[sh -c]/'"
	expect linux crate image inspect -f '{{.Os}}' "$BUSYBOX"
	expect_code 3 crate image inspect web
	expect_code 3 crate container inspect "$BUSYBOX"
}

# ps is right while containers come and go, and says nothing of those that are gone.
test_ps_while_containers_come_and_go() {
	own_store
	have "$BUSYBOX"
	crate create --name kept "$BUSYBOX" true >/dev/null
	(while crate run --rm "$BUSYBOX" true; do :; done) &
	started+=($!)
	local i
	for ((i = 0; i < 50; i++)); do
		expect_code 0 crate ps -a
		[ ! -s "$WORK/err" ] || { show; fail 'something was told'; }
		line '^[0-9a-f]{12}  kept '
	done
}

# Nobody waits for who only looks: not even while the store is being collected.
test_ps_does_not_wait() {
	own_store
	needs flock
	have "$BUSYBOX"
	crate create --name web "$BUSYBOX" true >/dev/null
	expect web flock "$CRATE_ROOT/lock" timeout 60 crate ps -a --format '{{.Names}}'
	expect_code 0 flock "$CRATE_ROOT/lock" timeout 60 crate rename web other
	expect other flock "$CRATE_ROOT/containers" timeout 60 crate ps -a --format '{{.Names}}'
}

# --- names ---

test_rename() {
	own_store
	have "$BUSYBOX"
	local id other
	id=$(crate create --name old "$BUSYBOX" echo hi)
	other=$(crate create "$BUSYBOX" true)
	expect '' crate rename old new
	expect hi crate start -a new
	expect_code 3 crate start -a old
	expect new crate inspect -f '{{.Name}}' "$id"
	same 'names' "$(find "$CRATE_ROOT/containers" -type l -printf '%f\n')" new
	expect_code 4 crate rename "$other" new
	one_line crate-store new
	expect_code 4 crate rename new new
	expect_code 0 crate rename "${other:0:12}" old
	expect "$other" crate ps -aq --no-trunc --filter 'name=^old$'
	expect_code 2 crate rename old 'not a name'
	expect_code 2 crate rename old
	expect_code 3 crate rename nobody name
	expect_code 0 crate rm old
	expect_code 0 crate rename new old
	# A name that leads nowhere is nobody's.
	ln -s "$other" "$CRATE_ROOT/containers/left"
	expect_code 0 crate rename old left
	expect "$id" crate ps -aq --no-trunc --filter 'name=^left$'
}

test_many_rename_to_one_name() {
	own_store
	have "$BUSYBOX"
	local i pids=() won=0
	for i in 1 2 3 4 5 6; do crate create --name "c$i" "$BUSYBOX" true >/dev/null; done
	for i in 1 2 3 4 5 6; do
		crate rename "c$i" winner 2>/dev/null &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		code=0
		wait "$i" || code=$?
		case $code in 0) won=$((won + 1)) ;; 4) ;; *) fail "exit code $code" ;; esac
	done
	same 'winners' "$won" 1
	same 'names' "$(find "$CRATE_ROOT/containers" -type l | wc -l)" 6
	same 'containers by name' "$(crate ps -aq | wc -l)" 6
}

# --- flags of create ---

test_flags_of_create() {
	own_store
	have "$BUSYBOX"
	local id
	id=$(crate create -t --init --restart on-failure:3 --pidfile pid --stop-signal rtmin+3 --stop-timeout 4 \
		--log-driver json-file --log-opt max-size=1m --log-opt max-file=2 "$BUSYBOX" true)
	same 'terminal' "$(jq .process.terminal "$CRATE_ROOT/containers/$id/config.json")" true
	same 'init' "$(annotation "$id" run.crate.init)" true
	same 'restart' "$(annotation "$id" run.crate.restart)" on-failure:3
	same 'pidfile' "$(annotation "$id" run.crate.pidfile)" "$PWD/pid"
	same 'signal' "$(annotation "$id" org.opencontainers.image.stopSignal)" SIGRTMIN+3
	same 'time-out' "$(annotation "$id" run.crate.stop-timeout)" 4
	same 'log' "$(annotation "$id" run.crate.log.size) $(annotation "$id" run.crate.log.files)" '1048576 2'
	expect 'true on-failure 3 k8s-file SIGRTMIN+3 4 true' crate inspect -f '{{.HostConfig.Init}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}} {{.HostConfig.LogConfig.Type}} {{.Config.StopSignal}} {{.Config.StopTimeout}} {{.Config.Tty}}' "$id"
	expect "$CRATE_ROOT/containers/$id/log" crate inspect -f '{{.LogPath}}' "$id"
	id=$(crate create --restart always --restart no --init=false --log-driver none "$BUSYBOX" true)
	expect 'false no none SIGTERM 10' crate inspect -f '{{.HostConfig.Init}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.LogConfig.Type}} {{.Config.StopSignal}} {{.Config.StopTimeout}}' "$id"
	expect always crate inspect -f '{{.HostConfig.RestartPolicy.Name}}' "$(crate create --restart unless-stopped "$BUSYBOX" true)"
}

test_flags_that_do_not_fit() {
	have "$BUSYBOX"
	local flag
	for flag in --restart=sometimes --restart=on-failure:x --stop-signal=NONE --stop-signal=65 --stop-timeout=soon \
		--log-driver=syslog --log-opt=max-size=0 --log-opt=tag=x --pidfile= '--rm --restart=always'; do
		# shellcheck disable=SC2086
		expect_code 2 crate-store create $flag "$BUSYBOX" -- true
		nothing_out
		flag=${flag%%=*}
		one_line crate-store "${flag##* }"
	done
	expect_code 0 crate run --rm --restart=no "$BUSYBOX" true
}

# --- inspect ---

test_inspect_tells_the_last_run() {
	have "$BUSYBOX"
	local id
	id=$(crate create "$BUSYBOX" sh -c 'exit 7')
	expect '0001-01-01T00:00:00Z 0001-01-01T00:00:00Z created 0' crate inspect -f '{{.State.StartedAt}} {{.State.FinishedAt}} {{.State.Status}} {{.State.ExitCode}}' "$id"
	expect_code 7 crate start -a "$id"
	expect_code 0 crate inspect "$id"
	jq -e '.[0] | .State | .Status == "exited" and .ExitCode == 7 and .Error == "" and (.Running | not) and .Pid == 0 and
		.StartedAt > "2024" and .FinishedAt >= .StartedAt' "$WORK/out" >/dev/null || { show; fail 'not what happened'; }
	rm "$CRATE_ROOT/containers/$id/exit"
	expect 'lost 255 lost' crate inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}' "$id"
	expect "$id" crate rm "$id"
}

# --- rm -f, prune ---

test_rm_force() {
	own_store
	have "$BUSYBOX"
	crate create --name web "$BUSYBOX" true >/dev/null
	expect web crate rm -f no-such web
	expect '' crate rm -f no-such
	expect_code 3 crate rm no-such
	# `crate rm -f $(crate ps -aq)` where there is none.
	expect_code 2 crate rm -f
	nothing_out
	one_line crate 'wants a container'
}

test_prune_containers() {
	own_store
	have "$BUSYBOX"
	local old new kept
	old=$(crate create "$BUSYBOX" sh -c 'head -c 2000000 /dev/zero >/big; exit 7')
	run crate start -a "$old"
	new=$(crate create --label keep=no "$BUSYBOX" true)
	kept=$(crate create --label keep "$BUSYBOX" true)
	expect '' crate container prune -f --filter until=1h
	expect "$new" crate container prune -f --filter label=keep=no
	expect "$old" crate prune containers --filter 'label!=keep'
	grep -q -E 'removed 1 containers \(([2-9]|2\.[0-9])+MB\)' "$WORK/err" || { show; fail 'not the bytes of the file'; }
	expect_code 2 crate container prune -f --filter until=yesterday
	expect_code 2 crate container prune -f --all
	expect "$kept" crate container prune -f --filter until=0s
	expect '' crate container prune -f
	same 'ingest' "$(ls "$CRATE_ROOT/ingest")" ''
}

test_prune_images() {
	own_store
	have "$BUSYBOX" "$REG/busybox:config"
	crate create --name web "$BUSYBOX" echo hi >/dev/null
	# Without a reference, as another tool may leave it.
	jq '.manifests += [.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] | endswith("config")) | del(.annotations)]' \
		"$CRATE_ROOT/index.json" >index.new
	cat index.new >"$CRATE_ROOT/index.json"
	expect_code 0 crate image prune -f
	line '^sha256:[0-9a-f]{64}$'
	same 'lines' "$(wc -l <"$WORK/out")" 1
	expect '[x]' crate run --rm -u 0 "$REG/busybox:config" x
	expect '' crate image prune -f -a --filter label=no-such
	expect "$REG/busybox:config" crate image prune -f -a --filter label=a.label=x

	expect "$BUSYBOX" crate images --format '{{.Repository}}:{{.Tag}}'
	expect hi crate start -a web
	expect_code 0 crate rm web
	expect "$BUSYBOX" crate prune images -a
	same 'blobs and layers' "$(find "$CRATE_ROOT/blobs" -type f | wc -l) $(find "$CRATE_ROOT/layers" -mindepth 1 | wc -l)" '0 0'
	fsck_clean
}

# prune leaves alone what starts at the same moment: either it runs to its end, or it was not there any more.
test_prune_while_containers_run() {
	own_store
	have "$BUSYBOX"
	local i
	(while :; do crate container prune -f >/dev/null 2>&1; done) &
	started+=($!)
	for ((i = 0; i < 20; i++)); do
		run crate run --rm "$BUSYBOX" sh -c 'sleep 0.05; exit 7'
		case $code in 7 | 3 | 4 | 125) ;; *) show; fail "exit code $code" ;; esac
	done
	kill -KILL "${started[@]}"
	expect_code 0 in_userns crate-store gc
	same 'containers' "$(ls "$CRATE_ROOT/containers")" ''
	same 'ingest' "$(ls "$CRATE_ROOT/ingest")" ''
}
