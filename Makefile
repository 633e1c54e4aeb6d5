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

stress: build ## eight threads against one engine at random, ten times as long as in the tests
	python3 tests/stress/run.py $(RELEASE) build/stress --times 10

tsan: ## the same under ThreadSanitizer, Rust's standard library included; needs rustup component add rust-src
	python3 tests/stress/run.py $(RELEASE) build/stress tsan

windows: ## the library as a DLL, with MinGW, and a test of it under Wine; needs rustup target add x86_64-pc-windows-gnu
	CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=x86_64-w64-mingw32-gcc-posix cargo build --release --locked --target x86_64-pc-windows-gnu
	python3 tests/windows/run.py $(CARGO_TARGET_DIR)/x86_64-pc-windows-gnu/release build/windows

PORTS := x86_64-pc-windows-gnu aarch64-apple-darwin x86_64-unknown-freebsd aarch64-unknown-linux-gnu
ports: ## whether it compiles for systems that are not at hand; needs rustup
	rustup target add $(PORTS)
	for target in $(PORTS); do cargo clippy --locked --target $$target -- -D warnings || exit 1; done

loom: ## tries all orders of what threads do to the words, the lanes and the stop: src/engine/models
	RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/loom cargo test --locked --lib --release --config 'profile.release.lto="off"' -- --nocapture models::

python: build ## the Python package, in place: bindings/python
	cp $(RELEASE)/libhbeat.so bindings/python/hbeat/.libhbeat.so
	mv bindings/python/hbeat/.libhbeat.so bindings/python/hbeat/libhbeat.so

pythontest: build ## the Python package on every Python at hand, 200 interpreter exits on each
	python3 tests/python/run.py --full

pythonbench: python ## what a call from Python costs
	python3 bindings/python/bench.py

header: ## makes include/hbeat.h anew, after a change in src/ffi or cbindgen.toml
	HBEAT_REFRESH=1 cargo test --locked --test header the_header_is_fresh

bench: ## the benchmarks
	cargo bench --locked --bench '*'
	[ ! -f benches/peers/Makefile ] || $(MAKE) -C benches/peers bench

bench-load: build ## what carried links cost beside a hand-written epoll loop, 3 minutes
	$(MAKE) -C benches/load bench

bench-sockets: build ## hbeat under an application's own epoll loop, beside that loop alone, tokio and asyncio, 3.5 minutes
	$(MAKE) -C benches/sockets bench

bench-wakeups: build ## how often hbeat wakes up with no link, one, a thousand and a million, 75 seconds
	$(MAKE) -C benches/wakeups bench

# Cargo's archive shows the names of Rust's own library, too, which a second library in Rust would bring once more.
archive: build ## build/libhbeat.a, in which only hbeat_* is to be seen: fits beside other libraries in Rust
	mkdir -p build
	ld -r --force-group-allocation $$(sed 's/ .*//; s/^/-u /' docs/symbols.txt) $(RELEASE)/libhbeat.a -o build/hbeat.o
	objcopy --remove-section=.llvmbc --remove-section=.llvmcmd --wildcard --keep-global-symbol='hbeat_*' build/hbeat.o
	rm -f build/libhbeat.a
	ar rcs build/libhbeat.a build/hbeat.o

install: build archive ## library, headers and pkg-config file, under PREFIX (/usr/local) and DESTDIR
	install -d $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR)
	install -m 755 $(RELEASE)/libhbeat.so $(DESTDIR)$(LIBDIR)/libhbeat.so.$(VERSION)
	ln -sf libhbeat.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libhbeat.so
	install -m 644 build/libhbeat.a $(DESTDIR)$(LIBDIR)
	install -m 644 include/hbeat.h bindings/c/hbeat_easy.h bindings/c/hbeat_load.h bindings/c/hbeat.hpp $(DESTDIR)$(INCLUDEDIR)
	sed -e 's|@libdir@|$(LIBDIR)|' -e 's|@includedir@|$(INCLUDEDIR)|' -e 's|@version@|$(VERSION)|' hbeat.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/hbeat.pc

glibc217: ## a library for old systems; needs cargo-zigbuild and ziglang
	cargo zigbuild --release --locked --target $(OLD_GLIBC).2.17
	tests/glibc.sh $(CARGO_TARGET_DIR)/$(OLD_GLIBC)/release/libhbeat.so 2.17

clean: ## removes what was built
	cargo clean
	rm -rf build

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1	\2/p' Makefile | expand -t 14

.PHONY: all build examples demo test stress tsan windows ports loom python pythontest pythonbench header bench bench-load bench-sockets bench-wakeups archive install glibc217 clean help
