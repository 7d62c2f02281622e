#!/bin/bash
# hostile.sh: registries that lie, stall, redirect and forget. What is wrong is refused in one line, and the store stays clean.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/serve.sh"

test_honest_server_first() {
	own_store
	serve log
	expect "$DIGEST" crate-fetch --quiet "$(image)"
	fsck_clean
}

test_flipped_bit() {
	own_store
	serve log --flip
	refused "$(image)"
}

test_longer_body() {
	own_store
	serve log --long
	refused "$(image)"
}

test_short_body() {
	own_store
	serve log --short
	refused "$(image)"
}

test_wrong_size_in_the_manifest() {
	own_store
	local size
	for size in -1 1 -100000 100000; do
		serve "log$size" --size "$size"
		# The manifest's own digest is that of what is sent: asked for by tag, it is taken as it is.
		refused "$server/busybox:tag"
	done
}

test_manifest_that_is_not_its_digest() {
	own_store
	serve log --size 1
	refused "$(image)"
}

test_digests_that_are_paths() {
	own_store
	local digest number=0
	mkdir -p "$WORK/canary"
	for digest in '../../canary/x' 'sha256:../../../canary/x' "sha256:$(printf '%064d' 0 | sed 's/00/..\//')" 'sha256:' 'sha256' ' ' 'md5:d41d8cd98f00b204e9800998ecf8427e' \
		"sha256:$(printf '%064d' 0 | tr 0 A)" "sha256:$(printf '%063d' 0)"; do
		serve "log.$((number += 1))" --digest "$digest"
		refused "$server/busybox:tag"
	done
	same 'canary' "$(ls "$WORK/canary")" ''
}

test_manifests_that_are_none() {
	own_store
	local number=0 body
	for body in '' '{' '[]' 'null' '"text"' '{"schemaVersion":2}' '{"schemaVersion":1,"name":"x"}' \
		'{"schemaVersion":2,"layers":[],"manifests":[]}' \
		'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":5,"layers":[]}' \
		'{"schemaVersion":2,"config":{"mediaType":"x","digest":"sha256:'"$(printf '%064d' 0)"'","size":-1},"layers":[]}' \
		"$(printf '[%.0s' $(seq 5000))" "$(printf '{"a":%.0s' $(seq 5000))"; do
		printf %s "$body" >body
		serve "log.$((number += 1))" --body "$PWD/body"
		refused "$server/busybox:tag"
	done
}

# A connection that ends early is a failure of the network: what came is kept, and the next try goes on from there.
test_cut_connection_is_taken_up_again() {
	own_store
	serve log --cut 700000 --times 1
	run crate-fetch --quiet "$(image)"
	case $code in
	0) ;; # It went on by itself.
	5)
		one_line crate-fetch
		expect "$DIGEST" crate-fetch --quiet "$(image)"
		;;
	*) show; fail "exit code $code" ;;
	esac
	fsck_clean
	jq -r '.headers.Range // empty' log | grep -q -v '^bytes=0-' || fail 'nothing was asked for from where it broke off'
}

test_resume_with_another_process() {
	own_store
	serve first --slow 300000
	crate-fetch --quiet "$(image)" >/dev/null 2>&1 &
	local pid=$!
	# Until some of it has come, and been kept.
	until find "$CRATE_ROOT/ingest" -type f -size +500k 2>/dev/null | grep -q .; do
		kill -0 "$pid" || fail 'it ended before it was killed'
	done
	kill -KILL "$pid"
	wait "$pid" || :
	clean
	# Another server of the same repository: the digest is the same, so the bytes are.
	serve second
	expect "$DIGEST" crate-fetch --quiet "$(image)"
	jq -r '.headers.Range // empty' second | grep -q -v '^bytes=0-' || fail 'it began anew'
	fsck_clean
}

test_resume_from_bad_bytes_is_refused_and_then_anew() {
	own_store
	serve first --flip --cut 1500000
	run crate-fetch --quiet "$(image)"
	[ "$code" != 0 ] || fail 'cut and flipped bytes were taken'
	clean
	serve second
	run crate-fetch --quiet "$(image)"
	[ "$code" = 0 ] || expect "$DIGEST" crate-fetch --quiet "$(image)"
	fsck_clean
}

test_no_range() {
	own_store
	serve log --no-range
	expect "$DIGEST" crate-fetch --quiet "$(image)"
	fsck_clean
}

