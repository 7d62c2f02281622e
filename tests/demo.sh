#!/bin/sh
# demo.sh DIR: run a first container with the programs in DIR, in a store that is thrown away.
set -eu
cd "$(dirname "$0")/.."
bin=$PWD/$1 demo=$PWD/target/demo
PATH=$bin:$PATH
export CRATE_ROOT="$demo/store" CRATE_RUN="$demo/run"

remove() {
	[ -e "$demo" ] || return 0
	crate rm --force --all >/dev/null 2>&1 || :
	rm -rf "$demo" 2>/dev/null || crate-sup unshare rm -rf "$demo"
}
show() {
	printf '\n$ %s\n' "$1" >&2
	eval "$1"
}

remove
trap remove EXIT
trap 'exit 130' INT TERM
mkdir -p "$demo"
sh tests/image.sh busybox "$demo/busybox.tar"
sh tests/image.sh layout "$demo/image" busybox:demo '{"Env":["PATH=/bin"],"Cmd":["sh"]}' "$demo/busybox.tar"
tar -cf "$demo/busybox.oci.tar" -C "$demo/image" .
cd "$demo"

show 'crate pull oci-archive:busybox.oci.tar'
show 'crate images'
show 'crate run --rm busybox:demo uname -a'
show 'crate run --rm busybox:demo id'
show 'crate run --rm busybox:demo ls /'
show 'echo "through a pipe" | crate run --rm -i busybox:demo tr a-z A-Z'

show 'crate run --detach --name clock busybox:demo sh -c "while :; do date; sleep 0.1; done"'
show 'crate ps'
show 'crate exec clock ps'
show 'crate stop clock'
show 'crate logs --tail 2 clock'
show 'crate wait clock'
show 'crate rm clock'
