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
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RELEASE = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "release"
OLDEST = (3, 8)


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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("word", nargs="*")
    arguments = parser.parse_args()
    shutil.copy(RELEASE / "libhbeat.so", ROOT / "bindings/python/hbeat/libhbeat.so")
    sums = [0, 0, 0]
    for place, (version, python) in enumerate(pythons().items()):
        environment = {**os.environ, "HBEAT_EXITS": "200" if arguments.full else "12", "HBEAT_ONCE": "1" if place == 0 else "",
                       "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("HBEAT_LIBRARY", None)
        command = [python, "-X", "dev", str(HERE / "one.py"), *arguments.word]
        ran = subprocess.run(command, cwd=HERE, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True, errors="replace", timeout=1000)
        counted = re.findall(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", ran.stdout, re.M)
        one = list(map(int, counted[-1])) if counted else [0, 1, 0]
        if ran.returncode != 0 and one[1] == 0:
            one[1] = 1
        print(f"== Python {version}: {one[0]} passed, {one[1]} failed, {one[2]} skipped")
        if one[1]:
            print(ran.stdout)
        else:
            print("".join(line + "\n" for line in ran.stdout.splitlines() if line.startswith(("skipped ", "figure "))), end="")
        sys.stdout.flush()
        sums = [total + number for total, number in zip(sums, one)]
    print("{} passed, {} failed, {} skipped".format(*sums))
    return 1 if sums[1] or not sums[0] else 0


if __name__ == "__main__":
    sys.exit(main())
