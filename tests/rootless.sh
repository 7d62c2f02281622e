#!/bin/bash
# rootless.sh: which ids a container has, and what becomes of it where the system gives a user less than it could:
# rows N1 to N8 and E16 of FAULTS.md.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# What a container's id map says: `INSIDE OUTSIDE COUNT` in each line.
MAP='sed "s/^ *//;s/  */ /g" /proc/self/uid_map'

# injected RULE CMD...: a command with system calls that fail as strace(1) has them fail.
injected() {
	local rule=$1
	shift
	needs strace
	run strace -f -qq -o "$WORK/trace" -e "inject=$rule" "$@"
}

# The first line says what failed, the second how to go on.
with_a_hint() { # TEXT HINT
	one_line crate-sup "$1"
	grep -q "^hint: .*$2" "$WORK/err" || { cat "$WORK/err" >&2; fail "no hint $2"; }
}

# --- which ids ---

test_ids_are_as_asked_for() {
	have "$BUSYBOX"
	local mode
	case $KIND in
	root)
		expect '0 0 4294967295' crate run --rm "$BUSYBOX" sh -c "$MAP"
		expect '0 0 4294967295' crate run --rm --userns host "$BUSYBOX" sh -c "$MAP"
		for mode in private ranges keep-id; do
			expect_code 125 crate run --rm --userns $mode "$BUSYBOX" true
			has "$WORK/err" "--userns $mode: containers of root have no user namespace"
			has "$WORK/err" 'hint: '
		done
		;;
	ranges)
		for mode in --userns=private --userns=ranges ''; do
			expect "$(printf '0 %s 1\n1 100000 65536' "$(id -u)")" crate run --rm $mode "$BUSYBOX" sh -c "$MAP"
		done
		;;
	single)
		for mode in --userns=private ''; do
			expect "0 $(id -u) 1" crate run --rm $mode "$BUSYBOX" sh -c "$MAP"
		done
		expect_code 125 crate run --rm --userns=ranges "$BUSYBOX" true
		with_a_hint '/etc/subuid has no range of ids' usermod
		;;
	esac
	[ "$KIND" = root ] || {
		expect_code 125 crate run --rm --userns host "$BUSYBOX" true
		has "$WORK/err" 'only root can do without a user namespace'
	}
	for mode in auto nomap ns:/proc/1/ns/user container:x; do
		expect_code 125 crate run --rm --userns $mode "$BUSYBOX" true
		has "$WORK/err" "--userns $mode"
	done
	expect '' crate ps -aq
}

# What a config.json says by hand is held to the same.
test_ids_that_nobody_has() {
	have "$BUSYBOX"
	local id mode
	for mode in $([ "$KIND" = root ] && echo keep-id ranges || echo host) auto; do
		id=$(crate create "$BUSYBOX" true)
		jq --arg mode "$mode" '.annotations["run.crate.userns"] = $mode' "$CRATE_ROOT/containers/$id/config.json" >new
		cat new >"$CRATE_ROOT/containers/$id/config.json"
		expect_code 125 crate-sup run "$id"
		has "$WORK/err" "crate-sup: --userns=$mode: "
		expect_code 0 crate rm "$id"
	done
}

