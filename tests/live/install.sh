#!/bin/sh
# Installs the peers of tests/live/run.py that nobody here wrote: a CMPP client in Rust (cmppprotocol) and one in
# Python (pycmpp), both into BUILD_DIR and nowhere else. What is there already is left alone.
#
#     tests/live/install.sh [BUILD_DIR]        build/live if left out
set -eu

here=$(cd "$(dirname "$0")" && pwd)
build=${1:-$here/../../build/live}
mkdir -p "$build"
build=$(cd "$build" && pwd)
failed=0

CARGO_TARGET_DIR=$build/target cargo build --quiet --locked --manifest-path "$here/cmpp_client/Cargo.toml" || {
    echo "tests/live/install.sh: cmpp_client could not be built" >&2
    failed=1
}

if [ ! -f "$build/python/pycmpp-2.0.2.done" ]; then
    rm -rf "$build/python"
    PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-input --no-deps \
        --target "$build/python" --requirement "$here/requirements.txt" && touch "$build/python/pycmpp-2.0.2.done" || {
        echo "tests/live/install.sh: pycmpp could not be installed" >&2
        failed=1
    }
fi
exit $failed
