#!/bin/sh
# tests/glibc.sh LIBRARY VERSION: fails if the library asks for a symbol of a glibc newer than VERSION.
set -eu
newest=$(objdump -T "$1" | sed -n 's/.*GLIBC_\([0-9.]*\).*/\1/p' | sort -Vu | tail -n 1)
[ -n "$newest" ] || { echo "$1: no versioned glibc symbol found"; exit 1; }
echo "$1 asks for GLIBC_$newest at most"
[ "$(printf '%s\n' "$newest" "$2" | sort -V | tail -n 1)" = "$2" ] || { echo "that is newer than $2"; exit 1; }
