#!/bin/bash
# powercut.sh: what a power cut leaves of the store, whenever it comes.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# Two images that share their base. Small, since every byte is written down; but one file takes several writes.
layouts() {
	mkdir -p base/bin base/etc top/etc more/usr
	head -c 100000 /dev/urandom >base/bin/program
	chmod 4755 base/bin/program
	ln -s program base/bin/link
	ln base/bin/program base/bin/again
	echo text >base/etc/text
	echo changed >top/etc/more
	: >top/etc/.wh.text
	echo more >more/usr/more
	local layer
	for layer in base top more; do tar -cf "$layer.tar" -C "$layer" .; done
	sh "$TESTS/image.sh" layout layout 1 '{}' base.tar top.tar more.tar
	sh "$TESTS/image.sh" layout other other '{}' base.tar more.tar
	tar -cf other.tar -C other .
}

# S2: at least so many states of a pull, and those of what else changes the store; a sample of them on the disk.
test_power_cut_at_any_moment() {
	needs strace
	layouts
	local states=5000 sample=40
	[ "$KIND" != root ] || states=50000 sample=300
	[ "${STORM:-}" != full ] || states=2000000 sample=5000
	expect_code 0 in_userns python3 "$TESTS/powercut.py" layout oci-archive:other.tar "$states" "$sample"
	cat "$WORK/out"
}
