# Whoever sets CARGO_TARGET_DIR has the library there.
CARGO ?= cargo
PYTHON ?= python3
LIB_DIR ?= $(abspath $(or $(CARGO_TARGET_DIR),target))/release
EXAMPLES_DIR ?= $(abspath build/examples)

MAKE_EXAMPLES = $(MAKE) --no-print-directory -C examples/c HBEAT_LIB_DIR=$(LIB_DIR) BUILD=$(EXAMPLES_DIR)

.PHONY: release examples demo

release:
	$(CARGO) build --release

# The four ways to run the engine; each program fails if something else happens than it expects.
examples: release
	$(MAKE_EXAMPLES) check

# A gateway and ISMGs on the loopback, half a minute; fails if anything differs from what it should be.
demo: release
	$(MAKE_EXAMPLES) all
	$(PYTHON) examples/demo.py --programs $(EXAMPLES_DIR)
