#!/usr/bin/env python3
"""The tests of the Python package, on every Python from 3.8 that is at hand.

    tests/python/run.py [--full] [word ...]     --full: interpreter exits 200 times each; words: only tests with one in their names

The first Python runs all; the others leave out what does not depend on the Python."""
import argparse
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RELEASE = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "release"
OLDEST = (3, 8)
LIMIT_S = 1000


def pythons():
    """Path by version, this one first."""
    names = [sys.executable] + [shutil.which(f"python3.{minor}") for minor in range(OLDEST[1], 20)]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    names += sorted(map(str, pyenv.glob("versions/3.*/bin/python3")))
    found = {}
    for name in filter(None, names):
        asked = subprocess.run([name, "-c", "import sys; print(*sys.version_info[:3], sep='.')"], capture_output=True, text=True)
        version = asked.stdout.strip()
        if asked.returncode == 0 and tuple(map(int, version.split(".")[:2])) >= OLDEST:
            found.setdefault(version, name)
    return found


def run(version, python, full, first, words):
    """The tests on one Python: what there is to say of them, and (passed, failed, skipped)."""
    environment = {**os.environ, "HBEAT_EXITS": "200" if full else "12", "HBEAT_ONCE": "1" if first else "", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("HBEAT_LIBRARY", None)
    ran = subprocess.run([python, "-X", "dev", str(HERE / "one.py"), *words], cwd=HERE, env=environment, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=LIMIT_S)
    sums = re.findall(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", ran.stdout, re.M)
    counts = list(map(int, sums[-1])) if sums else [0, 1, 0]
    if ran.returncode != 0 and counts[1] == 0:
        counts[1] = 1
    lines = [line for line in ran.stdout.splitlines() if not line.startswith("passed ")]
    if not counts[1]:
        lines = [line for line in lines if line.startswith(("figure ", "skipped "))]
    title = "== Python {}: {} passed, {} failed, {} skipped".format(version, *counts)
    return "".join(line + "\n" for line in [title, *lines]), counts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("word", nargs="*")
    arguments = parser.parse_args()
    # Beside it, then in its place: a program may have the old one loaded.
    shutil.copy(RELEASE / "libhbeat.so", ROOT / "bindings/python/hbeat/.libhbeat.so")
    os.replace(ROOT / "bindings/python/hbeat/.libhbeat.so", ROOT / "bindings/python/hbeat/libhbeat.so")
    found = list(pythons().items())

    def work(place):
        return run(*found[place], full=arguments.full, first=place == 0, words=arguments.word)

    sums = [0, 0, 0]
    # The tests wait more than they work.
    for output, counts in ThreadPoolExecutor(2).map(work, range(len(found))):
        print(output, end="", flush=True)
        sums = [total + number for total, number in zip(sums, counts)]
    print("{} passed, {} failed, {} skipped".format(*sums))
    return 1 if sums[1] or not sums[0] else 0


if __name__ == "__main__":
    sys.exit(main())
