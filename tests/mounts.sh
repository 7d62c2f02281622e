#!/bin/bash
# mounts.sh: images, containers and sharers of a volume that want mounts, and what is made for them, to land outside of the
# container. Beside each container lies a tree of the host, the canary, which must be as it was, and where it is a race a
# program that loses it shows that the canary would have told.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

ROUNDS=$([ "${STORM:-}" = full ] && echo 500 || echo 100)

CANARY=$WORK/canary # What nothing in a container may reach: hashes, modes, owners and times.
tree() { python3 "$TESTS/tree.py" "$@"; }

make_canary() {
	mkdir -p "$CANARY/below" data
	echo secret | tee "$CANARY/file" >"$CANARY/below/file"
	chmod 640 "$CANARY/file"
	chmod 710 "$CANARY/below"
	echo data >data/file
	touch -d @1000000000 "$CANARY"/*/* "$CANARY"/* "$CANARY" data/file data
	tree "$CANARY" >canary.before
	tree data >data.before
}

canary_is_as_it_was() { # [WHEN]
	tree "$CANARY" >canary.after
	cmp -s canary.before canary.after || { diff canary.before canary.after >&2; fail "the host's tree has changed${1:+: $1}"; }
	tree data >data.after
	cmp -s data.before data.after || { diff data.before data.after >&2; fail "the volume's tree has changed${1:+: $1}"; }
}

# canary_tells CMD...: what wins makes a change that is seen, here by a command that does it without crate.
canary_tells() {
	"$@" 2>/dev/null || :
	! cmp -s canary.before <(tree "$CANARY") || fail "the canary does not tell: $*"
	make_canary
}

# What is bound by its path is what the link in its place leads to.
binding_by_path_leads_out() { # LINK
	# shellcheck disable=SC2016
	canary_tells in_userns unshare -m sh -c ': >place && mount --bind "$1" place && echo lost >place' sh "$1"
}

bundle() { echo "$CRATE_ROOT/containers/$1"; }

edit() { # ID FILTER: change config.json by hand
	jq "$2" "$(bundle "$1")/config.json" >config.new
	cat config.new >"$(bundle "$1")/config.json"
}

# plant CANARY: what each case has, made at once; grow DIR NAME: what the case of this name has, and nothing else.
plant() { python3 "$TESTS/targets.py" plant planted "$1"; }
grow() { in_userns sh -c 'find "$1" -mindepth 1 -delete && mv "planted/$2"/* "$1"' sh "$1" "$2"; }
cases() { python3 "$TESTS/targets.py" cases; }

# The exit code is this one; a failure of crate's is told in one line.
ends_with() { # CODE WHAT CMD...
	local want=$1 what=$2
	shift 2
	run timeout 60 "$@"
	sed -i '/only one id is mapped/d' "$WORK/err"
	[ "$code" = "$want" ] || { show "$(printf '%q ' "$@")" >&2; fail "$what: exit code $code instead of $want"; }
	[ "$want" != 125 ] || one_line crate-sup
}

# --- E6: what the image has where mounts go ---

# E6: CVE-2026-41579, CVE-2026-47766, CVE-2026-87766, CVE-2026-48749, CVE-2026-48752.
test_E6_images_with_links_where_mounts_go() {
	own_store
	make_canary
	local case name want
	python3 "$TESTS/targets.py" images "$IMAGES/busybox.tar" "$CANARY/below" layout
	while read -r case name want; do
		ends_with "$want" "$case" crate run -q --rm -v "$WORK/data:/target:ro" -v "$WORK/data/file:/target.file:ro" "oci:$WORK/layout:$name" true </dev/null
	done < <(cases | grep -v '+socket ')
	canary_is_as_it_was
	same 'containers' "$(ls "$CRATE_ROOT/containers")" ''
}

# E6: the same where a container has done it to itself, before it is started again; sockets too.
test_E6_containers_with_links_where_mounts_go() {
	have "$BUSYBOX"
	make_canary
	local case name want id upper
	id=$(crate create -v "$WORK/data:/target:ro" -v "$WORK/data/file:/target.file:ro" "$BUSYBOX" true)
	upper=$(bundle "$id")/upper
	plant "$CANARY/below"
	while read -r case name want; do
		grow "$upper" "$name"
		ends_with "$want" "$case" crate start -a "$id" </dev/null
	done < <(cases)
	canary_is_as_it_was
	crate rm "$id" >/dev/null
}

# E6: and where the volume has it on which a further mount goes. What is missing is made in the container, if at all.
test_E6_volumes_with_links_where_mounts_go() {
	have "$BUSYBOX"
	make_canary
	local case name want id
	mkdir volume && plant "$CANARY/below"
	id=$(crate create -v "$WORK/volume:/vol" -v "$WORK/data:/vol/target:ro" -v "$WORK/data/file:/vol/target.file:ro" "$BUSYBOX" true)
	while read -r case name want; do
		grow volume "$name"
		ends_with "$want" "$case" crate start -a "$id" </dev/null
		canary_is_as_it_was "$case"
	done < <(cases | grep '^target')
	crate rm "$id" >/dev/null
}

# bubblewrap#801: links within the image go on to work.
test_E6_links_within_the_image_work() {
	have "$BUSYBOX"
	local id
	mkdir data && echo data >data/file
	id=$(crate create -v "$WORK/data:/var/run/data" --tmpfs /var/run/memory "$BUSYBOX" sh -c 'cat /run/data/file; grep -c " /run/memory tmpfs" /proc/mounts')
	in_userns sh -c "mkdir -p '$(bundle "$id")/upper/var' && ln -s /run '$(bundle "$id")/upper/var/run'"
	expect "$(printf 'data\n1')" crate start -a "$id"
	crate rm "$id" >/dev/null
}

# --- E4: what masks ---

MASKED='for path in keys interrupts timer_list; do cat /proc/$path; stat -c %t:%T /proc/$path; done; find /proc/acpi /sys/firmware -mindepth 1; echo lost >/proc/keys'

# E4: CVE-2025-31133. The mask is never the image's /dev/null, whatever that is.
test_E4_masks_are_not_the_image_s() {
	have "$BUSYBOX"
	make_canary
	local id kind
	mkdir dev && plant "$CANARY/file"
	id=$(crate create -v "$WORK/dev:/dev" "$BUSYBOX" sh -c "$MASKED")
	for kind in absolute relative chain loop fifo socket file directory; do
		rm -r dev && mv "planted/dev_null-$kind/dev" dev
		[ $kind != absolute ] || binding_by_path_leads_out dev/null
		expect "$(printf '1:3\n1:3\n1:3')" timeout 60 crate start -a "$id"
		canary_is_as_it_was "$kind"
	done
	crate rm "$id" >/dev/null
}

# swapping PLACE OTHER: a container exchanges the two below `volume` until swapped is called.
swapping() {
	cp "$CRATE_STAGE/bin/exchange" volume/
	attacker=$(crate run -d -v "$WORK/volume:/vol" "$BUSYBOX" /vol/exchange "/vol/$1" "/vol/$2")
	eventually sh -c "crate logs $attacker | grep -q ready"
}

swapped() { crate rm -f "$attacker" >/dev/null; }

# A program that makes the directory by its path, as any would, is led out: the exchange is fast enough, and the canary tells.
naive_is_led_out() { # PLACE NAME: what is made below the place appears in the canary
	local end=$((SECONDS + 30))
	until [ -e "$CANARY/$2" ]; do
		[ $SECONDS -lt $end ] || fail 'the exchange leads nobody out'
		mkdir "volume/$1/$2" 2>/dev/null || rmdir "volume/$1/$2" 2>/dev/null || :
	done
	! cmp -s canary.before <(tree "$CANARY") || fail 'the canary does not tell'
	rmdir "$CANARY/$2"
	touch -d @1000000000 "$CANARY"
}

# starts ID MET...: over and over, until this has been met too; what was mounted is told in `mounted`. A start may be refused,
# which is told in one line.
starts() {
	local i
	: >mounted
	for i in $(seq 2000); do
		run timeout 60 crate start -a "$1"
		case $code in
		0) cat "$WORK/out" >>mounted ;;
		125) one_line crate-sup ;;
		*) show "round $i" >&2; fail "exit code $code" ;;
		esac
		[ "$i" -lt "$ROUNDS" ] || ! "${@:2}" || return 0
	done
	show 'last start' >&2
	fail 'the exchange was never met, or no start got through'
}

# Of a mount that shows the canary, mountinfo tells its path as the fourth field.
host_is_not_mounted() { ! grep -q '^[^ ]* [^ ]* [^ ]* [^ ]*/canary' mounted || fail 'the host is mounted'; }

# E4: masks and read-only paths on a volume whose sharer exchanges what is to be masked for a link.
test_E4_masks_on_a_volume_that_is_swapped() {
	have "$BUSYBOX"
	make_canary
	mkdir volume && echo old >volume/file && ln -s "$CANARY/file" volume/link
	local id
	id=$(crate create -v "$WORK/volume:/vol" "$BUSYBOX" sh -c 'echo lost >/vol/file; cat /vol/file /vol/link /proc/self/mountinfo; :')
	edit "$id" '.linux.maskedPaths += ["/vol/file"] | .linux.readonlyPaths += ["/vol/link"]'
	in_userns sh -c "mkdir -p '$(bundle "$id")/upper$CANARY' && echo inside >'$(bundle "$id")/upper$CANARY/file'"
	swapping file link
	starts "$id" grep -q '/null /vol/' mounted
	swapped
	canary_is_as_it_was
	host_is_not_mounted
	lacks mounted secret
	crate rm "$id" >/dev/null
}

# E4: /dev on a volume whose sharer exchanges /dev/null for a link while masks are made.
test_E4_dev_null_that_is_swapped() {
	have "$BUSYBOX"
	make_canary
	mkdir volume && mkfifo volume/null && ln -s "$CANARY/file" volume/link
	local id
	id=$(crate create -v "$WORK/volume:/dev" -v "$CANARY:$CANARY" "$BUSYBOX" sh -c "$MASKED")
	swapping null link
	starts "$id" [ -s mounted ]
	swapped
	same 'what is masked' "$(sort -u mounted)" 1:3
	canary_is_as_it_was
	crate rm "$id" >/dev/null
}

# --- E7: targets that are swapped ---

# E7: CVE-2021-30465, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642. One container exchanges a directory of a volume and a link,
# another is started with mounts below it, some of which are to be made first.
swapped_targets_lead_nowhere() { # LINK
	have "$BUSYBOX"
	make_canary
	mkdir -p volume/d && ln -s "$1" volume/l
	local id place
	id=$(crate create -v "$WORK/volume:/vol" -v "$WORK/data:/vol/d/new-$$" -v "$WORK/data/file:/vol/d/deep-$$/file" --tmpfs "/vol/d/memory-$$" \
		-w "/vol/d/here-$$" "$BUSYBOX" cat /proc/self/mountinfo)
	# What the link leads to is in the container too, so that it can be met.
	in_userns mkdir -p "$(bundle "$id")/upper$CANARY"
	swapping d l
	naive_is_led_out_if_absolute "$1"
	starts "$id" both_ways_met
	swapped
	canary_is_as_it_was
	# All of them lie in the container, by one way or the other, and nothing else of the host does.
	host_is_not_mounted
	same mounts "$(grep -c "/data/file " mounted) $(grep -c "/memory-$$ " mounted)" "$(grep -c "/data " mounted) $(grep -c "/data " mounted)"
	for place in "/new-$$" "/deep-$$" "/memory-$$" "/here-$$"; do
		[ ! -e "$place" ] || fail "$place was made on the host"
	done
	crate rm "$id" >/dev/null
}

both_ways_met() { grep -q "/data /vol/[dl]/new-$$ " mounted && grep "/data " mounted | grep -v -q "/data /vol/[dl]/new-$$ "; }

naive_is_led_out_if_absolute() {
	case $1 in "$CANARY") naive_is_led_out d new ;; esac
}