test_no_range_and_cut() {
	own_store
	serve log --no-range --cut 700000 --times 1
	run crate-fetch --quiet "$(image)"
	[ "$code" = 0 ] || expect "$DIGEST" crate-fetch --quiet "$(image)"
	fsck_clean
}

test_wrong_range() {
	own_store
	serve log --wrong-range
	run crate-fetch --quiet "$(image)"
	# Either it never needed a second range, or the lie was told.
	case $code in
	0) fsck_clean ;;
	5 | 6) nothing_out && one_line crate-fetch && clean ;;
	*) show; fail "exit code $code" ;;
	esac
}

test_chunked() {
	own_store
	serve log --chunked
	expect "$DIGEST" crate-fetch --quiet "$(image)"
	fsck_clean
}

test_too_many_requests() {
	own_store
	serve log --busy 1 --times 1
	expect "$DIGEST" crate-fetch --quiet "$(image)"
	own_store
	CRATE_ROOT=$WORK/other
	serve log2 --busy 100000
	expect_code 5 crate-fetch --quiet "$(image)"
	one_line crate-fetch
}

test_server_that_flaps() {
	own_store
	serve log --flap --times 1
	expect "$DIGEST" crate-fetch --quiet "$(image)"
}

test_server_that_stays_broken() {
	own_store
	serve log --flap
	expect_code 5 crate-fetch --quiet "$(image)"
	one_line crate-fetch "${server%:*}" 'hint: trying again may help'
	[ "$(requests log .)" -lt 40 ] || fail 'it tries without end'
}

test_headers_without_end() {
	own_store
	serve log --headers 50000000
	run crate-fetch --quiet "$(image)"
	case $code in 5 | 6) one_line crate-fetch ;; *) show; fail "exit code $code" ;; esac
}

test_token_challenge() {
	own_store
	serve log --token 60
	expect "$DIGEST" crate-fetch --quiet "$(image)"
	same 'tokens asked for' "$(requests log '^GET /token')" 1
	fsck_clean
}

test_token_that_expires_is_asked_for_again() {
	own_store
	serve log --token 0
	run crate-fetch --quiet "$(image)"
	case $code in 3 | 5) one_line crate-fetch ;; *) show; fail "exit code $code" ;; esac
	[ "$(requests log '^GET /token')" -lt 40 ] || fail 'it asks without end'
}

test_basic_authentication() {
	own_store
	serve log --basic me:secret
	run crate-fetch --quiet "$(image)"
	case $code in 3 | 5) one_line crate-fetch ;; *) show; fail "exit code $code" ;; esac
	printf '{"auths":{"%s":{"auth":"%s"}}}' "$server" "$(printf me:secret | base64)" >auth.json
	expect "$DIGEST" env "REGISTRY_AUTH_FILE=$PWD/auth.json" crate-fetch --quiet "$(image)"
	same 'the secret in the store' "$(grep -r -l -e secret -e "$(printf me:secret | base64)" "$CRATE_ROOT" || :)" ''
}

test_redirects_without_end() {
	own_store
	# One that points to itself: the port is chosen first.
	serve first
	local port=${server##*:}
	kill "${started[0]}"
	wait "${started[0]}" 2>/dev/null || :
	serve log --port "$port" --redirect "http://127.0.0.1:$port"
	run crate-fetch --quiet "$(image)"
	case $code in 5 | 6) one_line crate-fetch ;; *) show; fail "exit code $code" ;; esac
	[ "$(requests log .)" -lt 100 ] || fail 'it follows without end'
}

# P4: what a manifest says of other places to get a layer from is not heeded, with or without credentials.
test_urls_of_descriptors_are_not_asked() {
	own_store
	serve other --host 127.0.0.2
	local other=$server blobs=$WORK/layout/blobs/sha256 digest
	jq -c --arg url "http://$other/v2/x/blobs/y" '.layers[] += {urls: [$url]}' "$blobs/${DIGEST#sha256:}" >manifest
	digest=$(sha256sum <manifest | cut -d ' ' -f 1)
	mv manifest "$blobs/$digest"
	serve log --basic me:secret
	printf '{"auths":{"%s":{"auth":"%s"}}}' "$server" "$(printf me:secret | base64)" >auth.json
	export REGISTRY_AUTH_FILE=$PWD/auth.json
	expect "sha256:$digest" crate-fetch --quiet "$server/busybox@sha256:$digest"
	CRATE_ROOT=$WORK/another
	rm "$blobs/$(jq -r '.layers[0].digest | ltrimstr("sha256:")' "$blobs/$digest")"
	expect_code 3 crate-fetch --quiet "$server/busybox@sha256:$digest"
	[ ! -e other ] || fail 'the other host was asked'
}

