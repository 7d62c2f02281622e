#!/bin/bash
# wire.sh: how bytes travel: hosts that break HTTP, TLS and whom it trusts, proxies, addresses.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

DIGEST=$(jq -r '.manifests[0].digest' "$IMAGES/busybox/index.json")

# listen SCRIPT [OPTION...]: a server of tests/; sets server to its HOST:PORT.
listen() {
	local script=$1
	shift
	exec {answers}< <(exec python3 "$TESTS/$script" "$@" 2>>"$WORK/$script.err")
	started+=($!)
	read -r -t 30 -u "$answers" server || { cat "$WORK/$script.err" >&2; fail "$script does not listen"; }
}

# serve [OPTION...]: a registry with the busybox image.
serve() { listen registry.py "$IMAGES/busybox" "$@"; }

# A CA in ca.pem, and below it NAME.pem for the subjectAltNames; vouched for until -days from now.
authority() { openssl req -x509 "${KEY[@]}" -keyout "$1.key" -out "$1.pem" -days 2 -subj "/CN=$1" 2>/dev/null; }
KEY=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
certify() { # NAME SAN...
	local name=$1
	openssl req -new "${KEY[@]}" -keyout "$name.key" -out "$name.csr" -subj "/CN=$name" 2>/dev/null
	mkdir -p "$name.ca"
	: >"$name.ca/index"
	printf '[ca]\ndefault_ca=d\n[d]\ndatabase=%s\nnew_certs_dir=%s\nrand_serial=yes\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n[x]\nsubjectAltName=%s\n' \
		"$name.ca/index" "$name.ca" "$2" >"$name.ca/config"
	openssl ca -batch -config "$name.ca/config" -extensions x -cert ca.pem -keyfile ca.key -in "$name.csr" -out "$name.pem" -notext \
		-startdate 20200101000000Z -enddate "${3:-20400101000000Z}" 2>"$name.err" || { cat "$name.err" >&2; fail 'openssl ca'; }
}

fetch() { # REPOSITORY-HOST [OPTION...]: into a store that is empty each time
	local host=$1
	shift
	CRATE_ROOT=$WORK/store.$((stores += 1))
	run timeout 60 crate-fetch --quiet "$@" "$host/busybox@$DIGEST"
}
stores=0

brings() {
	fetch "$@"
	[ "$code" = 0 ] || { show "$@" >&2; fail "exit code $code"; }
}

fails() { # CODE TEXT HOST...
	local want=$1 text=$2
	shift 2
	fetch "$@"
	[ "$code" = "$want" ] || { show "$@" >&2; fail "exit code $code instead of $want"; }
	nothing_out
	one_line crate-fetch "$text"
}

# P8: whatever a host does on the wire, it ends, in time and in one line.
test_hosts_that_break_http() {
	listen wire.py
	python3 "$TESTS/wire.py" --list >list
	local name codes pids=() got
	while read -r name codes; do
		(
			CRATE_ROOT=$WORK/store.$name
			got=0
			timeout 60 crate-fetch --quiet --timeout 1 "$server/$name:tag" >"$name.out" 2>"$name.err" || got=$?
			echo "$got" >"$name.code"
		) &
		pids+=($!)
	done <list
	wait "${pids[@]}"
	while read -r name codes; do
		got=$(cat "$name.code")
		case $codes in *"$got"*) ;; *) cat "$name.err" >&2; fail "$name: exit code $got instead of one of $codes" ;; esac
		[ ! -s "$name.out" ] || fail "$name: standard output is not empty"
		same "$name: lines" "$(grep -c -v '^hint: ' "$name.err")" 1
		grep -q -F -e "$server" -e 'manifest tag' "$name.err" || fail "$name: $(cat "$name.err")"
	done <list
	[ "$(wc -l <list)" -ge 30 ] || fail 'behaviours are missing'
}

# P16
test_registry_by_its_ipv6_address() {
	python3 -c 'import socket; socket.create_server(("::1", 0), family=socket.AF_INET6)' 2>/dev/null || skip 'there is no ::1'
	serve --host ::1
	brings "$server"
	needs openssl
	authority ca
	certify six IP:::1,IP:127.0.0.1
	serve --host ::1 --tls six.pem six.key
	brings "$server" --cacert ca.pem
}

# P16: a name with many addresses, those of IPv6 and all of IPv4 but the last leading nowhere.
test_dead_addresses_are_passed_over() {
	needs openssl ip unshare
	authority ca
	certify name DNS:registry.test
	{
		printf 'fd09::%d registry.test\n' 2 3
		printf '10.9.9.%d registry.test\n' $(seq 2 19) 1
	} >hosts
	cat >inside <<-'EOF'
		set -eu
		mount --bind hosts /etc/hosts
		ip link set lo up
		ip link add dead type veth peer name end
		ip addr add 10.9.9.1/24 dev dead
		ip -6 addr add fd09::1/64 dev dead nodad
		ip link set dead up && ip link set end up
		python3 "$1/registry.py" "$2" --host 10.9.9.1 --port 5000 --tls name.pem name.key >/dev/null &
		server=$!
		trap 'kill $server' EXIT
		until python3 -c 'import socket; socket.create_connection(("10.9.9.1", 5000))' 2>/dev/null; do sleep 0.1; done
		crate-fetch --quiet --cacert ca.pem --timeout 20 "registry.test:5000/busybox@$3"
	EOF
	own_store
	local user=()
	[ "$KIND" = root ] || user=(--user --map-root-user)
	unshare "${user[@]}" --net --mount true || skip 'no network namespace can be made'
	expect "$DIGEST" timeout 60 unshare "${user[@]}" --net --mount bash inside "$TESTS" "$IMAGES/busybox" "$DIGEST"
}

