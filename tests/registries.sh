#!/bin/bash
# registries.sh: credentials, mirrors and registries.conf, with a real registry that wants a password over TLS.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

DIGEST=$(jq -r '.manifests[0].digest' "$IMAGES/busybox/index.json")
SECRET=s3cret-word-of-the-story
ENCODED=$(printf %s "me:$SECRET" | base64)

setup() {
	own_store
	export XDG_RUNTIME_DIR=$WORK/runtime
	mkdir -m 700 "$XDG_RUNTIME_DIR"
	AUTH=$XDG_RUNTIME_DIR/containers/auth.json
}

layout() {
	[ ! -e layout ] || return 0
	cp -r "$IMAGES/busybox" layout
	sed -i 's/busybox:1/tag/' layout/index.json
}

# serve LOG [OPTION...]: the registry of registry.py; sets server.
serve() {
	local log=$1
	shift
	layout
	exec {answers}< <(exec python3 "$TESTS/registry.py" layout --log "$WORK/$log" "$@" 2>"$WORK/$log.err")
	started+=($!)
	read -r -t 30 -u "$answers" server || { cat "$WORK/$log.err" >&2; fail 'the registry does not listen'; }
}

certificates() { # an authority of our own, and a certificate of it for localhost
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj '/CN=test authority' 2>/dev/null
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out csr.pem -subj '/CN=localhost' 2>/dev/null
	openssl x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out cert.pem \
		-extfile <(echo 'subjectAltName=DNS:localhost,IP:127.0.0.1') 2>/dev/null
}

# docker-registry with the image busybox:1, which asks for the password of `me`, over TLS; sets real.
serve_real() {
	local line
	certificates
	printf %s "$SECRET" | htpasswd -niB me >passwords
	cat >registry.yml <<-END
		version: 0.1
		log: {level: info, formatter: json}
		storage: {filesystem: {rootdirectory: $WORK/data}}
		http: {addr: "127.0.0.1:0", tls: {certificate: $WORK/cert.pem, key: $WORK/key.pem}}
		auth: {htpasswd: {realm: test, path: $WORK/passwords}}
	END
	exec {lines}< <(exec env -i PATH="$PATH" docker-registry serve registry.yml 2>&1)
	started+=($!)
	while read -r -t 30 -u "$lines" line; do
		case $line in *'listening on '*)
			line=${line#*listening on 127.0.0.1:}
			real=localhost:${line%%[!0-9]*}
			cat <&"$lines" >registry.log &
			started+=($!)
			skopeo copy --quiet --insecure-policy --dest-tls-verify=false --dest-authfile <(auth_of "$real") \
				"oci:$IMAGES/busybox:busybox:1" "docker://$real/busybox:1"
			return
			;;
		esac
	done
	fail 'docker-registry did not start'
}

auth_of() { printf '{"auths":{"%s":{"auth":"%s"}}}\n' "$1" "$ENCODED"; }

login() { printf '%s\n' "$SECRET" | crate login -u me --password-stdin "$@"; }

# P14: nothing that this case has written tells the secret, but the file that is meant to.
no_secret() {
	same 'files with the secret' "$(grep -r -l -F -e "$SECRET" -e "$ENCODED" "$CRATE_ROOT" "$WORK"/out "$WORK"/err "$WORK"/argv* 2>/dev/null || :)" ''
}

test_login_pull_logout() {
	setup
	serve_real
	# Asked for in https alone, with the authority trusted.
	expect_code 3 crate-fetch --quiet --cacert ca.pem "$real/busybox:1"
	one_line crate-fetch 401 "crate login $real"
	expect_code 1 crate login -u me --password-stdin --cacert ca.pem "$real" <<<wrong
	one_line crate-fetch 'does not accept'
	[ ! -e "$AUTH" ] || fail 'a wrong password was kept'
	expect_code 6 login "$real"
	one_line crate-fetch certificate
	expect 'Login Succeeded!' login --cacert ca.pem "$real"
	no_secret
	same 'mode' "$(stat -c %a "$AUTH")" 600
	same 'auth.json' "$(jq -c . "$AUTH")" "$(auth_of "$real")"
	expect me crate login --get-login "$real"
	expect "$DIGEST" crate-fetch --quiet --cacert ca.pem "$real/busybox:1"
	no_secret
	# Other tools find it there too.
	expect_code 0 skopeo inspect --raw --tls-verify=false --authfile "$AUTH" "docker://$real/busybox:1"
	expect "Removed login credentials for $real" crate logout "$real"
	same 'auth.json' "$(jq -c . "$AUTH")" '{"auths":{}}'
	expect_code 3 crate logout "$real"
	one_line crate-fetch 'not logged in'
	expect_code 3 crate login --get-login "$real"
	expect_code 3 crate-fetch --quiet --cacert ca.pem "$real/busybox:1"
}

