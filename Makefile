# make help says what there is.

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
export CARGO_TARGET_DIR ?= $(CURDIR)/target

RELEASE := $(abspath $(CARGO_TARGET_DIR))/release
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
# What may break programs: the major number, and the minor one as long as that is 0; build.rs has the same rule.
SONAME := libhbeat.so.$(shell echo $(VERSION) | sed -e 's/^\(0\.[0-9]*\)\..*/\1/' -e 's/^\([1-9][0-9]*\)\..*/\1/')
OLD_GLIBC := x86_64-unknown-linux-gnu

all: build

build: ## the library, into target/release
	cargo build --release --locked
	ln -sf libhbeat.so $(RELEASE)/$(SONAME)

examples: build ## the C and C++ programs, into build/examples
	$(MAKE) -C examples/c HBEAT_LIB_DIR=$(RELEASE) BUILD=$(CURDIR)/build/examples
	$(MAKE) -C examples/cpp HBEAT_LIB_DIR=$(RELEASE) BUILD=$(CURDIR)/build/examples

demo: examples ## real gateways, real sockets, and what happens when one end goes quiet: half a minute
	python3 examples/demo.py --programs build/examples

test: build ## everything this machine can check; ends with the sums
	python3 tests/all.py

header: ## makes include/hbeat.h anew, after a change in src/ffi or cbindgen.toml
	HBEAT_REFRESH=1 cargo test --locked --test header the_header_is_fresh

bench: ## the benchmarks
	cargo bench --locked --bench '*'
	[ ! -f benches/peers/Makefile ] || $(MAKE) -C benches/peers bench

install: build ## library, headers and pkg-config file, under PREFIX (/usr/local) and DESTDIR
	install -d $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR)
	install -m 755 $(RELEASE)/libhbeat.so $(DESTDIR)$(LIBDIR)/libhbeat.so.$(VERSION)
	ln -sf libhbeat.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libhbeat.so
	install -m 644 $(RELEASE)/libhbeat.a $(DESTDIR)$(LIBDIR)
	install -m 644 include/hbeat.h bindings/c/hbeat_easy.h bindings/c/hbeat_load.h bindings/c/hbeat.hpp $(DESTDIR)$(INCLUDEDIR)
	sed -e 's|@libdir@|$(LIBDIR)|' -e 's|@includedir@|$(INCLUDEDIR)|' -e 's|@version@|$(VERSION)|' hbeat.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/hbeat.pc

glibc217: ## a library for old systems; needs cargo-zigbuild and ziglang
	cargo zigbuild --release --locked --target $(OLD_GLIBC).2.17
	tests/glibc.sh $(CARGO_TARGET_DIR)/$(OLD_GLIBC)/release/libhbeat.so 2.17

clean: ## removes what was built
	cargo clean
	rm -rf build

help: ## this list
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)/\1	\2/p' Makefile | expand -t 12

.PHONY: all build examples demo test header bench install glibc217 clean help
