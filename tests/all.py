#!/usr/bin/env python3
"""Everything behind `make test`: each suite in turn, none left out because another failed, and the sums at the end.

    tests/all.py [word ...]       only the suites whose name contains a word

Suites that count tell so in their last line "N passed, N failed, N skipped" (or as cargo does); any other counts as
one. What is not installed is skipped and named; with HBEAT_REQUIRE_PEERS=1 it is a failure."""
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RELEASE = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "release"
PYTHON = sys.executable
LIMIT_S = 1200
REQUIRED = os.environ.get("HBEAT_REQUIRE_PEERS") == "1"

Suite = namedtuple("Suite", "name command needs environment", defaults=((), {}))
SUITES = [
    Suite("format", ["cargo", "fmt", "--check"], ["cargo-fmt"]),
    Suite("clippy", ["cargo", "clippy", "--locked", "--all-targets", "--", "-D", "warnings"], ["cargo-clippy"]),
    Suite("rustdoc", ["cargo", "doc", "--locked", "--no-deps"], [], {"RUSTDOCFLAGS": "-D warnings"}),
    Suite("documents", [PYTHON, "tests/documents.py"], ["cc"]),
    Suite("rust version", [PYTHON, "tests/rust_version.py"]),
    # What these tools are for is left out by tests that say so and pass.
    Suite("cargo test", ["cargo", "test", "--locked", "--no-fail-fast"], []),
    # With tests/c/contract_coverage.py as its last step.
    Suite("C suite", [PYTHON, "tests/c/run.py", str(RELEASE), "build/c"], ["gcc", "readelf"]),
    Suite("faults", [PYTHON, "tests/faults/run.py", "build/faults"], ["gcc"]),
    Suite("old caller", [PYTHON, "tests/old_caller/run.py", str(RELEASE), "build/old_caller", "build/faults/target"], ["gcc"]),
    Suite("stress", [PYTHON, "tests/stress/run.py", str(RELEASE), "build/stress"], ["gcc"]),
    Suite("tsan", [PYTHON, "tests/stress/run.py", str(RELEASE), "build/stress", "tsan"], ["gcc"]),
    Suite("loom", ["make", "loom"], []),
    Suite("C examples", ["make", "-C", "examples/c", "check", f"HBEAT_LIB_DIR={RELEASE}", f"BUILD={ROOT / 'build/examples'}"], ["cc"]),
    Suite("C++ example", ["make", "-C", "examples/cpp", f"HBEAT_LIB_DIR={RELEASE}", f"BUILD={ROOT / 'build/examples'}"], ["c++"]),
    Suite("bindings", [PYTHON, "tests/bindings/run.py", str(RELEASE), "build/bindings"], ["gcc"]),
    Suite("two Rusts", ["sh", "-c", f"make -s archive && {PYTHON} tests/two_rusts/run.py build/libhbeat.a build/two_rusts"], ["gcc", "ld", "objcopy", "nm"]),
    Suite("Python", [PYTHON, "tests/python/run.py"], ["cc"]),
    # The same program in four languages.
    Suite("idle servers", [PYTHON, "tests/idle_server.py", "build/examples/idle_server", "--", "build/examples/idle_server_cpp",
                           "--", PYTHON, "examples/python/idle_server_threads.py", "--", PYTHON, "examples/python/idle_server_asyncio.py"],
          ["cc", "c++"], {"PYTHONPATH": str(ROOT / "bindings/python"), "HBEAT_LIBRARY": str(RELEASE / "libhbeat.so")}),
    Suite("heartd", [PYTHON, "tests/heartd.py", "build/examples/heartd"], ["cc"],
          {"PYTHONPATH": str(ROOT / "bindings/python"), "HBEAT_LIBRARY": str(RELEASE / "libhbeat.so")}),
    Suite("stuck programs", [PYTHON, "tests/stuck.py", str(RELEASE)]),
    Suite("install", ["sh", "tests/install.sh"], ["cc", "c++", "pkg-config"]),
    Suite("live peers", [PYTHON, "tests/live/run.py", str(RELEASE), "build/live"], ["tests/live/run.py"]),
    # Its own namespaces, as root; it says so where it cannot make any.
    Suite("network", [PYTHON, "tests/netns/run.py", str(RELEASE)], []),
    # In a network of their own, with whichever of the proxies are installed.
    Suite("middleboxes", [PYTHON, "tests/middlebox.py", str(RELEASE)], ["unshare", "ip", "nft"]),
    Suite("demo", ["make", "demo"], ["examples/demo.py", "cc"]),
]
# Tools without which single tests of `cargo test` have nothing to ask: they say so, and pass.
ASKED_BY_CARGO_TEST = ["gcc", "g++", "clang", "clang++", "nm", "tshark", "text2pcap"]


def missing(names):
    return [name for name in names if not (shutil.which(name) or (ROOT / name).exists())]


def sums(output: str, code: int) -> list[int]:
    """(passed, failed, skipped) of what a suite has printed."""
    ours = re.findall(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", output, re.M)
    cargo = re.findall(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored;", output, re.M)
    if ours:
        count = [int(number) for number in ours[-1]]
    elif cargo:
        count = [sum(int(row[column]) for row in cargo) for column in range(3)]
    else:
        return [1, 0, 0] if code == 0 else [0, 1, 0]
    if code != 0 and count[1] == 0:
        count[1] = 1
    return count


def run(suite: Suite) -> list[int]:
    """Shows what the suite prints as it comes; whatever it has started ends with it, or with its time."""
    child = subprocess.Popen(suite.command, cwd=ROOT, env={**os.environ, **suite.environment}, start_new_session=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True, errors="replace")
    late = threading.Event()

    def end():
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def time_is_up():
        late.set()
        end()

    timer = threading.Timer(LIMIT_S, time_is_up)
    timer.start()
    lines = []
    try:
        for line in child.stdout:
            lines.append(line)
            sys.stdout.write(line)
            sys.stdout.flush()
        code = child.wait()
    finally:
        timer.cancel()
        end()
    if late.is_set():
        print(f"it took longer than {LIMIT_S} s")
    return sums("".join(lines), code)


def main() -> int:
    rows = []
    for suite in SUITES:
        if sys.argv[1:] and not any(word in suite.name for word in sys.argv[1:]):
            continue
        print(f"\n==== {suite.name} ====", flush=True)
        started = time.monotonic()
        absent = missing(suite.needs)
        if absent:
            # A path is a part of the project that is not there yet; a tool could be installed.
            failed = REQUIRED and not all("/" in name for name in absent)
            count, remark = [0, int(failed), int(not failed)], f"not there: {', '.join(absent)}"
        else:
            count, remark = run(suite), ""
            if suite.name == "cargo test" and (absent := missing(ASKED_BY_CARGO_TEST)):
                # The tests themselves fail when peers are required.
                count[2] += len(absent)
                remark = f"left out, not installed: {', '.join(absent)}"
        rows.append((suite.name, count, time.monotonic() - started, remark))
    print()
    for name, (passed, failed, skipped), seconds, remark in rows:
        print(f"{name:<14}{passed:>5} passed {failed:>3} failed {skipped:>3} skipped {seconds:>6.0f} s  {remark}".rstrip())
    passed, failed, skipped = (sum(count[column] for _, count, _, _ in rows) for column in range(3))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