# Held and unchanged: one question, no blob.
test_no_blob_is_asked_for_twice() {
	own_store
	serve log
	expect "$DIGEST" crate-fetch --quiet "$(image)"
	: >log
	expect "$DIGEST" crate-fetch --quiet "$(image)"
	same 'blob requests' "$(requests log /blobs/)" 0
	: >log
	expect "$DIGEST" crate-fetch --quiet --pull missing "$(image)"
	expect "$DIGEST" crate-fetch --quiet --pull never "$(image)"
	same 'requests' "$(requests log .)" 0
}

test_plain_http_only_on_loopback() {
	own_store
	# No such address is asked in clear text without --insecure; nothing listens there in any case.
	run timeout 20 crate-fetch --quiet registry.invalid/busybox
	[ "$code" = 5 ] || { show; fail "exit code $code"; }
	one_line crate-fetch registry.invalid
}

test_tls() {
	needs openssl
	own_store
	local key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
	openssl req -x509 "${key[@]}" -keyout ca.key -out ca.pem -days 2 -subj /CN=tests 2>/dev/null
	openssl req -new "${key[@]}" -keyout key.pem -out request.pem -subj /CN=localhost 2>/dev/null
	openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out cert.pem \
		-extfile <(echo subjectAltName=DNS:localhost,IP:127.0.0.1) 2>/dev/null
	serve log --tls "$PWD/cert.pem" "$PWD/key.pem"
	run crate-fetch --quiet "$(image)"
	[ "$code" = 6 ] || { show; fail "a certificate that nobody vouches for: exit code $code"; }
	one_line crate-fetch ertificate
	expect "$DIGEST" crate-fetch --quiet --cacert "$PWD/ca.pem" "$(image)"
	CRATE_ROOT=$WORK/second
	expect "$DIGEST" env "SSL_CERT_FILE=$PWD/ca.pem" crate-fetch --quiet "$(image)"
	fsck_clean
}

# P9: a date to wait for is honoured, and what is left of a limit is told.
test_retry_after_a_date_and_limits() {
	own_store
	serve log --busy 2 --dated --times 1
	expect "$DIGEST" crate-fetch --quiet "$(image)"
	CRATE_ROOT=$WORK/other
	serve log2 --busy 100000 --dated --remaining '0;w=21600'
	expect_code 5 crate-fetch --quiet "$(image)"
	one_line crate-fetch
	has "$WORK/err" '0 pulls left for you in 21600 s'
	same 'requests for the manifest' "$(requests log2 /manifests/)" 1
}

# P10: tokens that live for a second, and 40 layers that take longer than that together.
test_tokens_expire_in_mid_pull() {
	own_store
	local tokens
	python3 "$TESTS/documents.py" image "$WORK/layout" tag 40 1000
	serve log --token 1 --delay 0.08
	expect_code 0 crate-fetch --quiet --jobs 1 "$server/x:tag"
	tokens=$(requests log '^GET /token')
	case $tokens in [3-9] | [12]?) ;; *) fail "$tokens tokens were asked for" ;; esac
	fsck_clean
}

# P14: a secret is in no argument, in nothing that is said, and in no file of ours.
test_secrets_stay_where_they_are() {
	own_store
	local pid secret
	secret=$(printf me:hidden-word | base64)
	serve log --basic me:hidden-word --slow 3000000
	printf '{"auths":{"%s":{"auth":"%s"}}}' "$server" "$secret" >auth.json
	REGISTRY_AUTH_FILE=$PWD/auth.json crate-fetch "$(image)" >out.said 2>&1 &
	pid=$!
	eventually test -e log
	if tr '\0' '\n' <"/proc/$pid/cmdline" | grep -e hidden-word -e "$secret"; then fail 'it is among the arguments'; fi
	wait "$pid"
	printf '{"auths":{"%s":{"auth":"%s"}}}' "$server" "$(printf me:hidden-wrong | base64)" >auth.json
	run env "REGISTRY_AUTH_FILE=$PWD/auth.json" crate-fetch --pull always "$server/busybox:tag"
	[ "$code" != 0 ] || fail 'a wrong password was taken'
	cat "$WORK/err" >>out.said
	same 'files with a secret' "$(grep -r -l -e hidden -e "${secret%==}" "$CRATE_ROOT" out.said || :)" ''
}
