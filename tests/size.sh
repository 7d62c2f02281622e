#!/bin/sh
# size.sh DIR: print the bytes of each program in DIR beside its budget, and fail if one is over it.
set -eu

status=0
row() { # PROGRAM MOST
	bytes=$(wc -c <"$dir/$1" | tr -d ' ')
	note=
	[ "$bytes" -le "$2" ] || { note=' over budget' && status=1; }
	printf '%-12s %8d of %8d bytes%s\n' "$1" "$bytes" "$2" "$note"
}

dir=$1
row crate 716800
row crate-init 307200
row crate-sup 716800
row crate-store 716800
row crate-fetch 2411724
init=$(wc -c <"$dir/crate-init" | tr -d ' ')
[ "$init" -le 65536 ] || echo "crate-init is wanted at 65536 bytes: $((init - 65536)) to go"
exit "$status"
