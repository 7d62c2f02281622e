#!/bin/bash
# packages.sh: package managers in containers. A package has files of several owners, setuid files, and a script that makes
# users and gives files away: where root is the only id all of that seems done; with more ids it is.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# deb: makes several.deb, as anybody: the owners are only said in its archives.
deb() {
	mkdir -p control data/usr/bin data/srv/several
	cat >control/control <<-'END'
		Package: several
		Version: 1
		Architecture: all
		Maintainer: Nobody <nobody@localhost>
		Description: files of several owners
	END
	cat >control/postinst <<-'END'
		#!/bin/sh
		set -e
		addgroup --quiet --system several
		adduser --quiet --system --ingroup several --home /var/lib/several several
		useradd --system --home-dir /var/lib/more --create-home more
		chown -R several:several /srv/several
		chmod 2770 /srv/several
		install -d -o several -g adm -m 750 /var/log/several
		install -o more -g mail -m 640 /dev/null /var/log/several/log
		mkfifo -m 600 /srv/several/pipe
		su -s /bin/sh several -c 'echo as several >/var/lib/several/su'
		setpriv --reuid=several --regid=several --clear-groups sh -c 'echo as several >/var/lib/several/setpriv'
		cp -a /usr/bin/of-mail /usr/bin/copied
		tar -C / -cf - usr/bin/of-mail | tar -C /srv -xpf -
	END
	chmod 755 control/postinst
	local name
	for name in of-root of-mail of-games; do
		printf '#!/bin/sh\necho %s\n' $name >"data/usr/bin/$name"
		chmod 755 "data/usr/bin/$name"
	done
	chmod 4755 data/usr/bin/of-mail
	chmod 2755 data/usr/bin/of-games
	echo text >data/srv/several/text
	entries() { tar -rf data.tar -C data --no-recursion --numeric-owner "$@"; }
	entries --owner=:0 --group=:0 ./usr ./usr/bin ./usr/bin/of-root ./srv
	entries --owner=:8 --group=:8 ./usr/bin/of-mail
	entries --owner=:5 --group=:60 ./usr/bin/of-games
	entries --owner=:33 --group=:33 ./srv/several ./srv/several/text
	gzip -nf data.tar
	tar -czf control.tar.gz -C control --owner=:0 --group=:0 .
	echo 2.0 >debian-binary
	rm -f several.deb
	ar rcD several.deb debian-binary control.tar.gz data.tar.gz
}

# Owners, modes and names of what the package brought and made, with root for its owners where nobody else is.
listed() {
	cat >list <<-'END'
		root:root 755 usr/bin/of-root
		mail:mail 4755 usr/bin/of-mail
		games:games 2755 usr/bin/of-games
		several:several 2770 srv/several
		several:several 644 srv/several/text
		several:adm 750 var/log/several
		more:mail 640 var/log/several/log
		several:several 644 var/lib/several/su
		several:several 644 var/lib/several/setpriv
		mail:mail 4755 usr/bin/copied
		mail:mail 4755 srv/usr/bin/of-mail
	END
	case $KIND in
	single) sed 's/^[^ ]*/root:root/' list ;;
	*) cat list ;;
	esac
}

# install_and SCRIPT FLAG...: installs the package as a user would type it, then runs a script; the output follows `---`.
install_and() {
	crate run --rm --network host -v "$PWD/several.deb:/a.deb:ro" -w / "${@:2}" "$DEBIAN" sh -c "apt-get install -y ./a.deb && echo --- && $1"
}

test_apt_get_installs_files_of_several_owners() {
	needs ar
	needs_debian
	have "$DEBIAN"
	deb
	expect_code 0 install_and "stat -c '%U:%G %a %n' $(listed | cut -d ' ' -f 3 | tr '\n' ' ') &&
		dpkg-query -W -f '\${Status}\n' several && getent passwd several more | cut -d : -f 1,6 && of-mail"
	sed '1,/^---$/d' "$WORK/out" >inside
	{ listed && printf '%s\n' 'install ok installed' several:/var/lib/several more:/var/lib/more of-mail; } | diff -u - inside ||
		fail 'the files are not as the package has them'
	lacks "$WORK/err" sandbox
	expect_code 0 crate run --rm --network host -v "$PWD/several.deb:/a.deb:ro" -w / "$DEBIAN" apt-get install -y ./a.deb
	# What is installed once can be removed.
	expect_code 0 install_and 'apt-get purge -y several && ! [ -e /usr/bin/of-mail ]'
}

# The kernel's own errors, where they are asked for: without the emulation all of this would fail.
test_without_the_emulation_it_fails() {
	only single
	needs ar
	needs_debian
	have "$DEBIAN"
	deb
	expect_code 100 install_and true --root-emulation off
	expect_code 1 crate run --rm --root-emulation off "$BUSYBOX" chown 1 /etc/passwd
}

# What is only said to be done, and what it looks like afterwards.
test_what_the_emulation_says() {
	only single
	have "$BUSYBOX"
	expect 0:0 crate run --rm "$BUSYBOX" sh -c 'chown 33:33 /etc/passwd && stat -c %u:%g /etc/passwd'
	expect_code 0 crate run --rm "$BUSYBOX" sh -c 'mknod /null c 1 3 && [ ! -e /null ] && mknod /pipe p && [ -p /pipe ]'
	expect 0 crate run --rm "$BUSYBOX" su app -c 'id -u'
	expect_code 0 crate run --rm "$BUSYBOX" sh -c 'tar -C / -cf - shared home | tar -C /tmp -xpf - && cp -a /home /tmp/home2'
	# A further program is told the same.
	local id
	id=$(crate run -d "$BUSYBOX" probe wait)
	expect 0:0 crate exec "$id" sh -c 'chown 33:33 /etc/passwd && stat -c %u:%g /etc/passwd'
	expect_code 0 crate rm -f "$id"
}

# apt's sandbox is left out by a file that is shown, not written: the image's own files have an empty one in its place, and an
# image without apt none. What the caller has mounted there is not touched.
test_apt_is_told_by_a_file() {
	needs_debian
	have "$DEBIAN" "$BUSYBOX"
	local file=/etc/apt/apt.conf.d/zz-crate id
	if [ "$KIND" != single ]; then
		expect_code 1 crate run --rm "$DEBIAN" test -e $file
		return
	fi
	expect 'APT::Sandbox::User "root";' crate run --rm --read-only "$DEBIAN" cat $file
	expect_code 2 crate run --rm "$DEBIAN" sh -c "echo >$file"
	expect_code 1 crate run --rm --root-emulation off "$DEBIAN" test -e $file
	expect_code 1 crate run --rm "$BUSYBOX" test -e /etc/apt
	mkdir apt.conf.d
	expect_code 1 crate run --rm -v "$PWD/apt.conf.d:/etc/apt/apt.conf.d" "$DEBIAN" test -e $file
	same 'what is mounted' "$(ls apt.conf.d)" ''
	id=$(crate run -d "$DEBIAN" sleep 100)
	expect 'APT::Sandbox::User "root";' crate exec "$id" cat $file
	crate export "$id" | tar -xOf - "${file#/}" >exported
	same 'what is exported' "$(cat exported)" ''
	expect_code 0 crate rm -f "$id"
}
