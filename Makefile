# crate: five static programs. `make` builds them; `make demo` and `make test` also set up what is missing.

ARCH     := $(shell uname -m)
TRIPLE   := $(ARCH)-unknown-linux-musl
PREFIX   ?= /usr/local
BINDIR   := $(DESTDIR)$(PREFIX)/bin
MANDIR   := $(DESTDIR)$(PREFIX)/share/man
PROGRAMS := crate crate-init crate-sup crate-fetch crate-store
OUT      := target/$(TRIPLE)/release
CARGO    := target/cargo-musl
MANUALS  := $(wildcard man/*.[1-8])

.PHONY: all build demo test test-faults check lint unit stories fuzz bench bench-start bench-pull size install uninstall clean

all: build

# The musl toolchain, chosen once: rustup's, else Debian's packages; either compiles std anew, for size.
$(CARGO): tests/setup.sh
	@mkdir -p target
	@sh tests/setup.sh toolchain $(TRIPLE) >$@.new && chmod +x $@.new && mv $@.new $@

# In crate-store nothing prints by printf(3): only pthread_setname_np(3) of musl refers to it, and calls it for no thread but
# another one, which std never names.
FLAGS_crate-store := -C link-arg=-Wl,--defsym=snprintf=abort

# Nothing protects what is read-only after relocation in a static program of musl, so nothing is padded to a page for it.
FLAGS_crate-init := -C relro-level=off

# Each program is its own build: one build of the whole workspace would unify the features of what they link.
build: $(CARGO)
	@$(foreach p,$(PROGRAMS),$(CARGO) rustc --release --target $(TRIPLE) -p $(p) --bin $(p) -- $(FLAGS_$(p)) &&) true
	@sh tests/static.sh $(addprefix $(OUT)/,$(PROGRAMS))

# A first container, from an image made on the spot of Debian's busybox: no registry, no network, nothing left behind.
demo: build
	@sh tests/setup.sh demo
	@sh tests/demo.sh $(OUT)

# Ends with the line `N passed, N failed, N skipped`.
test: build
	@sh tests/setup.sh tests
	@bash tests/all.sh $(CARGO)

unit: $(CARGO)
	@bash tests/all.sh $(CARGO) unit

stories: build
	@sh tests/setup.sh tests
	@bash tests/all.sh $(CARGO) stories

# Every command that changes the store, killed at every system call of any thread, and with a full or failing disk at every call that
# changes a file; the counts are printed. `make test` plays a sample of it.
test-faults: build
	@sh tests/setup.sh tests
	@STORM=full CASE_TIMEOUT=900 bash tests/stage.sh bash -c 'bash tests/story.sh faults; code=$$?; \
		grep -h "^faults:" "$$CRATE_STAGE"/tmp/faults.*.log; exit $$code'

# Each parser of foreign bytes under libFuzzer: `make fuzz TARGET=tar SECONDS=60`; all of them, ten minutes each, without.
SECONDS ?= 600
fuzz: $(CARGO)
	@sh tests/setup.sh fuzz
	@bash tests/fuzz.sh $(CARGO) $(SECONDS) $(TARGET)

check: lint size test

lint: build
	@sh tests/lint.sh $(CARGO)

# Bytes of each program; more than the budget is an error.
size: build
	@sh tests/size.sh $(OUT)

bench: bench-start bench-pull

# Start of a container beside bubblewrap and crun on the same root filesystem, as an ordinary user.
bench-start: build
	@sh tests/setup.sh tests
	@sh tests/setup.sh bench
	@bash tests/stage.sh bash tests/bench.sh start

# Pull of a Debian image into an empty store beside podman's.
bench-pull: build
	@sh tests/setup.sh tests
	@sh tests/setup.sh bench
	@bash tests/stage.sh bash tests/bench.sh pull

install: build
	install -d $(BINDIR)
	install -m 755 $(addprefix $(OUT)/,$(PROGRAMS)) $(BINDIR)
	for page in $(MANUALS); do install -D -m 644 $$page $(MANDIR)/man$${page##*.}/$${page##*/} || exit 1; done

uninstall:
	rm -f $(addprefix $(BINDIR)/,$(PROGRAMS))
	for page in $(MANUALS); do rm -f $(MANDIR)/man$${page##*.}/$${page##*/}; done

clean:
	rm -rf target
