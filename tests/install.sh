#!/bin/sh
# What `make install` puts somewhere is enough to build a program with, and to run it: with the shared library and
# with the static one.
set -eu
cd "$(dirname "$0")/.."
place=$PWD/build/installed
rm -rf "$place"
make --no-print-directory install PREFIX="$place" > /dev/null
export PKG_CONFIG_PATH="$place/lib/pkgconfig"
cc -std=gnu99 examples/c/run_manual.c $(pkg-config --cflags --libs hbeat) -o "$place/shared"
LD_LIBRARY_PATH="$place/lib" "$place/shared" > "$place/shared.out" || { cat "$place/shared.out"; exit 1; }
private=$(pkg-config --static --libs-only-l hbeat | sed 's/-lhbeat//')
cc -std=gnu99 examples/c/run_manual.c $(pkg-config --cflags hbeat) "$place/lib/libhbeat.a" $private -o "$place/static"
"$place/static" > "$place/static.out" || { cat "$place/static.out"; exit 1; }
echo "installed, linked and run: $(pkg-config --modversion hbeat)"