test_login_keeps_what_else_is_in_the_file() {
	setup
	serve log --basic "me:$SECRET"
	mkdir -p kept home/.docker
	echo '{"other":{"deep":[1,2]},"auths":{"q.io":{"auth":"YTpi","email":"e"}}}' >kept/real.json
	ln -s real.json kept/link.json
	expect 'Login Succeeded!' login --authfile kept/link.json "$server"
	[ -L kept/link.json ] || fail 'the link was replaced'
	same 'file' "$(jq -c 'del(.auths[$s]), .auths[$s].auth' --arg s "$server" kept/real.json)" \
		"$(printf '%s\n"%s"' '{"other":{"deep":[1,2]},"auths":{"q.io":{"auth":"YTpi","email":"e"}}}' "$ENCODED")"
	same 'files' "$(ls kept)" "$(printf 'link.json\nreal.json')"
	expect "$DIGEST" env REGISTRY_AUTH_FILE=kept/link.json crate-fetch --quiet "$server/busybox:tag"
	expect 'Removed login credentials for all registries' crate logout --all --authfile kept/link.json
	same 'file' "$(jq -c . kept/real.json)" '{"other":{"deep":[1,2]},"auths":{}}'
	# Without it: the runtime directory, the configuration, docker's.
	auth_of "$server" >home/.docker/config.json
	expect "$DIGEST" crate-fetch --quiet --as again "$server/busybox:tag"
	expect_code 3 crate logout "$server"
	one_line crate-fetch "$WORK/home/.docker/config.json"
}

test_login_usage() {
	setup
	expect_code 2 crate login -p "$SECRET" localhost:1
	one_line crate-fetch password-stdin
	expect_code 2 crate login -u me localhost:1 </dev/null
	expect_code 2 crate login --password-stdin localhost:1 </dev/null
	expect_code 2 crate login -u me --password-stdin localhost:1 </dev/null
	expect_code 2 login not-a-registry
	expect_code 5 login localhost:1
	[ ! -e "$AUTH" ] || fail 'something was kept'
}

test_files_that_cannot_be_trusted() {
	setup
	local text
	for text in '{' '[]' '{"auths":[]}' '{"auths":{"localhost:1":{"auth":"%%%"}}}' '{"auths":{"localhost:1":{"auth":"bm9jb2xvbg=="}}}' \
		'{"credHelpers":{"localhost:1":"../x"}}' '{"credsStore":"a b"}'; do
		echo "$text" >bad.json
		expect_code 6 env REGISTRY_AUTH_FILE=bad.json crate-fetch --quiet localhost:1/x
		one_line crate-fetch bad.json
		# It is not overwritten either.
		run login --authfile bad.json localhost:1
		[ "$code" = 5 ] || [ "$code" = 6 ] || { show; fail "$text"; }
		same 'file' "$(cat bad.json)" "$text"
	done
	[ "$KIND" = root ] || return 0
	echo '{}' >bad.json
	chown 4242 bad.json
	expect_code 6 env REGISTRY_AUTH_FILE=bad.json crate-fetch --quiet localhost:1/x
	one_line crate-fetch 'another user'
}

# A helper that keeps its secrets in a file, and writes down what it was given.
make_helper() {
	mkdir -p helpers
	cat >helpers/docker-credential-story <<-END
		#!/bin/sh
		input=\$(cat)
		echo "\$*" >>$WORK/argv
		echo "\$1 \$input" >>$WORK/stdin
		case \$1 in
		store) printf '%s' "\$input" >$WORK/kept ;;
		erase) rm $WORK/kept ;;
		get) cat $WORK/kept 2>/dev/null || { echo 'credentials not found in native keychain'; exit 1; } ;;
		esac
	END
	chmod 755 helpers/docker-credential-story
	PATH=$WORK/helpers:$PATH
}

test_credential_helper() {
	setup
	make_helper
	serve log --basic "me:$SECRET"
	mkdir -p "${AUTH%/*}"
	printf '{"credHelpers":{"%s":"story"}}' "$server" >"$AUTH"
	expect_code 3 crate-fetch --quiet "$server/busybox:tag"
	same 'standard input' "$(cat stdin)" "get $server"
	expect_code 1 crate login -u me --password-stdin "$server" <<<wrong
	[ ! -e kept ] || fail 'a wrong password was kept'
	expect 'Login Succeeded!' login "$server"
	same 'kept' "$(jq -c . kept)" "{\"ServerURL\":\"$server\",\"Username\":\"me\",\"Secret\":\"$SECRET\"}"
	expect "$DIGEST" crate-fetch --quiet "$server/busybox:tag"
	no_secret
	lacks "$AUTH" auths
	# All of docker's: one store for everything.
	echo '{"credsStore":"story"}' >"$AUTH"
	expect me crate login --get-login "$server"
	expect "Removed login credentials for $server" crate logout "$server"
	[ ! -e kept ] || fail 'it is still kept'
	same 'arguments' "$(sort -u argv | tr '\n' ' ')" 'erase get store '
}

