# crate: five static programs. `make` builds them; `make demo` and `make test` also set up what is missing.

ARCH     := $(shell uname -m)
TRIPLE   := $(ARCH)-unknown-linux-musl
PREFIX   ?= /usr/local
PROGRAMS := crate crate-init crate-sup crate-fetch crate-store
OUT      := target/$(TRIPLE)/release
CARGO    := target/cargo-musl

.PHONY: all build setup demo test check lint unit bench bench-start bench-pull size install uninstall clean

all: build

# The musl toolchain, chosen once: the installed target, else `rustup target add`, else Debian's packages.
$(CARGO): tests/setup.sh
	@mkdir -p target
	@sh tests/setup.sh toolchain $(TRIPLE) >$@.new && chmod +x $@.new && mv $@.new $@

# Each program is its own build: one build of the whole workspace would unify the features of what they link.
build: $(CARGO)
	@for p in $(PROGRAMS); do $(CARGO) build --release --target $(TRIPLE) -p $$p || exit 1; done
	@sh tests/static.sh $(addprefix $(OUT)/,$(PROGRAMS))
