#!/usr/bin/env python3
"""Two static libraries in Rust in one program, hbeat's (as `make archive` makes it) and another one: they link in either
order, however and with whatever Rust the other one was built, without any flag, and work.

    tests/two_rusts/run.py HBEAT_ARCHIVE BUILD_DIR"""
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
NATIVE = ["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"]
OTHERS = {"debug": [], "release": ["-O"], "whole": ["-O", "-C", "lto=fat", "-C", "codegen-units=1"]}


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__)
        return 2
    hbeat, build = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    shown = subprocess.run(["nm", "-g", "--defined-only", hbeat], capture_output=True, text=True, check=True).stdout
    names = {line.split()[2] for line in shown.splitlines() if len(line.split()) == 3}
    listed = {line.split()[0] for line in (ROOT / "docs/symbols.txt").read_text(encoding="utf-8").splitlines()}
    build.mkdir(parents=True, exist_ok=True)
    passed, failed = int(names == listed), int(names != listed)
    if failed:
        print(f"not as in docs/symbols.txt: {sorted(names ^ listed)}")
    # Debian's own Rust beside ours, where both are there.
    compilers = {"": "rustc", "-debian": "/usr/bin/rustc"}
    kinds = [(kind + mark, compiler, flags) for mark, compiler in compilers.items() if shutil.which(compiler) for kind, flags in OTHERS.items()]
    for kind, compiler, flags in kinds:
        other = build / f"libother-{kind}.a"
        subprocess.run([compiler, "--edition", "2024", "--crate-type", "staticlib", *flags, HERE / "other.rs", "-o", other], check=True)
        for order in ([hbeat, other], [other, hbeat]):
            program = build / f"program-{kind}"
            link = ["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}", HERE / "program.c", *order, *NATIVE, "-o", program]
            made = subprocess.run(link, capture_output=True, text=True)
            ran = subprocess.run([program], capture_output=True, text=True, timeout=60) if made.returncode == 0 else made
            ok = ran.returncode == 0
            passed, failed = passed + ok, failed + (not ok)
            if not ok:
                print(f"{kind}, {order[0].name} first:\n{ran.stdout}{ran.stderr}")
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