test_credential_helpers_that_fail() {
	setup
	mkdir -p helpers "${AUTH%/*}"
	PATH=$WORK/helpers:$PATH
	echo '{"credsStore":"story"}' >"$AUTH"
	# What anybody may pull can be had all the same; one told line says why the rest cannot.
	serve log
	expect "$DIGEST" crate-fetch --quiet "$server/busybox:tag"
	one_line crate-fetch docker-credential-story "$AUTH"
	serve log --basic "me:$SECRET"
	local script
	for script in 'echo locked; exit 1' 'echo "{\"Username\":\"me\",\"Secret\":\"'$SECRET'\""; exit 0' 'echo "{\"Secret\":\"'$SECRET'\"}"; exit 3' \
		'exec cat /dev/zero' 'kill -9 $$'; do
		printf '#!/bin/sh\n%s\n' "$script" >helpers/docker-credential-story
		chmod 755 helpers/docker-credential-story
		run crate-fetch --quiet "$server/busybox:other"
		case $code in 3 | 6) ;; *) show; fail "$script" ;; esac
		has "$WORK/err" docker-credential-story
		run crate login --get-login "$server"
		case $code in 1 | 6) ;; *) show; fail "$script" ;; esac
		one_line crate-fetch docker-credential-story
		no_secret
	done
}

# P14: while a pull is under way.
test_no_argument_tells_a_secret() {
	setup
	serve log --basic "me:$SECRET" --slow 100000
	expect 'Login Succeeded!' login "$server"
	crate-fetch --quiet "$server/busybox:tag" >/dev/null 2>&1 &
	local pid=$!
	started+=("$pid")
	eventually grep -q 'blobs/' log
	same 'arguments and environments' "$(cat "/proc/$pid/cmdline" "/proc/$pid/environ" 2>/dev/null | tr '\0' '\n' | grep -F -e "$SECRET" -e "$ENCODED" || :)" ''
	# Nor does a core: nobody else may look into it.
	[ "$KIND" = root ] || [ ! -r "/proc/$pid/environ" ] || fail 'others of the same user can look into it'
	kill -ABRT "$pid"
	wait "$pid" || :
	no_secret
	same 'cores' "$(find . -name '*core*' | head -n 1)" ''
}

# conf TEXT: the user's registries.conf
conf() {
	mkdir -p home/.config/containers
	cat >home/.config/containers/registries.conf
}

# P13: what a mirror lacks or gets wrong comes from the next one, with one notice each.
test_mirrors() {
	setup
	local lying complete down=127.0.0.1:1 place number=0
	serve lying.log --flip
	lying=$server
	serve complete.log
	complete=$server
	serve broken.log --body /dev/null
	for place in "$down/mirror" "$lying/mirror" "$server"; do
		conf <<-END
			[[registry]]
			prefix = "registry.example/team"
			location = "$complete"
			[[registry.mirror]]
			location = "$place"
		END
		expect "$DIGEST" crate-fetch --jobs 1 --as "try:$((number += 1))" registry.example/team/busybox:tag
		same 'notices' "$(grep -c 'is passed over' err)" 1
		fsck_clean
		expect_code 0 crate-store rmi "try:$number"
		expect_code 0 crate-store gc
	done
	: >complete.log
	# One that has everything serves everything; and the name that was asked for is the name that is kept.
	conf <<-END
		[[registry]]
		location = "registry.example"
		[[registry.mirror]]
		location = "$complete/sub"
	END
	expect "$DIGEST" crate-fetch --quiet registry.example/busybox:tag
	nothing_said
	expect_code 0 crate-store inspect registry.example/busybox:tag
	grep -q '"/v2/sub/busybox/manifests/tag"' complete.log || fail 'the mirror was asked for another name'
	lacks "$CRATE_ROOT/index.json" "$complete"
}

nothing_said() { [ ! -s err ] || { cat err >&2; fail 'something was said'; }; }

test_blocked_insecure_and_malformed() {
	setup
	serve log
	conf <<-END
		unqualified-search-registries = ["quay.io"]
		[[registry]]
		location = "blocked.example"
		blocked = true
		[[registry]]
		location = "blocked.example/open"
		[[registry]]
		prefix = "*.corp.example"
		location = "$server"
	END
	expect_code 6 crate-fetch --quiet blocked.example/x
	one_line crate-fetch blocked.example registries.conf
	expect "$DIGEST" crate-fetch --quiet a.corp.example/busybox:tag
	printf '[[registry]]\nlocation = "corp.example"\n[[registry]\n' | conf
	expect_code 6 crate-fetch --quiet a.corp.example/busybox:tag
	one_line crate-fetch 'registries.conf, line 3: '
	printf '\n[registries.insecure]\nregistries = ["x"]\n' | conf
	expect_code 6 crate-fetch --quiet a.corp.example/busybox:tag
	one_line crate-fetch 'version 1'
	expect_code 1 env CONTAINERS_REGISTRIES_CONF="$WORK/none" crate-fetch --quiet x
	# Drop-ins come after it, and the variable in place of it.
	printf '[[registry]]\nlocation = "later.example"\nblocked = true\n' | conf
	mkdir home/.config/containers/registries.conf.d
	printf '[[registry]]\nprefix = "later.example"\nlocation = "%s"\n' "$server" >home/.config/containers/registries.conf.d/1.conf
	expect "$DIGEST" crate-fetch --quiet --as later later.example/busybox:tag
}
