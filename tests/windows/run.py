#!/usr/bin/env python3
"""The library as a DLL: smoke.c, compiled by MinGW and run by Wine; and the headers, as that compiler sees them.

    tests/windows/run.py DLL_DIR BUILD_DIR

Wine has no bcryptprimitives.dll, of which Rust's standard library asks one function: one is made. What Windows is told of
keepalive ends up in the kernel below, which is asked as well. Ends with one line of sums."""
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PREFIX = "x86_64-w64-mingw32-"
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
LIMIT_S = 300
RANDOM = """#include <windows.h>
#include <ntsecapi.h>
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T count);
BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T count) { return RtlGenRandom(bytes, (ULONG)count); }
"""


def tool(*names):
    """The first of them that is installed."""
    for name in names:
        if found := shutil.which(name):
            return found
    sys.exit(f"not installed: {names[0]}\n0 passed, 1 failed, 0 skipped")


def compile_all(dlls, build):
    cc, cxx = (tool(f"{PREFIX}{name}-posix", f"{PREFIX}{name}") for name in ("gcc", "g++"))
    (build / "random.c").write_text(RANDOM)
    (build / "empty.cpp").write_text('#include "hbeat.h"\n#include "hbeat.hpp"\n')
    shutil.copy(dlls / "hbeat.dll", build)
    include = [f"-I{ROOT / 'include'}", f"-I{ROOT / 'bindings/c'}"]
    commands = [
        [cc, "-shared", *WARNINGS, build / "random.c", "-o", build / "bcryptprimitives.dll", "-ladvapi32"],
        [cc, "-std=c11", *WARNINGS, *include, ROOT / "tests/windows/smoke.c", "-o", build / "smoke.exe", f"-L{dlls}", "-lhbeat", "-lws2_32"],
        [cxx, "-std=c++11", *WARNINGS, *include, "-fsyntax-only", build / "empty.cpp"],
    ]
    return all(subprocess.run(command).returncode == 0 for command in commands)


def timer_of(port):
    """How many ms until the kernel's keepalive probes the connection from that port."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, _, timer = line.split()[:6]
        if int(local.split(":")[1], 16) == port and state == "01" and timer.startswith("02:"):
            return int(timer[3:], 16) * 1000 / os.sysconf("SC_CLK_TCK")
    return None


def main(dlls, build):
    build.mkdir(parents=True, exist_ok=True)
    if not compile_all(dlls, build):
        print("0 passed, 1 failed, 0 skipped")
        return 1
    wine = tool("wine64", "wine", "/usr/lib/wine/wine64")
    environment = {**os.environ, "WINEPREFIX": str(build / "wine"), "WINEDEBUG": "-all"}
    child = subprocess.Popen([wine, build / "smoke.exe"], cwd=build, env=environment, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace")
    watch = threading.Timer(LIMIT_S, child.kill)
    watch.start()
    asked, kernel, passed, failed = None, None, 0, 1
    for line in child.stdout:
        if ours := re.match(r"(\d+) passed, (\d+) failed", line):
            passed, failed = map(int, ours.groups())
            continue
        print(line, end="", flush=True)
        if held := re.search(r"port (\d+) is probed after (\d+) ms", line):
            asked, kernel = int(held[2]), timer_of(int(held[1]))
    watch.cancel()
    # A little of it has passed when the kernel is asked.
    good = child.wait() == 0 and kernel is not None and asked - 2000 < kernel <= asked
    print(f"{'passed' if good else 'FAILED'} the_kernel_below_counts_the_same_milliseconds ({asked} set, {kernel and round(kernel)} left)")
    passed, failed = passed + good, failed + (not good)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*(Path(argument).resolve() for argument in sys.argv[1:])))