# The program has the caller's own id, and so have the image's files; further programs and copies too. Nobody is root,
# unless there are ranges: then 0 and the caller's id have changed places.
test_keep_id() {
	only ranges single
	have "$BUSYBOX" "$REG/busybox:config"
	local own id
	own=$(id -u):$(id -g)
	expect "$own" crate run --rm --userns keep-id "$BUSYBOX" sh -c 'echo $(id -u):$(id -g)'
	# Whatever the image says of its user.
	expect "$own" crate run --rm --userns keep-id --entrypoint sh -w / "$REG/busybox:config" -c 'echo $(id -u):$(id -g)'
	id=$(crate run -d --userns keep-id "$BUSYBOX" sh -c 'echo text >/tmp/file; mkdir /tmp/closed; chmod 0 /tmp/closed; probe wait')
	eventually crate exec "$id" test -d /tmp/closed
	expect "$own" crate exec "$id" sh -c 'echo $(id -u):$(id -g)'
	expect "$(printf '%s\n%s' "$own" "$own")" crate exec "$id" stat -c %u:%g /tmp/file /bin
	expect '0000000000000000' crate exec "$id" sed -n 's/^CapEff:\t//p' /proc/self/status
	expect "$(id -u) $(id -u) 1" crate exec "$id" sh -c "$MAP | grep \" $(id -u) 1\$\""
	echo in >file
	expect_code 0 crate cp file "$id:/tmp/in"
	expect "$own" crate exec "$id" stat -c %u:%g /tmp/in
	expect in crate exec "$id" cat /tmp/in
	crate cp "$id:/tmp" - | tar -tf - >list || fail 'it cannot be copied'
	grep -q '^tmp/closed/$' list || fail 'the closed directory is not in the copy'
	crate export "$id" | tar -tf - >list
	grep -q 'tmp/closed/$' list || fail 'the closed directory is not in the archive'
	if [ "$KIND" = single ]; then
		expect_code 125 crate run --rm --userns keep-id -u 0 "$BUSYBOX" true
		one_line crate-sup '0 is not mapped'
	else
		expect 0 crate run --rm --userns keep-id -u 0 "$BUSYBOX" id -u
		expect 0:50 crate run --rm -u 0 "$BUSYBOX" stat -c %u:%g /shared
		expect "$(id -u):50" crate run --rm --userns keep-id "$BUSYBOX" stat -c %u:%g /shared
	fi
	expect_code 0 crate stop -t 1 "$id"
	echo again >file
	expect_code 0 crate cp file "$id:/tmp/in"
	expect_code 0 crate cp "$id:/tmp/in" out.file
	same 'the copy' "$(cat out.file)" again
	expect_code 0 crate rm "$id"
	[ ! -e "$CRATE_ROOT/containers/$id" ] || fail 'it is still there'
}

# with_group KIND CMD...: as that user, who is in the group 7777 too.
with_group() {
	setpriv --reuid "crate-$1" --regid "crate-$1" --groups 7777 -- env HOME="$WORK/groups/$1" \
		CRATE_ROOT="$WORK/groups/$1/store" CRATE_RUN="$WORK/groups/$1/run" "${@:2}"
}

# E16: of the caller's groups only the first is the container's. Where one id is mapped the kernel lets nobody leave the
# others: they stay in force, as the manual says, though inside they have no name.
test_E16_groups_of_the_caller() {
	only root
	getent passwd crate-single >/dev/null || skip 'setup.sh has not made the users'
	have "$BUSYBOX"
	mkdir groups
	echo secret >groups/file
	chmod 750 groups/file
	chgrp 7777 groups/file
	chmod 755 . groups
	local kind want
	for kind in ranges single; do
		mkdir "groups/$kind"
		chown "crate-$kind" "groups/$kind"
		expect secret with_group "$kind" cat groups/file
		with_group "$kind" crate pull -q "$BUSYBOX" >/dev/null 2>&1
		want=$([ "$kind" = single ] && echo 0 || echo 1)
		expect_code "$want" with_group "$kind" crate run --rm -v "$WORK/groups:/groups" "$BUSYBOX" cat /groups/file
	done
}

# --- N1: user namespaces that are denied ---

test_N1_namespaces_denied() {
	only single # As a user with ranges newuidmap would be traced.
	have "$BUSYBOX"
	local errno hint
	while read -r errno hint; do
		injected "clone3:error=$errno:when=1" crate-sup run "$(crate create --rm "$BUSYBOX" true)"
		same "exit code of $errno" "$code" 125
		one_line crate-sup 'making namespaces: '
		[ "$hint" = - ] || with_a_hint 'making namespaces: ' "$hint"
	done <<-'END'
		EPERM chroot
		EACCES chroot
		ENOSPC max_user_namespaces
		EINVAL CONFIG_USER_NS
		EUSERS nested
		EAGAIN pids.max
		ENOSYS clone3
		ENOMEM -
	END
	injected 'unshare:error=EPERM' crate-sup run "$(crate create --rm "$BUSYBOX" true)"
	same 'exit code' "$code" 125
	with_a_hint 'making namespaces: Operation not permitted' chroot
	expect_code 0 crate run --rm "$BUSYBOX" true
}

