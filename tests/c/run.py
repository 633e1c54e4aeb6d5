#!/usr/bin/env python3
"""Builds the C suite in every way and runs it: against the shared and the static library, plain and under the address
and undefined-behaviour sanitizers, as C11 (gcc, clang if it is there) and as C++17.

    tests/c/run.py LIBRARY_DIR BUILD_DIR [word ...]

LIBRARY_DIR holds libhbeat.so and libhbeat.a. A word selects the test files (or, with a colon before it, the stories)
that contain it. HBEAT_REQUIRE_PEERS=1 makes a missing compiler a failure. Ends with one line of sums."""
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
INCLUDE = HERE.parent.parent / "include"
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g", "-O1", "-pthread", f"-I{INCLUDE}"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
# What the static library needs of the system: rustc --print native-static-libs.
NATIVE = ["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"]
LANGUAGES = [("c", "gcc", ["-std=c11"]), ("clang", "clang", ["-std=c11"]), ("c++", "g++", ["-x", "c++", "-std=c++17"])]


def builds():
    """Language, compiler, flags, sanitized or not, and the libraries to link with."""
    for language, compiler, flags in LANGUAGES:
        yield language, compiler, flags, False, ["so"] if language == "clang" else ["so", "a"]
        if language != "clang":  # a second C compiler is there for its warnings
            yield language, compiler, flags, True, ["so", "a"]


def soname(library: Path) -> str:
    """The name under which the loader will look for the shared library."""
    text = subprocess.run(["readelf", "-d", library], capture_output=True, text=True).stdout
    found = re.search(r"\(SONAME\).*\[(.*)\]", text)
    return found.group(1) if found else library.name


def main() -> int:
    if len(sys.argv) < 3:
        print(__doc__)
        return 2
    libraries, build = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    words = [word for word in sys.argv[3:] if not word.startswith(":")]
    stories = [word[1:] for word in sys.argv[3:] if word.startswith(":")]
    sources = [source for source in sorted(HERE.glob("test_*.c")) if not words or any(word in source.stem for word in words)]
    passed = failed = skipped = 0
    build.mkdir(parents=True, exist_ok=True)
    shared = libraries / "libhbeat.so"
    if not shared.exists() or not (libraries / "libhbeat.a").exists() or not sources:
        print(f"no libhbeat.so and libhbeat.a in {libraries}, or no such test")
        print("0 passed, 1 failed, 0 skipped")
        return 1
    for name in {"libhbeat.so", soname(shared)}:
        (build / name).unlink(missing_ok=True)
        (build / name).symlink_to(shared)

    jobs = []
    for language, compiler, flags, sanitized, kinds in builds():
        if not shutil.which(compiler):
            required = os.environ.get("HBEAT_REQUIRE_PEERS") == "1"
            print(f"{language}: {compiler} is not installed: {'FAILED' if required else 'skipped'}")
            failed, skipped = failed + required, skipped + (not required)
            continue
        extra = SANITIZERS if sanitized else []
        for source in sources:
            compiled = build / f"{source.stem}-{language}{'-asan' if sanitized else ''}.o"
            command = [compiler, *flags, *WARNINGS, *extra, "-c", str(source), "-o", str(compiled)]
            links = []
            for kind in kinds:
                program = build / f"{source.stem}-{language}-{kind}{'-asan' if sanitized else ''}"
                shared_ways = [f"-L{build}", "-lhbeat", f"-Wl,-rpath,{build}"]
                libraries_of = {"so": shared_ways, "a": [str(libraries / "libhbeat.a"), *NATIVE]}
                links.append((program, [compiler, *extra, "-pthread", str(compiled), "-o", str(program), *libraries_of[kind]]))
            jobs.append((command, links))

    def call(command: list) -> tuple[str, int]:
        try:
            ran = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=300)
            return ran.stdout + ran.stderr, ran.returncode
        except subprocess.TimeoutExpired:
            return "it took too long\n", -1

    def work(job: tuple) -> list[tuple[str, str, int]]:
        """Compiles a test file once, links it with each library and runs it: name, output, exit code of each."""
        command, links = job
        results = []
        compiled, code = call(command)
        for program, link in links:
            output = compiled
            if code == 0:
                output, linked = call(link)
                results.append((program.name, *call([program, *stories])) if linked == 0 else (program.name, output, linked))
            else:
                results.append((program.name, output, code))
        return results

    # Most stories wait more than they work, so a few more than there are processors.
    pool = ThreadPoolExecutor((os.cpu_count() or 1) + 1)
    for name, output, code in (result for results in pool.map(work, jobs) for result in results):
        sums = re.findall(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", output, re.M)
        one = [int(number) for number in sums[-1]] if sums else [0, 1, 0]
        if code != 0 and one[1] == 0:
            one[1] = 1
        passed, failed, skipped = passed + one[0], failed + one[1], skipped + one[2]
        print(f"== {name}: {one[0]} passed, {one[1]} failed, {one[2]} skipped")
        if one[1] or one[2] or code != 0:
            print("".join(line + "\n" for line in output.splitlines() if not line.startswith("passed ")), end="")
        sys.stdout.flush()
    for script in ["contract_coverage.py", "misuse_coverage.py"]:
        coverage = subprocess.run([sys.executable, HERE / script], capture_output=True, text=True)
        print(coverage.stdout, end="")
        passed, failed = passed + (coverage.returncode == 0), failed + (coverage.returncode != 0)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