# P15: whom TLS believes.
test_certificates() {
	needs openssl
	authority ca
	authority stranger
	certify good DNS:localhost,IP:127.0.0.1
	certify name DNS:other.test
	certify old IP:127.0.0.1 20210101000000Z
	serve --tls good.pem good.key
	fails 6 'certificate of 127.0.0.1' "$server"
	fails 6 'certificate of 127.0.0.1' "$server" --cacert stranger.pem
	brings "$server" --cacert ca.pem
	brings "localhost:${server##*:}" --cacert ca.pem
	brings "$server" --insecure
	SSL_CERT_FILE=$PWD/ca.pem brings "$server"
	# Links of such a directory may lead anywhere, and so may those of certs.d.
	mkdir linked
	ln -s ../ca.pem linked/ca.pem
	SSL_CERT_DIR=/none:$PWD/linked brings "$server"
	fails 1 no-such.pem "$server" --cacert no-such.pem
	# certs.d: for this host and port alone.
	mkdir -p "$HOME/.config/containers/certs.d/$server"
	ln -s "$PWD/ca.pem" "$HOME/.config/containers/certs.d/$server/ca.crt"
	brings "$server"
	fails 6 'certificate of localhost' "localhost:${server##*:}"
	ln -s "$server" "$HOME/.config/containers/certs.d/localhost:${server##*:}"
	brings "localhost:${server##*:}"
	serve --tls name.pem name.key
	fails 6 'certificate of 127.0.0.1' "$server" --cacert ca.pem
	serve --tls old.pem old.key
	fails 6 'certificate of 127.0.0.1' "$server" --cacert ca.pem
	brings "$server" --insecure
}

# P5, P15: what is said of one host does not hold for where it redirects to.
test_trust_does_not_follow_redirects() {
	needs openssl
	authority ca
	certify good DNS:localhost,IP:127.0.0.1
	serve --tls good.pem good.key
	local other=$server
	serve --redirect "https://$other"
	fails 6 "certificate of $other" "$server" --insecure
	brings "$server" --cacert ca.pem
	serve --tls good.pem good.key --redirect "https://$other"
	mkdir -p "$HOME/.config/containers/certs.d/$server"
	cp ca.pem "$HOME/.config/containers/certs.d/$server/ca.crt"
	fails 6 "certificate of $other" "$server"
}

test_client_certificates() {
	needs openssl
	authority ca
	certify good IP:127.0.0.1
	listen registry.py "$IMAGES/busybox" --tls good.pem good.key --ask ca.pem
	fails 6 "$server" "$server" --cacert ca.pem
	local own=$HOME/.config/containers/certs.d/$server
	mkdir -p "$own"
	cp good.pem "$own/me.cert"
	fails 1 'me.cert has no key' "$server" --cacert ca.pem
	cp good.key "$own/me.key"
	brings "$server" --cacert ca.pem
}

test_proxies() {
	needs openssl
	authority ca
	certify name DNS:registry.test
	serve
	local plain=registry.test:${server##*:}
	serve --tls name.pem name.key
	local secure=registry.test:${server##*:}
	listen wire.py --proxy me:se:cret --log log
	local proxy=$server
	export https_proxy="http://me:se%3Acret@$proxy" HTTP_PROXY="http://me:se%3Acret@$proxy/"
	brings "$secure" --cacert ca.pem
	has log "CONNECT $secure HTTP/1.1"
	lacks log "GET http"
	brings "$plain" --insecure --timeout 2
	has log "GET http://$plain/v2/"
	# This machine itself is asked straight, and so is what NO_PROXY names.
	: >log
	brings "127.0.0.1:${plain##*:}"
	NO_PROXY=x,.test fails 5 'cannot find the host registry.test' "$secure" --cacert ca.pem
	same 'requests to the proxy' "$(cat log)" ''
	https_proxy=http://me:guess@$proxy fails 1 "the proxy $proxy for $secure wants other credentials (407)" "$secure" --cacert ca.pem
	lacks "$WORK/err" guess
	https_proxy=socks5://me:secret@$proxy fails 1 'SOCKS is not supported' "$secure" --cacert ca.pem
	lacks "$WORK/err" secret
	https_proxy=http://127.0.0.1:1 fails 5 'cannot connect to the proxy 127.0.0.1:1' "$secure" --cacert ca.pem
}
