#!/bin/sh
# setup.sh WHAT: bring in what this machine lacks, or say exactly what to install.
#   toolchain TRIPLE   print a cargo wrapper that builds static programs for TRIPLE
#   packages NAME...   Debian packages, each named by a program or file that it brings: PACKAGE=PATH
#   demo               what `make demo` needs besides the toolchain
#   tests              what `make test` needs besides the toolchain; as root also two users to run the stories as
#   fuzz               what `make fuzz` needs besides the toolchain: libFuzzer is compiled from C++
#   bench              what `make bench` needs besides
set -eu

say() { echo "setup: $*" >&2; }

# install PACKAGE...: without starting the daemon of any of them (invoke-rc.d(8) asks policy-rc.d).
install() {
	policy=/usr/sbin/policy-rc.d
	if [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"
		trap 'rm -f "$policy"' EXIT
	fi
	get="apt-get install -y -q --no-install-recommends"
	export DEBIAN_FRONTEND=noninteractive
	$get "$@" || { apt-get update -q && $get "$@"; }
}

# packages PACKAGE=PATH...: install the packages whose PATH is missing.
packages() {
	missing=
	for pair in "$@"; do
		path=${pair#*=}
		case $path in
		/*) [ -e "$path" ] || missing="$missing ${pair%%=*}" ;;
		*) command -v "$path" >/dev/null 2>&1 || missing="$missing ${pair%%=*}" ;;
		esac
	done
	[ -n "$missing" ] || return 0
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
		say "installing$missing"
		# shellcheck disable=SC2086
		install $missing >&2 </dev/null || { say "cannot install$missing"; exit 1; }
	else
		say "these Debian packages are missing:$missing"
		say "install them as root: apt-get install --no-install-recommends$missing"
		exit 1
	fi
}

has_std() { # CARGO-DIRECTORY-LESS RUSTC TRIPLE: is std for TRIPLE installed?
	dir=$("$1" --print target-libdir --target "$2" 2>/dev/null) && ls "$dir"/libstd-*.rlib >/dev/null 2>&1
}

# Has RUSTC the sources of std, which are compiled anew so that programs carry only what they use?
has_source() {
	[ -e "$("$1" --print sysroot 2>/dev/null)/lib/rustlib/src/rust/library/std/Cargo.toml" ] &&
		RUSTC_BOOTSTRAP=1 "$1" -Z unstable-options -C panic=immediate-abort --print sysroot >/dev/null 2>&1
}

# Prints the wrapper. Only crate-fetch compiles C (its TLS); it wants musl's headers, hence musl-gcc.
toolchain() {
	triple=$1
	under=$(echo "$triple" | tr - _)
	upper=$(echo "$under" | tr '[:lower:]' '[:upper:]')
	if command -v rustup >/dev/null 2>&1; then
		has_std rustc "$triple" || rustup target add "$triple" >/dev/null 2>&1 || say "rustup cannot fetch $triple"
		has_source rustc || rustup component add rust-src >/dev/null 2>&1 || say "rustup cannot fetch the sources of std"
	fi
	if has_std rustc "$triple" && has_source rustc; then
		packages musl-tools=musl-gcc >&2
		wrapper cargo source ""
	elif has_std rustc "$triple" && [ ! -e /usr/share/doc/rust-web-src ] && { [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; }; then
		say "without the sources of std, programs are 300 KiB larger each: see 'rustup component add rust-src'"
		wrapper cargo compiled ""
	else
		debian
		wrapper /usr/bin/cargo source "-C link-self-contained=no -L native=$PWD/target/native"
	fi
}

# Debian's own toolchain has no std for musl, but its sources; they are linked by musl-gcc.
debian() {
	packages rustc-web=/usr/bin/rustc cargo-web=/usr/bin/cargo rust-web-src=/usr/share/doc/rust-web-src \
		musl-tools=musl-gcc libunwind-14-dev=/usr/lib/llvm-14/lib/libunwind.a gcc=gcc make=make
	has_source /usr/bin/rustc || {
		say "Debian's rustc-web is too old here: it grows with Debian's security updates"
		say "add its suite (bookworm-security for Debian 12) to apt's sources, as a new installation has it, and run:"
		say "apt-get update && apt-get install rustc-web cargo-web rust-web-src"
		exit 1
	}
	# A folder with LLVM's libunwind alone: its own folder holds a shared one too, which must not be found.
	mkdir -p target/native
	cp /usr/lib/llvm-14/lib/libunwind.a target/native/
}

# wrapper CARGO source|compiled FLAGS: the wrapper's text. A panic ends the program at once: nothing unwinds, so
# unwind tables and the text of panics are left out.
wrapper() {
	echo "#!/bin/sh"
	no_tables="-fno-asynchronous-unwind-tables -fno-unwind-tables"
	echo "export CC_$under=musl-gcc CFLAGS_$under='$no_tables'"
	# sha2's compact code is for processors without instructions for SHA-256, and for SHA-512.
	flags='--cfg sha2_backend_soft="compact"'
	flags="$flags -C relocation-model=static -C target-feature=+crt-static -C force-unwind-tables=no -C link-arg=-Wl,-z,noseparate-code"
	case $1 in
	/*) echo "export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc CARGO_TARGET_${upper}_LINKER=musl-gcc" ;;
	esac
	if [ "$2" = source ]; then
		flags="$flags -Z unstable-options -Z location-detail=none"
		cat <<-'END'
			export RUSTC_BOOTSTRAP=1
			case " $* " in
			*" --release "*)
				export CARGO_UNSTABLE_BUILD_STD_FEATURES=optimize_for_size
				export CARGO_UNSTABLE_BUILD_STD=std CARGO_UNSTABLE_PANIC_IMMEDIATE_ABORT=true
				export CARGO_PROFILE_RELEASE_PANIC=immediate-abort ;;
			esac
		END
	fi
	# Tests are built for the host, whose std is there.
	has_std rustc "$triple" || cat <<-'END'
		case " $* " in
		*" --target "*) export CARGO_UNSTABLE_BUILD_STD=${CARGO_UNSTABLE_BUILD_STD:-std,panic_abort,panic_unwind} ;;
		esac
	END
	echo "export CARGO_TARGET_${upper}_RUSTFLAGS='$flags $3'"
	echo "exec $1 \"\$@\""
}

demo() { packages busybox-static=/bin/busybox; }

tests() {
	packages strace=strace e2fsprogs=/sbin/mkfs.ext4 busybox-static=/bin/busybox musl-tools=musl-gcc gcc=gcc docker-registry=docker-registry \
		skopeo=skopeo umoci=umoci \
		debootstrap=/usr/sbin/debootstrap crun=crun uidmap=newuidmap python3=python3 curl=curl jq=jq attr=setfattr \
		libcap2-bin=/sbin/setcap file=file zstd=zstd openssl=openssl iproute2=/sbin/ip libarchive-tools=bsdtar \
		apache2-utils=htpasswd cpio=cpio
	vm
	[ "$(id -u)" = 0 ] || return 0
	user crate-ranges
	user crate-single
	for kind in uid gid; do
		sed -i '/^crate-single:/d' "/etc/sub$kind"
		grep -q '^crate-ranges:' "/etc/sub$kind" || usermod "--add-sub${kind}s" "$(free_range "/etc/sub$kind")" crate-ranges
	done
}

# kernel DIRECTORY: Debian's, with its module for overlays.
kernel() {
	cd "$1" || return 1
	package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p')
	apt-get download -q "$package" >&2 && dpkg -x ./*.deb . && mv boot/vmlinuz-* vmlinuz &&
		find . -name overlay.ko -exec mv {} . \;
	cd - >/dev/null && [ -e "$1/vmlinuz" ] && [ -e "$1/overlay.ko" ]
}

# A kernel for the emulated machine of vm.sh, which is nowhere installed. Where there is none the story is left out.
vm() {
	dir=target/test-cache/vm
	[ "$(uname -m)" = x86_64 ] && [ ! -e "$dir/vmlinuz" ] || return 0
	packages qemu-system-x86=qemu-system-x86_64
	new=$(mktemp -d)
	if kernel "$new"; then
		mkdir -p "$dir" && cp "$new/overlay.ko" "$new/vmlinuz" "$dir/"
	else
		say "cannot bring in a kernel to emulate: the story vm is left out"
	fi
	rm -rf "$new"
}

fuzz() { packages g++=c++; }

bench() { packages bubblewrap=bwrap crun=crun podman=podman; }

user() { id "$1" >/dev/null 2>&1 || useradd --create-home --shell /bin/sh "$1"; }

# The first 65536 ids after all ranges that a file of subuid(5) hands out.
free_range() {
	touch "$1"
	awk -F: 'BEGIN { from = 100000 } $2 + $3 > from { from = $2 + $3 } END { print from "-" from + 65535 }' "$1"
}

what=$1
shift
"$what" "$@"