# N1: the id map is written by the supervisor: the file is refused, whichever of the three it is.
test_N1_maps_denied() {
	only single
	needs strace
	have "$BUSYBOX"
	local id file place
	id=$(crate create "$BUSYBOX" true)
	run strace -f -y -qq -o writes -e trace=write crate-sup run "$id"
	same 'exit code' "$code" 0
	for file in setgroups uid_map gid_map; do
		place=$(awk -v file="/$file>" 'NR == 1 { own = $1 } $1 == own { count++ } index($0, file) { print count; exit }' writes)
		[ -n "$place" ] || { cat writes >&2; fail "nobody writes $file"; }
		injected "write:error=EPERM:when=$place" crate-sup run "$id"
		same "exit code without $file" "$code" 125
		with_a_hint "/$file: Operation not permitted" chroot
	done
	expect_code 0 crate rm "$id"
}

# N1: the real thing: the limit of a user namespace is reached.
test_N1_no_namespace_is_left() {
	only single
	have "$BUSYBOX"
	local id own
	id=$(crate create "$BUSYBOX" true) own=$(id -u)
	expect_code 125 unshare --user --map-root-user sh -c 'echo 1 >/proc/sys/user/max_user_namespaces &&
		exec unshare --user --map-user="$1" crate-sup run "$2"' sh "$own" "$id"
	with_a_hint 'making namespaces: No space left on device' max_user_namespaces
	expect_code 1 unshare --user --map-root-user sh -c 'echo 1 >/proc/sys/user/max_user_namespaces &&
		exec unshare --user --map-user="$1" crate-sup check' sh "$own"
	has "$WORK/out" 'sysctl -w user.max_user_namespaces='
	expect_code 0 crate rm "$id"
}

# --- N2: ranges of ids that are none ---

# with_ranges TEXT CMD...: as the user of ranges, where /etc/subuid says TEXT.
with_ranges() {
	local text=$1
	shift
	getent passwd crate-ranges >/dev/null || skip 'setup.sh has not made the users'
	mkdir -p own
	chmod 755 . "$STORY_DIR"
	chown crate-ranges own
	printf '%b' "$text" >subid
	unshare --mount --propagation private sh -c 'mount --bind subid /etc/subuid && mount --bind subid /etc/subgid && exec "$@"' sh \
		runuser -u crate-ranges -- env HOME="$WORK/own" CRATE_ROOT="$WORK/own/store" CRATE_RUN="$WORK/own/run" "$@"
}

test_N2_what_subuid_says() {
	only root
	local number
	number=$(id -u crate-ranges)
	with_ranges '' crate pull -q "$BUSYBOX" >/dev/null 2>&1
	expect "0 $number 1" with_ranges '' crate run --rm "$BUSYBOX" sh -c "$MAP"
	expect "0 $number 1" with_ranges 'other:100000:65536\ncrate-ranges:x:1\ncrate-ranges:5\n' crate run --rm "$BUSYBOX" sh -c "$MAP"
	expect_code 125 with_ranges '' crate run --rm --userns ranges "$BUSYBOX" true
	with_a_hint 'has no range' usermod
	# By number, twice, overlapping, and too small for the owners of an image.
	expect "$(printf '0 %s 1\n1 200000 10' "$number")" with_ranges "$number:200000:10\n" crate run --rm "$BUSYBOX" sh -c "$MAP"
	expect "$(printf '0 %s 1\n1 200000 10\n11 300000 5' "$number")" with_ranges \
		"crate-ranges:200000:10\n$number:200000:10\ncrate-ranges:200009:2\ncrate-ranges:300000:5\n" crate run --rm "$BUSYBOX" sh -c "$MAP"
	expect_code 0 with_ranges "$number:200000:10\n" crate rmi -f "$BUSYBOX"
	expect_code 0 with_ranges "$number:200000:10\n" crate-sup unshare crate-store gc
	expect_code 1 with_ranges "$number:200000:10\n" crate pull -q "$BUSYBOX"
	has "$WORK/err" 'only 11 ids are mapped'
	has "$WORK/err" 'hint: give the user a larger range'
}