test_E7_targets_swapped_for_the_root() { swapped_targets_lead_nowhere /; }
test_E7_targets_swapped_for_what_is_above() { swapped_targets_lead_nowhere ../../../../../../../..; }
test_E7_targets_swapped_for_a_tree_of_the_host() { swapped_targets_lead_nowhere "$CANARY"; }

# --- E5: terminals ---

# The mounts of a container from the root downwards, so that a volume on /dev has the terminals on top of it.
downwards() { edit "$1" '.mounts |= sort_by(.destination | split("/") | length)'; }

# E5: CVE-2025-52565, CVE-2026-88264. /dev is the image's or a volume, and what a terminal needs there is something else.
test_E5_terminals_where_dev_is_not_what_it_seems() {
	have "$BUSYBOX"
	make_canary
	local plain terminal place kind want
	mkdir dev
	plain=$(crate create -v "$WORK/dev:/dev" "$BUSYBOX" true)
	terminal=$(crate create -t -v "$WORK/dev:/dev" "$BUSYBOX" sh -c 'echo lost >/dev/console; chmod 777 /dev/console; :')
	downwards "$plain"
	downwards "$terminal"
	plant "$CANARY/file"
	for place in console pts ptmx; do
		for kind in absolute relative chain loop fifo socket file directory; do
			rm -rf dev && mv "planted/dev_$place-$kind/dev" dev
			[ $place+$kind != console+absolute ] || binding_by_path_leads_out dev/console
			want=0
			[ $place != pts ] || [ $kind = directory ] || want=125
			ends_with $want "$place+$kind" crate start -a "$plain"
			case $place+$kind in console+fifo | console+socket | console+file) ;; console+*) want=125 ;; esac
			ends_with $want "$place+$kind with a terminal" crate start -a "$terminal"
			canary_is_as_it_was "$place+$kind"
		done
	done
	crate rm "$plain" "$terminal" >/dev/null
	terminal=$(crate create -t "$BUSYBOX" true)
	rm -r planted && plant "$CANARY/below"
	for kind in absolute relative chain loop fifo socket file; do
		grow "$(bundle "$terminal")/upper" "dev-$kind"
		ends_with 125 "dev+$kind with a terminal" crate start -a "$terminal"
	done
	canary_is_as_it_was
	crate rm "$terminal" >/dev/null
}

