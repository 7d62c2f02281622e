#!/bin/bash
# origins.sh: a secret goes to the registry that it is for and to the token server of its site, wherever these point to.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/serve.sh"

SECRET=$(printf me:hidden-word | base64)

certificate() { # ca.pem, and good.pem with good.key for 127.0.0.1 and 127.0.0.2
	needs openssl
	local key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
	openssl req -x509 "${key[@]}" -keyout ca.key -out ca.pem -days 2 -subj /CN=tests 2>/dev/null
	openssl req -new "${key[@]}" -keyout good.key -out good.csr -subj /CN=good 2>/dev/null
	openssl x509 -req -in good.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out good.pem \
		-extfile <(echo subjectAltName=IP:127.0.0.1,IP:127.0.0.2) 2>/dev/null
}

# fetch REPOSITORY: from server, into a store that is empty each time, with the password for server.
fetch() {
	CRATE_ROOT=$WORK/store.$((stores += 1))
	printf '{"auths":{"%s":{"auth":"%s"}}}' "$server" "$SECRET" >auth.json
	run env "REGISTRY_AUTH_FILE=$PWD/auth.json" timeout 60 crate-fetch --quiet --cacert ca.pem "$server/$1@$DIGEST"
	lacks "$WORK/err" hidden
	lacks "$WORK/err" "$SECRET"
}
stores=0

# authorized LOG PATTERN: how many requests of this kind came with an Authorization, of whatever scheme.
authorized() { [ ! -e "$1" ] || jq -r 'select(.headers | has("Authorization")) | .method + " " + .path' "$1" | grep -c -E "$2" || :; }

# redirected WHAT TARGET-LOG OPTION...: blobs by each kind of redirect; sets got to what came of them, by status.
redirected() {
	local what=$1 target=$2 status
	shift 2
	serve "$what" --basic me:hidden-word "$@"
	for status in 301 302 303 307 308; do
		fetch "$status"
		codes[status]=$code
	done
	same "$what: exit codes" "${codes[*]}" "$CODES"
	[ "$(authorized "$what" /blobs/)" -ge 5 ] || fail "$what: the registry itself was not told the password"
	[ -z "$target" ] || same "$what: secrets told to the target" "$(authorized "$target" .)" 0
}

# P5: each status of a redirect, by where it leads: scheme, host and port make an origin, and https is not left.
test_redirects_by_status_and_origin() {
	own_store
	certificate
	local port host secure codes=() CODES='0 0 0 0 0'
	serve port && port=$server
	serve host --host 127.0.0.2 && host=$server
	serve secure --tls good.pem good.key && secure=$server
	redirected same-origin '' --redirect self --times 1
	# Each of the three blobs is asked for twice, both times with the password.
	same 'same-origin: requests for blobs' "$(requests same-origin /blobs/) $(authorized same-origin /blobs/)" '30 30'
	redirected to-port port --redirect "http://$port"
	redirected to-host host --redirect "http://$host"
	redirected to-https secure --redirect "https://$secure"
	redirected from-https secure --tls good.pem good.key --redirect "https://$secure"
	local log
	for log in port host; do same "requests to $log" "$(requests "$log" /blobs/)" 15; done
	same 'requests to secure' "$(requests secure /blobs/)" 30
	: >port
	CODES='6 6 6 6 6'
	redirected to-plain port --tls good.pem good.key --redirect "http://$port"
	same 'requests in plain http' "$(requests port .)" 0
}

# realm CODE ASKED TOLD TEXT REALM OPTION...: what comes of a realm: the exit code, whether it is asked for a token at all, and
# whether with the password.
realm() {
	local want=$1 asked=$2 told=$3 text=$4 realm=$5
	shift 5
	: >realm
	serve registry --token 60 --realm "$realm" "$@"
	fetch busybox
	[ "$code" = "$want" ] || { show "$realm" >&2; fail "exit code $code instead of $want"; }
	one_line crate-fetch "$text"
	same "$realm: asked" "$([ "$(requests realm .)" = 0 ] || echo asked)" "$asked"
	same "$realm: told" "$([ "$(authorized realm .)" = 0 ] || echo told)" "$told"
	run crate login --authfile new.json --cacert ca.pem -u me --password-stdin "$server" <<<hidden-word
	[ "$code" != 0 ] || fail "$realm: a login was taken"
	[ ! -e new.json ] || fail "$realm: a login was kept"
	same "$realm: told at a login" "$([ "$(authorized realm .)" = 0 ] || echo told)" "$told"
	lacks registry "$SECRET"
}

# P4: a realm gets the password if it is of the registry's site, where a port makes no other owner; nothing is sent to what is
# no URL of a token server.
test_realms() {
	own_store
	certificate
	local host port
	serve realm --host 127.0.0.2 --basic me:another && host=$server
	realm 3 asked '' "its tokens are of another site, $host" "http://$host/token"
	realm 3 asked '' "its tokens are of another site, $host" "http://$host/token?account=%0d%0aAuthorization:%20x"
	realm 6 '' '' 'plain http' "http://$host/token" --tls good.pem good.key
	realm 6 '' '' 'its host is not well formed' "http://127.0.0.1@$host/token"
	realm 6 '' '' 'its host is not well formed' "http://me:word@$host/token"
	realm 6 '' '' 'out of range' "http://127.0.0.1:$((65536 + ${host##*:}))/token"
	realm 6 '' '' 'out of range' http://127.0.0.1:0/token
	realm 6 '' '' 'not a number' "http://127.0.0.1:${host##*:}x/token"
	realm 6 '' '' 'neither http nor https' file:///etc/passwd
	realm 6 '' '' 'not absolute' ''
	realm 6 '' '' 'not absolute' $'http://127.0.0.1/\r\nX: y'
	# On another port of the registry's host.
	serve realm --basic me:hidden-word && port=$server
	realm 3 asked told 'do not suffice' "http://$port/token"
	# The same address by another name is another host.
	realm 3 asked '' 'its tokens are of another site' "http://localhost:${port##*:}/token"
}
