#!/bin/bash
# front.sh: what is made of a command line before anything runs: help, slips, flags that there are not, and all.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

states() { crate ps -a --format '{{.Names}} {{.State}}' | sort | tr '\n' ' '; }

test_all_of_them() {
	own_store
	have "$BUSYBOX"
	for verb in stop kill restart start 'rm -f'; do
		# shellcheck disable=SC2086
		expect '' crate $verb --all # There is none, and that is no failure.
	done
	crate run -d --name a "$BUSYBOX" probe wait >id.a
	crate run -d --name b "$BUSYBOX" probe wait >id.b
	crate create --name c "$BUSYBOX" probe wait >id.c
	expect "$(sort id.a id.b)" sh -c 'crate stop --all | sort'
	same states "$(states)" 'a exited b exited c created '
	expect '' crate kill --all
	expect "$(sort id.a id.b id.c)" sh -c 'crate start --all | sort'
	same states "$(states)" 'a running b running c running '
	expect "$(sort id.a id.b id.c)" sh -c 'crate kill -a -s 0 | sort'
	crate stop c
	expect "$(sort id.a id.b id.c)" sh -c 'crate restart -a -t 5 | sort'
	same states "$(states)" 'a running b running c running '
	expect_code 4 crate rm --all
	expect "$(sort id.a id.b id.c)" sh -c 'crate rm -fa | sort'
	expect '' crate ps -aq
}

test_all_goes_with_no_names() {
	for verb in stop kill restart start rm; do
		expect_code 2 crate "$verb" --all web
		grep -q -F 'not both' "$WORK/err" || { show "$verb"; fail 'no reason'; }
		expect_code 2 crate "$verb"
		grep -q -F "$verb wants a container" "$WORK/err" || { show "$verb"; fail 'no reason'; }
	done
	expect_code 2 crate start --all -a
	one_line crate-sup 'only one container'
}

test_slips_and_what_there_is_not() {
	own_store
	have "$BUSYBOX"
	for verb in run create; do
		expect_code 125 crate "$verb" --gpus all "$BUSYBOX" true
		one_line crate "$verb: --gpus is not supported yet"
		expect_code 125 crate "$verb" -p 80:80 "$BUSYBOX" true
		one_line crate "$verb: -p is not supported yet"
		expect_code 125 crate "$verb" --it "$BUSYBOX" true
		one_line crate "$verb: there is no flag --it"
	done
	for descriptor in 9 2 x ''; do
		expect_code 125 crate run --rm --ready-fd "$descriptor" "$BUSYBOX" true
		one_line crate '--ready-fd'
	done
	expect_code 2 crate rum
	one_line crate 'no such verb: rum'
	expect '' crate ps -aq
}

test_exec_that_never_runs() {
	own_store
	have "$BUSYBOX"
	for flag in -i -d -t; do
		expect_code 125 crate exec "$flag" nosuch true
		one_line crate-sup 'no such container: nosuch'
	done
	crate create --name web "$BUSYBOX" true >/dev/null
	expect_code 125 crate exec -w tmp web true
	expect_code 125 crate exec web
	expect_code 126 crate exec web true
}

test_help_of_every_verb() {
	local verb
	for verb in $(crate --help | sed -n 's/^  \([a-z]*\)  .*/\1/p'); do
		expect_code 0 crate "$verb" --help
		line "^usage: crate[a-z-]* $verb"
		[ "$(LC_ALL=C.UTF-8 wc -L <"$WORK/out")" -le 100 ] || { show "$verb"; fail 'lines of more than 100 columns'; }
		expect "$(cat "$WORK/out")" crate help "$verb"
		case $verb in run | create) ;; *) expect "$(cat "$WORK/out")" crate "$verb" -h ;; esac
	done
	[ "$(crate --help | grep -c '^  [a-z]*  ')" -ge 25 ] || fail 'verbs are missing'
	expect_code 0 crate stop -t 1 web --help
	line '^usage: crate stop'
}

unread() { # CMD...: with a standard output that nobody reads
	python3 -c 'import os, subprocess, sys; read, write = os.pipe(); os.close(read)
sys.exit(subprocess.run(sys.argv[1:], stdout=write).returncode)' "$@"
}

# Whoever reads no more has seen enough: no word about it, and what was asked for is done.
test_nobody_reads() {
	own_store
	have "$BUSYBOX"
	local verb
	crate create --name a "$BUSYBOX" true >/dev/null
	crate create --name b "$BUSYBOX" true >/dev/null
	for verb in 'ps -a' images 'inspect a' '--help' 'run --help' 'start a' 'logs --help' 'wait a' 'rm a b'; do
		# shellcheck disable=SC2086
		expect_code 0 unread crate $verb
		[ ! -s "$WORK/err" ] || { show "$verb"; fail 'it is told'; }
	done
	expect '' crate ps -aq
}

# What came under another name of the same repository is exactly what is asked for: nobody is asked for it again.
test_an_image_by_its_digest_alone() {
	own_store
	local digest
	digest=$(crate pull -q oci-archive:"$IMAGES/busybox.oci.tar" --as localhost:1/base:1)
	expect hi crate run --rm "localhost:1/base@$digest" echo hi
	expect hi crate run --rm "localhost:1/base:other@$digest" echo hi
	expect_code 3 crate inspect "localhost:1/other@$digest"
	expect_code 3 crate inspect "localhost:1/base@sha256:$(printf '%064d' 0)"
}

test_operands_that_are_missing() {
	local verb
	for verb in rename prune rmi inspect tag; do
		expect_code 2 crate "$verb"
		one_line crate-store "$verb wants " "hint: see crate-store $verb --help"
	done
	for verb in top logs attach wait; do
		expect_code 2 crate "$verb"
		one_line crate-sup
	done
}