# Programs that do not do it: one id serves, and a line says so; or it is an error where ranges were asked for.
test_N2_newuidmap_that_fails() {
	only ranges
	have "$BUSYBOX"
	local way
	mkdir bin
	for way in 'cp "$(command -v newuidmap)" "$(command -v newgidmap)" bin/' 'printf "#!/bin/sh\necho no >&2; exit 1\n" >bin/newuidmap && cp bin/newuidmap bin/newgidmap' \
		'printf "#!/bin/sh\nkill -KILL \$\$\n" >bin/newuidmap && cp bin/newuidmap bin/newgidmap'; do
		rm -f bin/*
		eval "$way"
		chmod 755 bin/*
		expect "0 $(id -u) 1" env PATH="$WORK/bin:$PATH" crate run --rm "$BUSYBOX" sh -c "$MAP"
		with_a_hint 'only one id is mapped' 'newuidmap must be setuid'
		expect_code 125 env PATH="$WORK/bin:$PATH" crate run --rm --userns ranges "$BUSYBOX" true
		with_a_hint 'mapping ids: ' 'newuidmap must be setuid'
		expect 0 env PATH="$WORK/bin:$PATH" crate-sup unshare id -u
		expect_code 1 env PATH="$WORK/bin:$PATH" crate check
		grep -A1 '^fails *id-ranges' "$WORK/out" | grep -q 'fix: newuidmap must be setuid' || fail 'check does not tell'
	done
}

test_N2_no_newuidmap() {
	only ranges
	have "$BUSYBOX"
	local path
	path=$(dirname "$(command -v crate)")
	expect "0 $(id -u) 1" env PATH="$path" crate run --rm "$BUSYBOX" sh -c "$MAP"
	expect_code 125 env PATH="$path" crate run --rm --userns ranges "$BUSYBOX" true
	with_a_hint 'newuidmap is missing' uidmap
}

# --- N3 to N6: what the kernel refuses within a user namespace ---

# masked CMD...: in a container whose /proc is not whole. What one namespace has mounted a further one cannot take off.
masked() {
	unshare --user --map-root-user --mount sh -c 'mount -t tmpfs none /proc/sys && exec unshare --user --map-root-user --mount "$@"' sh "$@"
}

# N3: under a /proc that hides something the kernel mounts no other: it is said why, and nothing runs with less.
test_N3_proc_is_masked() {
	have "$BUSYBOX"
	only ranges single
	local id
	id=$(crate create --network host "$BUSYBOX" true)
	expect_code 125 masked crate-sup run "$id"
	with_a_hint 'mounting proc on /proc: Operation not permitted' 'unmask=ALL'
	expect_code 1 masked crate-sup check
	has "$WORK/out" 'unmask=ALL'
	expect_code 0 unshare --user --map-root-user --mount crate-sup run "$id"
	expect_code 0 crate rm "$id"
}

# N4: one page of options holds the names of 127 layers.
test_N4_many_layers() {
	own_store
	local i layers=()
	mkdir layer
	for i in $(seq 126); do
		echo "$i" >"layer/$i"
		tar -cf "$i.tar" -C layer "$i"
		layers+=("$i.tar")
	done
	PACKING=plain sh "$TESTS/image.sh" layout image many '{"Env":["PATH=/bin"]}' "$IMAGES/busybox.tar" "${layers[@]}"
	expect_code 0 crate pull --quiet --as localhost/many:1 oci:image:many
	expect '126 layers' crate run --rm localhost/many:1 sh -c 'n=0; for i in $(seq 126); do [ "$(cat /$i)" = $i ] && n=$((n+1)); done; echo $n layers'
}

# N4: a kernel that refuses the overlay: a copy serves, which is said once.
test_N4_overlay_refused() {
	only root single
	have "$BUSYBOX"
	local id
	id=$(crate create "$BUSYBOX" sh -c 'cat /etc/passwd >/kept && stat -c %a /tmp /shared')
	injected mount:error=EINVAL:when=2 crate-sup run "$id" # The first makes all mounts private.
	same 'exit code' "$code" 0
	has "$WORK/err" 'a private copy'
	same modes "$(tr '\n' ' ' <"$WORK/out")" '1777 2775 '
	expect_code 0 crate-sup run "$id"
	lacks "$WORK/err" 'a private copy'
	expect_code 0 crate rm "$id"
}

# N5: a devpts without the group of terminals, devices by binding, a /sys without a network of its own.
test_N5_filesystems_of_a_user() {
	have "$BUSYBOX"
	expect_code 0 crate run --rm -t "$BUSYBOX" sh -c 'tty && [ -c /dev/console ] && echo x >/dev/pts/0'
	expect_code 0 crate run --rm --network host "$BUSYBOX" sh -c '[ -d /sys/class/net/lo ] && ! echo x >/sys/kernel/uevent_seqnum'
	expect_code 0 crate run --rm "$BUSYBOX" sh -c 'for d in null zero full random urandom tty; do [ -c /dev/$d ] || exit 1; done; head -c 9 /dev/zero | wc -c'
	[ "$KIND" = root ] || expect_code 1 crate run --rm --root-emulation off "$BUSYBOX" mknod /n c 1 3
}

# N6: whatever a container leaves behind is removed: closed directories, owners of a range, the overlay's own.
test_N6_trees_that_resist() {
	own_store
	have "$BUSYBOX"
	local id owner=0
	[ "$KIND" = single ] || owner=1000
	id=$(crate create "$BUSYBOX" sh -c "mkdir -p /a/b/c && touch /a/b/c/d && chown -R $owner /a && chmod 0 /a/b/c /a/b /a && rm /usr/bin/passwd")
	expect_code 0 crate start -a "$id"
	[ "$KIND" = root ] || ! rm -rf "$CRATE_ROOT/containers/$id/upper/a" 2>/dev/null || fail 'it does not resist'
	expect_code 0 crate rm "$id"
	expect_code 0 crate run --rm "$BUSYBOX" sh -c "mkdir -p /a/b && chown -R $owner /a && chmod 0 /a/b /a"
	expect_code 0 in_userns crate-store gc
	same 'what is left' "$(find "$CRATE_ROOT/containers" "$CRATE_ROOT/ingest" -mindepth 1)" ''
	expect_code 0 crate rmi "$BUSYBOX"
	expect_code 0 in_userns crate-store gc
	same 'layers' "$(ls "$CRATE_ROOT/layers")" ''
}

# --- N8: around crate ---

# In a chroot the kernel makes no user namespace (unshare(2)).
test_N8_in_a_chroot() {
	only root
	getent passwd crate-single >/dev/null || skip 'setup.sh has not made the users'
	mkdir -p root
	expect_code 125 unshare --mount --propagation private sh -c 'mount --rbind / root && exec chroot --userspec=crate-single root env \
		CRATE_ROOT="$1/store" CRATE_RUN="$1/run" HOME="$1" crate-sup unshare true' sh "$(dirname "$CRATE_STAGE")/nowhere"
	with_a_hint 'making namespaces: Operation not permitted' 'leave the chroot'
}

# nested FLAG...: busybox in a container of busybox.
nested() {
	crate run --rm "$@" -v "$(dirname "$(command -v crate)"):/crate:ro" -v "$IMAGES/busybox:/image:ro" -v "$WORK/inner:/store" \
		-e CRATE_ROOT=/store -e CRATE_RUN=/run/crate -e PATH=/crate:/bin "$BUSYBOX" sh -c \
		'crate pull -q --as localhost/b:1 oci:/image:busybox:1 >/dev/null && crate run --rm --network none localhost/b:1 sh -c "echo inner; id -u"'
}

# A container in a container: what that needs is allowed by --privileged.
test_N8_in_a_container_of_its_own() {
	have "$BUSYBOX"
	mkdir -p inner
	expect "$(printf 'inner\n0')" nested --privileged
	expect_code 125 nested
	has "$WORK/err" crate-sup
}