# E5: the place of the terminal is exchanged for a link while it is made, and before a further program gets one.
test_E5_terminals_where_dev_is_swapped() {
	have "$BUSYBOX"
	make_canary
	mkdir volume && : >volume/console && ln -s "$CANARY/file" volume/link
	local id link
	id=$(crate create -t -v "$WORK/volume:/dev" "$BUSYBOX" sh -c 'echo lost >/dev/console; chmod 777 /dev/console; stat -c %t /dev/console; :')
	downwards "$id"
	swapping console link
	starts "$id" grep -q 88 mounted
	swapped
	canary_is_as_it_was
	crate rm "$id" >/dev/null
	rm -rf volume && mkdir volume
	id=$(crate create -v "$WORK/volume:/dev" "$BUSYBOX" probe wait)
	downwards "$id"
	crate start "$id" >/dev/null
	expect_code 0 crate exec -t "$id" test -c /dev/pts/0
	mv volume/pts volume/gone && mkdir "$CANARY/pts" && : >"$CANARY/pts/ptmx" && make_canary
	for link in "$CANARY/pts" "../../../../../../..$CANARY/pts" gone; do
		ln -s "$link" volume/pts
		expect_code 125 crate exec -t "$id" true
		rm volume/pts
	done
	canary_is_as_it_was
	crate rm -f "$id" >/dev/null
}

