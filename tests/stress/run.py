#!/usr/bin/env python3
"""Builds stress.c and lets it loose on the library, in several ways:

    tests/stress/run.py LIBRARY_DIR BUILD_DIR [--times N] [--seed S] [plain] [asan] [valgrind] [tsan]

plain     10^7 operations
asan      the C side under the address and undefined-behaviour sanitizers, whose malloc the library uses, too: leaks
          on both sides, use of freed memory and overflows on the C side
valgrind  memcheck: invalid accesses, uninitialised values and leaks on both sides
tsan      data races on both sides: the library and Rust's standard library are built anew with ThreadSanitizer in
          them, which needs the component rust-src; a seeded race must be seen first. And those stories of the C suite
          in which many threads are at it at once: tests/c/test_crowd.c

LIBRARY_DIR holds libhbeat.a. Without a kind: all but tsan. --times makes each N times as long. What is not installed
is skipped, with HBEAT_REQUIRE_PEERS=1 a failure. Ends with one line of sums; a round of the stress counts as one."""
import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WARNINGS = ["-std=gnu11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g", "-O1", "-pthread", f"-I{ROOT / 'include'}"]
ASAN = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
# What the static library needs of the system: rustc --print native-static-libs.
NATIVE = ["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"]
# What may still be reached, or looks as if it might be, belongs to threads that live as long as the process.
MEMCHECK = ["valgrind", "--quiet", "--fair-sched=yes", "--leak-check=full", "--show-leak-kinds=definite,indirect",
            "--errors-for-leak-kinds=definite,indirect", "--error-exitcode=9"]
TARGET = "x86_64-unknown-linux-gnu"


# What a kind comes to: the stress and how long it goes on, and a program of the C suite, if one is to be run, too.
Build = namedtuple("Build", "command operations rounds environment stories", defaults=({}, None))


class Missing(Exception):
    """Something that is not installed."""


def needs(*programs: str):
    for program in programs:
        if not shutil.which(program):
            raise Missing(f"{program} is not installed")


def call(command: list, **how) -> str:
    ran = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **how)
    if ran.returncode != 0:
        print(ran.stdout)
        raise SystemExit(f"{command[0]} failed\n0 passed, 1 failed, 0 skipped")
    return ran.stdout


def build(program: Path, library: Path, sanitize: list) -> Path:
    needs("gcc")
    call(["gcc", *WARNINGS, *sanitize, HERE / "stress.c", library, "-o", program, *NATIVE])
    return program


def plain(library: Path, into: Path):
    return Build([build(into / "stress", library, [])], 10_000_000, 12)


def asan(library: Path, into: Path):
    return Build([build(into / "stress-asan", library, ASAN)], 2_000_000, 12)


def valgrind(library: Path, into: Path):
    needs("valgrind")
    return Build([*MEMCHECK, build(into / "stress", library, [])], 200_000, 6)


