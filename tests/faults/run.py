#!/usr/bin/env python3
"""What a bug in hbeat would come to: builds the library with the feature fault-injection, which panics where a test asks
for it, and runs the stories of this directory against it.

    tests/faults/run.py BUILD_DIR

The library lies in BUILD_DIR/target, apart from any that is used. Ends with one line of sums."""
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FLAGS = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g", "-O1", "-pthread", f"-I{ROOT / 'include'}", f"-I{ROOT / 'tests/c'}"]


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    build = Path(sys.argv[1]).resolve()
    target = build / "target"
    made = subprocess.run(["cargo", "build", "--locked", "--lib", "--features", "fault-injection", "--target-dir", target], cwd=ROOT)
    if made.returncode != 0:
        print("0 passed, 1 failed, 0 skipped")
        return 1
    passed = failed = 0
    for source in sorted(HERE.glob("test_*.c")):
        program = build / source.stem
        # The static library: no name of a shared one is looked up, so this is the one that was just built.
        native = ["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"]
        link = ["gcc", *FLAGS, str(source), "-o", str(program), str(target / "debug" / "libhbeat.a"), *native]
        if subprocess.run(link).returncode != 0:
            failed += 1
            continue
        environment = {**os.environ, "HBEAT_SYMBOLS": str(ROOT / "docs/symbols.txt")}
        # A panic says where it was on stderr, hundreds of times here.
        ran = subprocess.run([program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace", env=environment)
        print(ran.stdout, end="")
        sums = re.findall(r"^(\d+) passed, (\d+) failed, \d+ skipped$", ran.stdout, re.M)
        passed, failed = (passed + int(sums[-1][0]), failed + int(sums[-1][1])) if sums else (passed, failed + 1)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