# --- E12: nothing of it comes out ---

# E12: the host's mounts are shared with all namespaces that come from its own, as systemd has it.
test_E12_nothing_propagates_out() {
	only root
	have "$BUSYBOX"
	make_canary
	mkdir -p volume/below other
	# shellcheck disable=SC2016
	expect_code 0 unshare --mount sh -euc '
		image=$1 data=$2
		mount -t tmpfs tmpfs volume
		mount --make-rshared /
		cat /proc/self/mountinfo >mounts.before
		unshare --mount --propagation unchanged mount -t tmpfs tmpfs other
		! cmp -s mounts.before /proc/self/mountinfo || { echo "nothing is shared" >&2; exit 1; }
		umount other
		cmp mounts.before /proc/self/mountinfo
		id=$(crate run -d --read-only --tmpfs /t -v "$PWD/volume:/vol" -v "$data:/vol/below" --mount "type=bind,src=$PWD/volume,dst=/m" "$image" probe wait)
		crate exec "$id" true
		cmp mounts.before /proc/self/mountinfo
		for i in $(seq 20); do
			crate run --rm -v "$PWD/volume:/vol" -v "$data:/vol/below" "$image" true
			crate restart -t 0 "$id" >restarted
		done
		cmp mounts.before /proc/self/mountinfo
		crate rm -f "$id" >removed
		cmp mounts.before /proc/self/mountinfo
	' sh "$BUSYBOX" "$WORK/data"
	canary_is_as_it_was
}