def tsan(library: Path, into: Path):
    """As a nightly would build it; RUSTC_BOOTSTRAP lets the stable compiler do so."""
    del library
    needs("gcc", "cargo", "rustc")
    sysroot = Path(call(["rustc", "--print", "sysroot"], cwd=ROOT).strip())
    runtimes = sorted((sysroot / "lib/rustlib" / TARGET / "lib").glob("librustc-*_rt.tsan.a"))
    if not runtimes:
        raise Missing(f"this Rust has no ThreadSanitizer for {TARGET} (rustup's has)")
    if not (sysroot / "lib/rustlib/src/rust/library/Cargo.lock").exists():
        raise Missing("the sources of Rust's standard library are not installed: rustup component add rust-src")
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "tsan"
    environment = {**os.environ, "RUSTC_BOOTSTRAP": "1", "RUSTFLAGS": "-Zsanitizer=thread", "CARGO_TARGET_DIR": str(target)}
    options = ["--config", 'profile.release.lto="off"', "--config", 'profile.release.debug="line-tables-only"']
    call(["cargo", "build", "--locked", "--lib", "--release", "-Zbuild-std=std,panic_unwind", "--target", TARGET, *options], cwd=ROOT, env=environment)

    def instrumented(source: Path) -> Path:
        """Instrumented by gcc, with the runtime of Rust's own: the two speak the same language."""
        program, compiled = into / f"{source.stem}-tsan", into / f"{source.stem}-tsan.o"
        call(["gcc", *WARNINGS, "-fsanitize=thread", "-c", source, "-o", compiled])
        call(["gcc", "-pthread", compiled, target / TARGET / "release/libhbeat.a", runtimes[0], "-o", program, "-lstdc++", *NATIVE])
        return program

    program = instrumented(HERE / "stress.c")
    seen = subprocess.run([program, "--seed-race"], capture_output=True, text=True).stderr
    if not re.search(r"WARNING: ThreadSanitizer: data race(.|\n)*\bhbeat_engine_now\b", seen):
        raise SystemExit(f"{seen}\nThreadSanitizer does not see a seeded race\n0 passed, 1 failed, 0 skipped")
    print("a seeded race is seen")
    environment = {"TSAN_OPTIONS": "halt_on_error=1 second_deadlock_stack=1"}
    return Build([program], 1_000_000, 12, environment, instrumented(ROOT / "tests/c/test_crowd.c"))


KINDS = {"plain": plain, "asan": asan, "valgrind": valgrind, "tsan": tsan}


def run(words: list, environment: dict) -> list[int]:
    """Shows what a program prints; (passed, failed, skipped)."""
    ran = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                           env={**os.environ, **environment})
    lines = []
    for line in ran.stdout:
        lines.append(line)
        if not re.match(r"\d+ passed, \d+ failed, \d+ skipped$", line):
            print(f"  {line}", end="", flush=True)
    sums = re.findall(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", "".join(lines), re.M)
    count = [int(number) for number in sums[-1]] if sums else [0, 1, 0]
    if ran.wait() != 0:
        print(f"  it ended with {ran.returncode}")
        count[1] = max(count[1], 1)
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path)
    parser.add_argument("build", type=Path)
    parser.add_argument("kinds", nargs="*")
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--seed", default="")
    chosen = parser.parse_args()
    if unknown := [kind for kind in chosen.kinds if kind not in KINDS]:
        parser.error(f"{unknown[0]}: the kinds are {', '.join(KINDS)}")
    library = chosen.library.resolve() / "libhbeat.a"
    chosen.build.mkdir(parents=True, exist_ok=True)
    sums = [0, 0, 0]
    for kind in chosen.kinds or ["plain", "asan", "valgrind"]:
        print(f"== {kind}", flush=True)
        started = time.monotonic()
        try:
            made = KINDS[kind](library, chosen.build.resolve())
            built = time.monotonic()
            seeded = ["--seed", chosen.seed] if chosen.seed else []
            how_long = ["--operations", made.operations * chosen.times, "--rounds", made.rounds, "--patience", 200]
            count = run([*made.command, *how_long, *seeded], made.environment)
            if made.stories:
                count = [one + more for one, more in zip(count, run([made.stories], {"CHECK_SECONDS": "200", **made.environment}))]
            print(f"== {kind}: built in {built - started:.0f} s, ran for {time.monotonic() - built:.0f} s", flush=True)
        except Missing as missing:
            required = os.environ.get("HBEAT_REQUIRE_PEERS") == "1"
            print(f"{kind}: {'FAILED' if required else 'skipped'}: {missing}")
            count = [0, int(required), int(not required)]
        sums = [one + more for one, more in zip(sums, count)]
    print(f"{sums[0]} passed, {sums[1]} failed, {sums[2]} skipped")
    return 1 if sums[1] else 0


if __name__ == "__main__":
    sys.exit(main())
