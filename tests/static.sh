#!/bin/sh
# static.sh PROGRAM...: fail unless every program is a static ELF: no interpreter, no needed library.
# Reads the ELF program headers with od, so that the build needs no binutils.
set -eu

word() { od -An -v -t "u$3" -j "$2" -N "$3" "$1" | tr -d ' '; }

for program in "$@"; do
	[ "$(od -An -v -t x1 -N 5 "$program" | tr -d ' ')" = 7f454c4602 ] ||
		{ echo "static.sh: $program: not a 64-bit ELF file" >&2; exit 1; }
	offset=$(word "$program" 32 8) size=$(word "$program" 54 2) count=$(word "$program" 56 2)
	i=0
	while [ "$i" -lt "$count" ]; do
		case $(word "$program" $((offset + i * size)) 4) in
		3) echo "static.sh: $program: has an interpreter: it is not static" >&2; exit 1 ;;
		2) echo "static.sh: $program: has a dynamic section: it is not static" >&2; exit 1 ;;
		esac
		i=$((i + 1))
	done
done
