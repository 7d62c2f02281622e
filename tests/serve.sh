# shellcheck shell=bash disable=SC2034
# serve.sh: for stories with registries that misbehave, after lib.sh.

# serve LOG-NAME [OPTION...]: a registry with the busybox image, as NAME:tag, that misbehaves as the options of
# registry.py say; sets server to its HOST:PORT. All requests are logged in $WORK/LOG-NAME.
serve() {
	local log=$1
	shift
	if [ ! -e "$WORK/layout" ]; then
		cp -r "$IMAGES/busybox" "$WORK/layout"
		sed -i 's/busybox:1/tag/' "$WORK/layout/index.json"
	fi
	exec {answers}< <(exec python3 "$TESTS/registry.py" "$WORK/layout" --log "$WORK/$log" "$@" 2>"$WORK/$log.err")
	started+=($!)
	read -r -t 30 -u "$answers" server || { cat "$WORK/$log.err" >&2; fail 'the registry does not listen'; }
}

DIGEST=$(jq -r '.manifests[0].digest' "$IMAGES/busybox/index.json")
image() { echo "$server/busybox@$DIGEST"; }

requests() { # LOG PATTERN: how many requests of this kind
	[ ! -e "$1" ] || jq -r '.method + " " + .path' "$1" | grep -c -E "$2" || :
}

# Refused bytes are 6, in one line; nothing of them is seen afterwards.
refused() {
	expect_code 6 crate-fetch --quiet "$@"
	nothing_out
	one_line crate-fetch
	clean
}

clean() {
	fsck_clean
	same 'references' "$(jq -c .manifests "$CRATE_ROOT/index.json")" '[]'
	local path
	for path in "$CRATE_ROOT"/blobs/sha256/*; do
		[ -e "$path" ] || continue
		same 'blob' "$(sha256sum <"$path" | cut -d ' ' -f 1)" "${path##*/}"
	done
}

# within MOST CMD...: as run, but an error if the command had more than MOST MiB in memory.
within() {
	local most=$1 used
	shift
	code=0
	python3 -c 'import os, resource, subprocess, sys
code = subprocess.run(sys.argv[2:], timeout=120).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024, file=open(sys.argv[1], "w"))
sys.exit(code)' "$WORK/memory" "$@" >"$WORK/out" 2>"$WORK/err" || code=$?
	used=$(cat "$WORK/memory")
	[ "$used" -le "$most" ] || fail "it had $used MiB in memory: $*"
}
