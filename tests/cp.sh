#!/bin/bash
# cp.sh: files into containers and out of them, running or not, and what hostile ones make of it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# box [FLAG...]: sets id to a container that has never been started.
box() {
	have "$BUSYBOX"
	id=$(crate create "$@" "$BUSYBOX" true)
}

# running SCRIPT [FLAG...]: sets id to a container whose shell carries out the script, and then waits.
running() {
	local script=$1
	shift
	have "$BUSYBOX"
	id=$(crate create "$@" "$BUSYBOX" sh -c "$script"'
		exec probe wait')
	crate-sup start "$id" >"$WORK/started"
}

# ends ID: kills what still runs of it, and removes it.
ends() {
	crate-sup kill --wait "$1" >/dev/null
	crate rm "$1" >/dev/null
}

# inside ID CMD...: a command of the host's static busybox among the container's files.
inside() {
	local box=$1
	shift
	crate-sup visit "$box" -- /bin/busybox "$@"
}

tree() { python3 "$TESTS/tree.py" "$@"; }

# A tree of what files can be, without what only root can make.
make_tree() { # DIR
	mkdir -p "$1/sub/deep" "$1/empty"
	printf 'one\n' >"$1/file"
	head -c 300000 /dev/urandom >"$1/sub/random"
	ln "$1/file" "$1/sub/again"
	ln -s file "$1/link"
	ln -s sub "$1/folder-link"
	ln -s /no/where "$1/dangling"
	mkfifo "$1/fifo"
	printf '#!/bin/sh\n' >"$1/sub/deep/script"
	chmod 750 "$1/sub/deep/script"
	chmod 1777 "$1/empty"
	setfattr -n user.note -v text "$1/file"
	touch -h -d '2001-02-03 04:05:06.789' "$1/file" "$1/sub/random" "$1/link" "$1/sub/deep" "$1/sub" "$1"
}

# --- files and directories ---

test_a_file_both_ways() {
	box
	printf 'content\n' >file
	chmod 640 file
	touch -d '2001-02-03 04:05:06.789' file
	expect_code 0 crate cp file "$id:/tmp"
	nothing_out
	expect_code 0 crate cp file "$id:/tmp/other"
	expect_code 0 crate cp "$id:/tmp/file" back
	expect_code 0 crate cp "$id:tmp/other" .
	local name
	for name in back other; do
		cmp file "$name"
		same 'mode and time' "$(stat -c '%a %y' "$name")" "$(stat -c '%a %y' file)"
		same owner "$(stat -c %u "$name")" "$(id -u)"
	done
	expect "$(printf '640 0 0\n640 0 0')" inside "$id" stat -c '%a %u %g' /tmp/file /tmp/other
	# What is there is replaced, also by way of a link to a directory at the end.
	echo new >file
	ln -s "$WORK" folder-link
	expect_code 0 crate cp file "$id:/tmp/other"
	expect_code 0 crate cp "$id:/tmp/other" folder-link
	same content "$(cat other)" new
	crate rm "$id" >/dev/null
}

test_directories_as_cp_copies_them() {
	box
	make_tree tree
	local form
	mkdir ours theirs
	for form in 'tree there' 'tree new' 'tree/. there' 'tree/. fresh' 'tree/ slash' 'tree/folder-link there' 'tree/folder-link/ followed'; do
		rm -rf ours theirs
		mkdir -p ours/there theirs/there
		cp -r --preserve=mode,timestamps,links,xattr "${form% *}" "ours/${form#* }"
		expect_code 0 crate cp theirs "$id:/work"
		expect_code 0 crate cp "${form% *}" "$id:/work/${form#* }"
		rm -r theirs
		expect_code 0 crate cp "$id:/work" theirs
		inside "$id" ls /work >/dev/null
		diff <(tree --no-dir-times ours) <(tree --no-dir-times theirs) || fail "cp $form differs"
		crate-sup visit -w "$id" -- /bin/busybox rm -r /work
	done
	crate rm "$id" >/dev/null
}

test_what_cp_refuses() {
	box
	mkdir folder
	echo x >file
	local err
	for err in "3 $id:/no/such ." "3 no-such-box:/etc ." "3 file $id:/no/such/folder/" "3 file $id:/no/such/name" "1 folder $id:/etc/passwd" \
		"1 $id:/etc file" "3 file $id:/new/" "3 no-such-file $id:/tmp" "3 $id:/etc/passwd no/such/"; do
		# shellcheck disable=SC2086
		expect_code "${err%% *}" crate cp ${err#* }
		same "lines for $err" "$(wc -l <"$WORK/err")" 1
		nothing_out
	done
	same 'the file' "$(cat file)" x
	for err in '' 'one' 'a b' 'a b c' "- -" "$id:/etc $id:/tmp x" '--no-such-flag a b'; do
		# shellcheck disable=SC2086
		expect_code 2 crate cp $err
	done
	expect_code 0 crate cp --help
	crate rm "$id" >/dev/null
}

test_names_of_any_bytes() {
	box
	mkdir names
	local long name
	long=$(printf 'l%.0s' $(seq 255))
	for name in ' ' $'new\nline' $'\xff\xfe' -rf a:b '*' '$HOME' "$long"; do
		mkdir -p "names/$name"
		echo "$name" >"names/$name/$long"
	done
	expect_code 0 crate cp names "$id:/tmp"
	expect_code 0 crate cp "$id:/tmp/names" back
	diff -r names back
	echo dash >-file
	echo colon >a:b
	expect_code 0 crate cp -- -file "$id:/tmp"
	expect_code 0 crate cp ./a:b "$id:/tmp/c:d"
	expect_code 0 crate cp "$id:/tmp/c:d" back.colon
	cmp a:b back.colon
	expect dash inside "$id" cat /tmp/-file
	crate rm "$id" >/dev/null
}

test_links() {
	box
	echo text >file
	ln -s file link
	ln -s . here
	expect_code 0 crate cp link "$id:/tmp/as-link"
	expect_code 0 crate cp -L link "$id:/tmp/as-file"
	expect 'symbolic link' inside "$id" stat -c %F /tmp/as-link
	expect 'regular file' inside "$id" stat -c %F /tmp/as-file
	expect_code 0 crate cp -L "$id:/bin/sh" shell
	cmp shell /bin/busybox
	crate rm "$id" >/dev/null
}

test_between_containers() {
	box
	local one=$id
	box
	make_tree tree
	expect_code 0 crate cp tree "$one:/"
	expect_code 0 crate cp "$one:/tree" "$id:/tmp"
	expect_code 0 crate cp "$id:/tmp/tree" back
	diff <(tree tree) <(tree back)
	crate rm "$one" "$id" >/dev/null
}

# --- owners and rights ---

test_owners_are_kept_where_asked() {
	only root ranges
	box
	local one=$id
	box
	expect_code 0 crate cp -a "$one:/home/app" "$id:/kept"
	expect_code 0 crate cp "$one:/home/app" "$id:/given"
	expect_code 0 crate cp -a "$one:/shared" "$id:/tmp"
	expect "$(printf '1000 1000 755\n0 0 755\n0 50 2775')" inside "$id" stat -c '%u %g %a' /kept /given /tmp/shared
	expect_code 0 crate cp -a "$one:/home/app" .
	if [ "$KIND" = root ]; then same owner "$(stat -c %u:%g app)" 1000:1000; fi
	crate rm "$one" "$id" >/dev/null
}

test_setuid_stays_inside() {
	box
	expect_code 0 crate cp "$id:/usr/bin/passwd" .
	same mode "$(stat -c %a passwd)" 755
	expect_code 0 crate cp -a "$id:/usr/bin/passwd" kept
	same mode "$(stat -c %a kept)" 4755
	expect_code 0 crate cp kept "$id:/tmp/setuid"
	expect 4755 inside "$id" stat -c %a /tmp/setuid
	crate rm "$id" >/dev/null
}

test_devices_are_not_handed_out() {
	only root
	running 'mkdir /d && mknod /d/disk b 8 0 && mkfifo /d/fifo && echo x >/d/file && : >/d/ready'
	until inside "$id" test -e /d/ready; do sleep 0.05; done
	expect_code 0 crate cp "$id:/d" .
	has "$WORK/err" 'devices left out: 1'
	expect_code 0 crate cp -q "$id:/d" .
	[ ! -s "$WORK/err" ] || fail 'quiet is not quiet'
	same names "$(echo d/*)" 'd/fifo d/file d/ready'
	ends "$id"
}

# --- archives ---

test_archives_on_standard_streams() {
	box
	make_tree tree
	expect_code 0 crate cp tree "$id:/tmp"
	crate cp "$id:/tmp/tree" - | tar -xpf - --xattrs --xattrs-include='user.*'
	expect_code 0 crate cp "$id:/tmp/tree" again
	diff <(tree tree) <(tree again)
	tar -cf - -C tree . | crate cp - "$id:/home"
	tar -czf - tree | crate cp - "$id:/home"
	diff <(inside "$id" find /home/sub /home/tree/sub -type f -exec md5sum {} + | cut -d ' ' -f 1 | sort | uniq -c | awk '{ print $1 }' | sort -u) <(echo 2)
	# The destination of an archive is a directory.
	tar -cf one.tar tree
	expect_code 3 crate cp - "$id:/no/such" <one.tar
	expect_code 1 crate cp - "$id:/etc/passwd" <one.tar
	crate rm "$id" >/dev/null
}

test_archives_that_lead_out_are_refused() {
	box
	mkdir -p outside in/a
	echo canary >outside/canary
	ln -s "$WORK/outside" in/link
	ln -s ../../../../../../../../.. in/up
	tar -cf through.tar -C in link
	rm in/link && mkdir in/link && echo bad >in/link/canary
	tar -rf through.tar -C in link/canary
	tar -cf upwards.tar -P --transform 's|^|../|' -C in link/canary
	python3 - <<-'EOF'
		import io, tarfile
		with tarfile.open("hard.tar", "w") as tar:
		    info = tarfile.TarInfo("x"); info.type = tarfile.LNKTYPE; info.linkname = "../outside/canary"; tar.addfile(info)
		with tarfile.open("deep.tar", "w") as tar:
		    for path, kind, target in (("a", tarfile.SYMTYPE, "."), ("a/b", tarfile.SYMTYPE, "../outside"), ("a/b/canary", tarfile.REGTYPE, "")):
		        info = tarfile.TarInfo(path); info.type = kind; info.linkname = target; tar.addfile(info)
		with tarfile.open("hardsym.tar", "w") as tar:
		    for path, kind, target in (("l", tarfile.SYMTYPE, "out/canary"), ("h", tarfile.LNKTYPE, "l"), ("h", tarfile.REGTYPE, "")):
		        info = tarfile.TarInfo(path); info.type = kind; info.linkname = target; tar.addfile(info, io.BytesIO(b""))
	EOF
	local name
	for name in through upwards hard deep; do
		expect_code 6 crate cp - "$id:/tmp" <"$name.tar"
		rm -rf place && mkdir place
		expect_code 6 crate-store untar place <"$name.tar"
		one_line crate-store
		same canary "$(cat outside/canary)" canary
	done
	# A link of a link is replaced by what has its name, and not written through.
	rm -rf place && mkdir -p place/out && echo canary >place/out/canary
	expect_code 0 crate-store untar place <hardsym.tar
	same canary "$(cat place/out/canary)" canary
	head -c 3000 through.tar >cut.tar
	echo garbage >garbage.tar
	for name in cut garbage; do expect_code 6 crate cp - "$id:/tmp" <"$name.tar"; done
	crate rm "$id" >/dev/null
}

# --- hostile containers ---

# CVE-2018-15664: links of the container, swapped while it is copied, lead to files of the container alone.
test_links_of_a_container_lead_nowhere_else() {
	mkdir -p secret
	echo secret >secret/passwd
	running "mkdir -p /w/real '$WORK/secret' /trap && echo inside >/w/real/passwd && echo inside >'$WORK/secret/passwd'
		ln -s '$WORK/secret' /w/link; ln -s /proc/1/root/../../../../.. /w/magic; ln -s ../../../../../../../../../../ /w/up
		while :; do ln -sfn '$WORK/secret' /trap/d; rm -f /trap/d; mkdir /trap/d; echo inside >/trap/d/passwd; rm -r /trap/d; done & : >/w/ready"
	until inside "$id" test -e /w/ready; do sleep 0.05; done
	echo bad >bad
	local path
	for path in "/w/link/passwd" "/w/up$WORK/secret/passwd" "$WORK/secret/passwd"; do
		expect_code 0 crate cp "$id:$path" got
		same "content of $path" "$(cat got)" inside
		expect_code 0 crate cp bad "$id:$path"
		same 'the secret' "$(cat secret/passwd)" secret
		printf 'inside\n' | crate-sup visit "$id" -- /bin/busybox tee "$WORK/secret/passwd" >/dev/null
	done
	run crate cp "$id:/w/magic/etc" got.magic
	for _ in $(seq 25); do
		rm -rf got.d
		run crate cp -L "$id:/trap/d" got.d
		[ ! -e got.d/passwd ] || lacks got.d/passwd secret
		run crate cp bad "$id:/trap/d/passwd"
		same 'the secret' "$(ls secret) $(cat secret/passwd)" 'passwd secret'
	done
	ends "$id"
}

# The same with a swap that is as fast as can be, in one step, on both sides of a copy.
test_trees_that_are_swapped_lead_nowhere_else() {
	mkdir -p tree/sub/deep secret place/sub
	echo inside | tee tree/sub/deep/file tree/sub/file >/dev/null
	echo secret | tee secret/file >secret/own
	mkdir secret/deep && cp secret/file secret/deep
	crate-store tar tree/. >tree.tar
	ln -s "$WORK/secret" tree/other
	ln -s "$WORK/secret" place/other
	cat >swap.py <<-'EOF'
		import ctypes, os
		libc = ctypes.CDLL(None)
		print("ready", flush=True)
		while os.getppid() != 1:
		    for place in (b"tree", b"place"):
		        libc.renameat2(-100, place + b"/sub", -100, place + b"/other", 2)
	EOF
	coproc python3 swap.py
	local pid=$COPROC_PID
	started+=("$pid")
	read -r _ <&"${COPROC[0]}"
	local before
	before=$(tree --no-dir-times secret)
	for _ in $(seq "$([ "${STORM:-}" = full ] && echo 1000 || echo 150)"); do
		expect_code 0 crate-store tar tree
		! grep -a -q '^secret' "$WORK/out" || fail 'a file from outside was read'
		run crate-store untar place <tree.tar
	done
	kill "$pid"
	same 'what the link leads to' "$(tree --no-dir-times secret)" "$before"
	[ -e place/sub/deep/file ] || [ -e place/other/deep/file ] || fail 'nothing was ever unpacked'
}

# CVE-2019-14271: nothing of the container is executed or loaded, and the program is none that would load something.
test_nothing_of_the_container_is_run() {
	own_store
	local name libraries='lib64/ld-linux-x86-64.so.2 lib/ld-musl-x86_64.so.1 lib/x86_64-linux-gnu/libnss_files.so.2'
	for name in crate-store bin/crate-store usr/bin/crate-store bin/tar usr/bin/unpigz usr/bin/xz $libraries; do
		mkdir -p "layer/$(dirname "$name")"
		printf '#!/bin/sh\n: >/pwned\n' >"layer/$name"
		chmod 755 "layer/$name"
	done
	tar -cf layer.tar -C layer crate-store bin usr lib lib64
	sh "$TESTS/image.sh" layout "$WORK/image" trap '{"Env":["PATH=/bin"]}' "$IMAGES/busybox.tar" layer.tar
	expect_code 0 crate pull --quiet --as localhost/trap:1 "oci:$WORK/image:trap"
	id=$(crate create localhost/trap:1 true)
	expect_code 0 crate cp "$id:/etc" .
	expect_code 0 crate cp etc "$id:/copied"
	expect_code 1 inside "$id" ls /pwned
	local dynamic
	dynamic=$(command -v python3)
	expect_code 125 crate-sup visit "$id" -- "$dynamic" -c 'print(1)'
	one_line crate-sup 'not a statically linked program'
	expect_code 125 crate-sup visit "$id" -- "$TESTS/image.sh"
	expect_code 125 crate-sup visit "$id" -- no-such-program
	crate rm "$id" >/dev/null
}

test_the_visitor_is_out_of_sight() {
	running ': >/tmp/ready; while :; do ls /proc >>/tmp/seen; done &'
	until inside "$id" test -e /tmp/ready; do sleep 0.05; done
	# Its own process is none that the container's /proc knows.
	expect_code 1 inside "$id" ls /proc/self/
	expect_code 0 inside "$id" sh -c 'sleep 1; sort -n -u /tmp/seen | grep "^[0-9]" | while read pid; do cat /proc/$pid/cmdline; done 2>/dev/null; :'
	lacks "$WORK/out" 'sleep'
	# It can make and give away files, and nothing else.
	expect_code 0 inside "$id" sh -c 'touch /tmp/own; exit 0'
	expect_code 1 inside "$id" mount -t tmpfs none /tmp
	ends "$id"
}

# --- running containers, and their mounts ---

test_a_running_container_sees_what_is_copied() {
	have "$BUSYBOX"
	id=$(crate create "$BUSYBOX" sh -c 'echo from-inside >/run/made; until [ -e /run/go ]; do sleep 0.05; done; exit "$(cat /run/go)"')
	crate-sup start "$id" >/dev/null
	until crate cp "$id:/run/made" made 2>/dev/null; do sleep 0.05; done
	same content "$(cat made)" from-inside
	echo 7 >go.new
	# The last step is a rename: half a file is not to be read.
	expect_code 0 crate cp go.new "$id:/run/new"
	expect_code 0 inside "$id" mv /run/new /run/go
	expect 7 crate-sup wait "$id"
	# What was in memory is gone with it.
	expect_code 3 crate cp "$id:/run/made" .
	crate rm "$id" >/dev/null
}

# What the kernel shows of itself is no part of a root file system; asked for by its name, it is read to its end.
test_of_proc_what_is_asked_for() {
	running 'echo x >/new'
	eventually eval 'crate cp -q "$id:/new" written 2>/dev/null && [ -s written ]'
	expect_code 0 crate cp -q "$id:/" all
	same new "$(cat all/new)" x
	for name in proc sys; do
		[ -d "all/$name" ] || fail "all/$name is missing"
		same "what is in $name" "$(ls "all/$name")" ''
	done
	expect_code 0 crate cp "$id:/proc/1/status" .
	same 'its name' "$(head -n 1 status)" "$(printf 'Name:\tprobe')"
	expect_code 0 crate cp "$id:/proc/crypto" . # Of more than one page.
	same 'names' "$(grep ^name crypto)" "$(grep ^name /proc/crypto)"
	ends "$id"
}

test_volumes_are_seen_running_or_not() {
	mkdir vol vol.ro
	echo old >vol/file
	echo old >single
	echo new >new
	local state
	for state in created running; do
		if [ "$state" = created ]; then
			box -v "$WORK/vol:/vol" -v "$WORK/vol.ro:/not/there/yet:ro" -v "$WORK/single:/etc/single"
		else
			running : -v "$WORK/vol:/vol" -v "$WORK/vol.ro:/not/there/yet:ro" -v "$WORK/single:/etc/single"
		fi
		expect_code 0 crate cp "$id:/vol/file" got
		same content "$(cat got)" old
		expect_code 0 crate cp new "$id:/vol/$state"
		same content "$(cat "vol/$state")" new
		expect_code 1 crate cp new "$id:/not/there/yet"
		has "$WORK/err" 'Read-only file system'
		# A file that is mounted cannot be replaced, but written.
		echo old >single
		expect_code 0 crate cp new "$id:/etc/single"
		same content "$(cat single)" new
		if [ "$state" = created ]; then crate rm "$id" >/dev/null; else ends "$id"; fi
	done
	same names "$(echo vol/* vol.ro/*)" 'vol/created vol/file vol/running vol.ro/*'
}

# A record whose process is another by now: the container does not run, and the stranger is not joined.
test_a_stranger_with_its_number_is_not_joined() {
	box
	mkdir stranger
	sleep 1000 &
	started+=($!)
	mkdir -p "$CRATE_RUN/$id"
	local boot record
	boot=$(cat /proc/sys/kernel/random/boot_id)
	for record in "\"start\":1,\"boot\":\"$boot\"" "\"start\":$(awk '{ print $22 }' "/proc/${started[0]}/stat"),\"boot\":\"another\""; do
		printf '{"pid":%s,%s,"supervisor":1,"runs":true}' "${started[0]}" "$record" >"$CRATE_RUN/$id/pid"
		expect 'ID=busybox' inside "$id" grep ID= /etc/os-release
		expect_code 1 inside "$id" ls "$WORK/stranger"
		expect_code 0 crate cp stranger "$id:/tmp"
	done
	crate rm "$id" >/dev/null
}

test_nobody_else_writes_while_one_does() {
	box
	mkfifo hold
	crate-sup visit -w "$id" -- /bin/busybox sh -c 'echo ready; cat >/tmp/held' <hold >ready.fifo &
	local pid=$!
	started+=("$pid")
	exec 7>hold
	until [ -s ready.fifo ]; do sleep 0.05; done
	echo x >file
	expect_code 4 crate cp file "$id:/tmp"
	one_line crate-sup 'another program writes'
	expect_code 4 crate rm "$id"
	expect_code 4 crate-sup run "$id"
	# Reading goes on beside it.
	expect_code 0 crate cp "$id:/etc/passwd" file
	echo content >&7
	exec 7>&-
	wait "$pid"
	expect content inside "$id" cat /tmp/held
	expect_code 0 crate cp file "$id:/tmp"
	expect_code 0 crate-sup run "$id"
	crate rm "$id" >/dev/null
}

test_only_a_visit_to_write_writes() {
	box
	expect_code 1 inside "$id" touch /tmp/file
	has "$WORK/err" 'Read-only file system'
	expect_code 0 crate-sup visit --write "$id" -- /bin/busybox touch /tmp/file
	expect_code 0 inside "$id" ls /tmp/file
	expect_code 7 inside "$id" sh -c 'exit 7'
	expect_code 3 crate-sup visit no-such-box -- /bin/busybox true
	expect_code 2 crate-sup visit "$id"
	expect_code 2 crate-sup visit
	crate rm "$id" >/dev/null
}

# --- export ---

exported() { crate-sup visit --bare "$1" -- crate-store tar --one-file-system .; }

# What the layers of the image hold, the base first, as their archives list it.
image_list() {
	{
		tar -tf "$IMAGES/busybox.tar" | grep -v -e '^etc/text$' -e '^folder.d/.'
		printf 'added/\nadded/file\n'
	} | sort -u
}

test_export_is_the_image_and_what_has_changed() {
	have "$BUSYBOX"
	id=$(crate create "$BUSYBOX" true)
	diff <(exported "$id" | tar -tf - | grep -v '^\./$' | sort) <(image_list)
	id=$(crate create "$BUSYBOX" sh -c 'echo x >/new && rm /etc/group && mkdir /made && echo changed >/etc/os-release && mkdir -p /proc/x; :')
	expect_code 0 crate-sup run "$id"
	exported "$id" >out.tar
	tar -tf out.tar | grep -v '^\./$' | sort >names
	for name in new made/ dev/ proc/ sys/; do grep -q -x "$name" names || fail "$name is missing"; done
	for name in proc sys dev/pts; do ! grep -q "^$name/." names || fail "what is in $name is exported"; done
	! grep -q -x etc/group names || fail 'what was removed is exported'
	same content "$(tar -xOf out.tar etc/os-release)" changed
	same modes "$(tar -tvf out.tar tmp/ usr/bin/passwd | awk '{ print $1 }' | tr '\n' ' ')" 'drwxrwxrwt -rwsr-xr-x '
	crate rm "$id" >/dev/null
}

test_export_of_a_running_container_is_of_its_files_alone() {
	running 'echo hidden >/run/hidden; echo x >/seen; : >/tmp/ready' -v "$WORK:/vol"
	until inside "$id" test -e /tmp/ready; do sleep 0.05; done
	exported "$id" >out.tar
	tar -tf out.tar >names
	grep -q -x seen names || fail 'its files are missing'
	for name in proc sys dev run vol; do
		grep -q -x "$name/" names || fail "$name/ is missing"
		! grep -q "^$name/." names || fail "what is mounted on $name is exported"
	done
	lacks names dev/null
	ends "$id"
}
