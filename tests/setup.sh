#!/bin/sh
# setup.sh WHAT: bring in what this machine lacks, or say exactly what to install.
#   toolchain TRIPLE   print a cargo wrapper that builds static programs for TRIPLE
#   packages NAME...   Debian packages, each named by a program or file that it brings: PACKAGE=PATH
set -eu

say() { echo "setup: $*" >&2; }

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
		{ DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing ||
			{ apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing; }
		} >&2 </dev/null || { say "cannot install$missing"; exit 1; }
	else
		say "these Debian packages are missing:$missing"
		say "install them as root: apt-get install --no-install-recommends$missing"
		exit 1
	fi
}

has_std() { # CARGO-DIRECTORY-LESS RUSTC TRIPLE: is std for TRIPLE installed?
	dir=$("$1" --print target-libdir --target "$2" 2>/dev/null) && ls "$dir"/libstd-*.rlib >/dev/null 2>&1
}

# Prints the wrapper. Only crate-fetch compiles C (its TLS); it wants musl's headers, hence musl-gcc.
toolchain() {
	triple=$1
	under=$(echo "$triple" | tr - _)
	upper=$(echo "$under" | tr '[:lower:]' '[:upper:]')
	if command -v rustc >/dev/null 2>&1 && ! has_std rustc "$triple" && command -v rustup >/dev/null 2>&1; then
		rustup target add "$triple" >/dev/null 2>&1 || say "rustup cannot fetch $triple: building std from Debian's sources"
	fi
	if command -v rustc >/dev/null 2>&1 && has_std rustc "$triple"; then
		packages musl-tools=musl-gcc >&2
		cat <<-END
			#!/bin/sh
			export CC_$under=musl-gcc
			export CARGO_TARGET_${upper}_RUSTFLAGS="-C relocation-model=static -C target-feature=+crt-static"
			exec cargo "\$@"
		END
		return
	fi
	packages rustc-web=/usr/bin/rustc cargo-web=/usr/bin/cargo rust-web-src=/usr/share/doc/rust-web-src \
		musl-tools=musl-gcc libunwind-14-dev=/usr/lib/llvm-14/lib/libunwind.a gcc=gcc make=make
	# A folder with LLVM's libunwind alone: its own folder holds a shared one too, which must not be found.
	native=$PWD/target/native
	mkdir -p "$native"
	cp /usr/lib/llvm-14/lib/libunwind.a "$native/"
	cat <<-END
		#!/bin/sh
		export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc RUSTC_BOOTSTRAP=1
		export CC_$under=musl-gcc CARGO_TARGET_${upper}_LINKER=musl-gcc
		export CARGO_UNSTABLE_BUILD_STD=std,panic_abort
		export CARGO_TARGET_${upper}_RUSTFLAGS="-C link-self-contained=no -C relocation-model=static -C target-feature=+crt-static -L native=$native"
		exec /usr/bin/cargo "\$@"
	END
}

what=$1
shift
"$what" "$@"
