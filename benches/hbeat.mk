# Where the release build of the library lies, and how a program in C finds it there.
#
#   HBEAT_LIB_DIR  where the release build of libhbeat lies
#   BUILD          where the program goes

ROOT := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))..)
CARGO_TARGET_DIR ?= $(ROOT)/target
HBEAT_LIB_DIR ?= $(CARGO_TARGET_DIR)/release
BUILD ?= $(CARGO_TARGET_DIR)/$(notdir $(CURDIR))

CFLAGS ?= -O2 -g
LIB := $(HBEAT_LIB_DIR)/libhbeat.so
LINK := -L$(HBEAT_LIB_DIR) -Wl,-rpath,$(BUILD) -lhbeat

# The loader asks for the library by its soname, which a build directory has no link for.
SONAME = $(shell objdump -p $(LIB) | awk '/SONAME/ { print $$2 }')

.PHONY: soname
soname:
	@mkdir -p $(BUILD)
	@ln -sf $(LIB) $(BUILD)/$(SONAME)
