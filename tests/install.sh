#!/bin/sh
# What `make install` puts somewhere is enough to build a program with, and to run it: with the shared library, with
# the static one, with each of the headers of bindings/c, and with a library that is loaded at run time.
set -eu
cd "$(dirname "$0")/.."
place=$PWD/build/installed
rm -rf "$place"
make --no-print-directory install PREFIX="$place" > /dev/null
export PKG_CONFIG_PATH="$place/lib/pkgconfig"

# Compiles with what follows the name, and runs.
build_and_run() {
    program=$place/$1
    shift
    "$@" -o "$program"
    LD_LIBRARY_PATH="$place/lib" "$program" > "$program.out" || { cat "$program.out"; exit 1; }
}

build_and_run shared cc -std=gnu99 examples/c/run_manual.c $(pkg-config --cflags --libs hbeat)
private=$(pkg-config --static --libs-only-l hbeat | sed 's/-lhbeat//')
build_and_run static cc -std=gnu99 examples/c/run_manual.c $(pkg-config --cflags hbeat) "$place/lib/libhbeat.a" $private

cat > "$place/easy.c" << 'END'
#ifdef LOAD
#include "hbeat_load.h"
#else
#define hbeat_load(path) HBEAT_OK
#endif
#include "hbeat_easy.h"
int main(void)
{
    hbeat_link link;

    return hbeat_load(NULL) == HBEAT_OK && hbeat_easy_watch(-1, "a", "fast", "heart", NULL, NULL, &link) == HBEAT_OK
        && hbeat_easy_unwatch(link) == HBEAT_OK ? 0 : 1;
}
END
build_and_run easy cc "$place/easy.c" $(pkg-config --cflags --libs hbeat)
build_and_run load cc -DLOAD "$place/easy.c" $(pkg-config --cflags hbeat) -ldl
cat > "$place/engine.cpp" << 'END'
#include "hbeat.hpp"
int main() { return hbeat::engine(hbeat::options()).open(hbeat::policy("fast"), hbeat::link_options()).id() ? 0 : 1; }
END
build_and_run engine c++ -std=c++11 "$place/engine.cpp" $(pkg-config --cflags --libs hbeat) -pthread
echo "installed, linked and run: $(pkg-config --modversion hbeat)"