# --- E8: settings of the kernel ---

# The setting that a container which runs has: what a process of the host reads that has joined its namespace.
msgmax_of() {
	local user=--user
	[ "$KIND" != root ] || user=
	nsenter -t "$(crate inspect --format '{{.State.Pid}}' "$1")" ${user:+"$user"} --ipc --preserve-credentials cat /proc/sys/kernel/msgmax
}

# E8: CVE-2025-52881. Something else than a procfs lies on /proc or below: the value reaches the kernel, or nothing runs; it never
# reaches the file of that name.
test_E8_settings_reach_the_kernel_or_fail() {
	have "$BUSYBOX"
	local id flag before
	before=$(cat /proc/sys/kernel/msgmax)
	mkdir -p volume/sys/kernel && echo volume | tee volume/sys/kernel/msgmax >volume/file
	for flag in --init "-v=$WORK/volume/sys:/proc/sys" "-v=$WORK/volume/sys/kernel:/proc/sys/kernel" "-v=$WORK/volume/file:/proc/sys/kernel/msgmax" \
		--tmpfs=/proc/sys "-v=$WORK/volume:/proc" --tmpfs=/proc; do
		id=$(crate create --sysctl kernel.msgmax=12345 "$flag" "$BUSYBOX" probe wait)
		run crate start "$id"
		case $code in
		0) same "the setting with $flag" "$(msgmax_of "$id")" 12345 ;;
		125) one_line crate-sup ;;
		*) show "$flag" >&2; fail "exit code $code" ;;
		esac
		[ "$code$flag" != 125--init ] || fail 'it is never set'
		same "the volume with $flag" "$(cat volume/sys/kernel/msgmax volume/file | tr '\n' ' ')" 'volume volume '
		crate rm -f "$id" >/dev/null
	done
	# A volume in place of /proc, whose sharer exchanges what is in it for a link.
	make_canary
	mkdir -p "$CANARY/kernel" && echo canary >"$CANARY/kernel/msgmax" && make_canary
	ln -s "$CANARY" volume/link
	id=$(crate create --sysctl kernel.msgmax=12345 -v "$WORK/volume:/proc" "$BUSYBOX" true)
	edit "$id" '.linux.maskedPaths = [] | .linux.readonlyPaths = []'
	swapping sys link
	starts "$id" true
	swapped
	canary_is_as_it_was
	same 'the volume' "$(cat volume/*/kernel/msgmax | sort | tr '\n' ' ')" 'canary volume '
	crate rm "$id" >/dev/null
	same 'the setting of the host' "$(cat /proc/sys/kernel/msgmax)" "$before"
	for id in kernel.../msgmax ../../file kernel.msgmax/../shmmax; do
		run crate run --rm --sysctl "$id=1" "$BUSYBOX" true
		[ "$code" = 125 ] || fail "$id was taken: $code"
	done
}
