#!/usr/bin/env python3
"""The headers of bindings/c: that hbeat_load.h lists what hbeat.h declares, that each compiles as what it promises, and
what they do, plain and under the address and undefined-behaviour sanitizers.

    tests/bindings/run.py LIBRARY_DIR BUILD_DIR [word ...]

A word selects what contains it. HBEAT_REQUIRE_PEERS=1 makes a missing compiler a failure. Ends with one line of sums."""
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BINDINGS = ROOT / "bindings" / "c"
INCLUDES = [f"-I{ROOT / 'include'}", f"-I{BINDINGS}", f"-I{ROOT / 'tests' / 'c'}"]
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g", "-O1", "-pthread", *INCLUDES]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]

C = [("gcc", "gnu90"), ("gcc", "c99"), ("gcc", "c11"), ("clang", "gnu90"), ("clang", "c99"), ("clang", "c11")]
CPP = [(compiler, f"c++{year}") for compiler in ("g++", "clang++") for year in ("11", "14", "17", "20")]
CPP98 = [(compiler, f"{dialect}++98") for compiler in ("g++", "clang++") for dialect in ("c", "gnu")]
# What is included, and as what it has to compile.
HEADERS = {
    ("hbeat.h",): C + CPP98 + CPP,
    ("hbeat_easy.h",): C + CPP98 + CPP,
    ("hbeat_load.h",): C + CPP98 + CPP,
    ("hbeat_load.h", "hbeat_easy.h"): C + CPP98 + CPP,
    ("hbeat.hpp",): CPP,
    ("hbeat_load.h", "hbeat.hpp", "hbeat_easy.h"): CPP,
}
# Name, source and other unit with compiler and standard of each, over hbeat_load.h or linked, sanitized or not.
PROGRAMS = [
    ("easy", ("test_easy.c", "gcc", "c11"), ("other_unit.c", "gcc", "gnu90"), False, False),
    ("easy, sanitized", ("test_easy.c", "gcc", "c11"), ("other_unit.c", "gcc", "gnu90"), False, True),
    ("easy, as C++", ("test_easy.c", "g++", "c++17"), ("other_unit.c", "gcc", "gnu90"), False, False),
    ("easy, loaded", ("test_easy.c", "clang", "c11"), ("other_unit.c", "g++", "c++98"), True, False),
    ("load", ("test_load.c", "gcc", "c11"), None, True, False),
    ("load, sanitized", ("test_load.c", "gcc", "c11"), None, True, True),
    ("load, as C++", ("test_load.c", "g++", "c++11"), None, True, False),
    ("hpp, C++11", ("test_hpp.cpp", "g++", "c++11"), ("other_unit.cpp", "g++", "c++20"), False, False),
    ("hpp, C++14", ("test_hpp.cpp", "clang++", "c++14"), ("other_unit.cpp", "g++", "c++11"), False, False),
    ("hpp, C++17, sanitized", ("test_hpp.cpp", "g++", "c++17"), ("other_unit.cpp", "g++", "c++11"), False, True),
    ("hpp, C++20", ("test_hpp.cpp", "clang++", "c++20"), ("other_unit.cpp", "clang++", "c++11"), False, False),
    ("hpp, C++20, loaded", ("test_hpp.cpp", "g++", "c++20"), ("other_unit.cpp", "clang++", "c++17"), True, False),
]
# Libraries that are not the right one: the version that they tell, and what they have.
FAKES = {"old": (9, "all"), "new": (2000, "all"), "next": (1001000, "all"), "lacks": (1000, "all but the last")}


def functions() -> list[str]:
    """What hbeat.h declares, without the hbeat_."""
    code = re.sub(r"/\*.*?\*/", "", (ROOT / "include" / "hbeat.h").read_text(), flags=re.S)
    return re.findall(r"\bhbeat_(\w+)\((?!\*)", re.sub(r"typedef[^;{]*\(\*[^;]*;", "", code))


def load_lists_every_function() -> str:
    """Each has its place in the table, whose type is taken from the declaration, and its name means that place."""
    text = (BINDINGS / "hbeat_load.h").read_text()
    table = re.search(r"#define HBEAT_LOAD_NAMES\(X\) (.*?[^\\])\n", text, re.S).group(1)
    names, macros = re.findall(r"X\((\w+)\)", table), re.findall(r"#define hbeat_(\w+) \(hbeat_load_table\(\)->(\w+)\)", text)
    wanted = functions()
    differ = set(wanted).symmetric_difference(names) | set(wanted).symmetric_difference(name for name, _ in macros)
    differ |= {name for name, place in macros if name != place}
    return f"not in both, or in the wrong place: {', '.join(sorted(differ))}" if differ or not wanted else ""


def call(command: list, **more) -> tuple[str, int]:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=300, **more)
        return ran.stdout + ran.stderr, ran.returncode
    except subprocess.TimeoutExpired:
        return "it took too long\n", -1


def compiler_flags(compiler: str, standard: str) -> list[str]:
    language = "c++" if compiler.endswith("++") else "c"
    return [compiler, "-x", language, f"-std={standard}", *(["-pedantic-errors"] if language == "c++" else [])]


def compiles(headers: tuple, compiler: str, standard: str, build: Path) -> str:
    """Alone and twice, in a unit that calls nothing of it."""
    source = "".join(f'#include "{header}"\n' for header in headers * 2) + "extern int nothing;\nint nothing;\n"
    output, code = call([*compiler_flags(compiler, standard), *WARNINGS, "-Wshadow", "-c", "-", "-o", "/dev/null"], input=source)
    return "" if code == 0 else output


def make_fakes(build: Path) -> str:
    names = [name for name in functions() if name != "version_number"]
    for fake, (version, has) in FAKES.items():
        listed = names if has == "all" else names[:-1]
        output, code = call(["gcc", "-shared", "-fPIC", f"-DVERSION={version}u", f"-DFUNCTIONS={' '.join(f'FAKE({name})' for name in listed)}",
                             str(HERE / "fake.c"), "-o", str(build / f"{fake}.so")])
        if code:
            return output
    return ""


def run_program(name: str, source: tuple, other: tuple, loaded: bool, sanitized: bool, library: Path, build: Path):
    """Compiles its units, links them and runs them: what it printed, and its sums."""
    program = build / re.sub(r"\W+", "-", name)
    extra = SANITIZERS if sanitized else []
    defines = ["-DLOADED", f'-DLIBRARY="{library}"', f'-DFAKES="{build}"'] if loaded else []
    objects = []
    for file, compiler, standard in filter(None, (source, other)):
        objects.append(f"{program}-{Path(file).stem}.o")
        output, code = call([*compiler_flags(compiler, standard), *WARNINGS, *extra, *defines, "-c", str(HERE / file), "-o", objects[-1]])
        if code:
            return output, [0, 1, 0]
    linker = "g++" if any(unit and unit[1].endswith("++") for unit in (source, other)) else "gcc"
    linked = ["-ldl"] if loaded else [f"-L{build}", "-lhbeat", f"-Wl,-rpath,{build}"]
    output, code = call([linker, *extra, "-pthread", *objects, "-o", str(program), *linked])
    if code:
        return output, [0, 1, 0]
    output, code = call([program], env={**os.environ, **({"HBEAT_LIBRARY": str(library)} if loaded else {})})
    found = re.findall(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", output, re.M)
    sums = [int(number) for number in found[-1]] if found else [0, 1, 0]
    if code and not sums[1]:
        sums[1] = 1
    if loaded and "libhbeat" in call(["readelf", "-d", program])[0]:
        return output + "it is linked with the library that it is to load\n", [sums[0], sums[1] + 1, sums[2]]
    return output, sums


def jobs(library: Path, build: Path):
    """Name, needed compilers, and what to do: a fault, or a program's output and sums."""
    yield "hbeat_load.h lists every function", [], load_lists_every_function
    for headers, dialects in HEADERS.items():
        for compiler, standard in dialects:
            yield (f"{' and '.join(headers)} as {standard} by {compiler}", [compiler],
                   lambda h=headers, c=compiler, s=standard: compiles(h, c, s, build))
    for name, source, other, loaded, sanitized in PROGRAMS:
        compilers = [unit[1] for unit in (source, other) if unit]
        yield name, compilers, lambda n=name, s=source, o=other, l=loaded, a=sanitized: run_program(n, s, o, l, a, library, build)


def main() -> int:
    if len(sys.argv) < 3:
        print(__doc__)
        return 2
    library, build = Path(sys.argv[1]).resolve() / "libhbeat.so", Path(sys.argv[2]).resolve()
    required = os.environ.get("HBEAT_REQUIRE_PEERS") == "1"
    sums = [0, 0, 0]
    build.mkdir(parents=True, exist_ok=True)
    for name in ("libhbeat.so", "libhbeat.so.0.1"):
        (build / name).unlink(missing_ok=True)
        (build / name).symlink_to(library)
    if fault := make_fakes(build):
        print(fault, "0 passed, 1 failed, 0 skipped", sep="\n")
        return 1
    wanted = [job for job in jobs(library, build) if not sys.argv[3:] or any(word in job[0] for word in sys.argv[3:])]
    absent = [[compiler for compiler in compilers if not shutil.which(compiler)] for _, compilers, _ in wanted]
    with ThreadPoolExecutor((os.cpu_count() or 1) + 1) as pool:
        results = pool.map(lambda job, missing: None if missing else job[2](), wanted, absent)
        for (name, _, _), missing, result in zip(wanted, absent, results):
            if result is None:
                output, one = f"not installed: {', '.join(missing)}\n", [0, int(required), int(not required)]
            elif isinstance(result, str):
                output, one = result, [int(not result), int(bool(result)), 0]
            else:
                output, one = result
            sums = [a + b for a, b in zip(sums, one)]
            print(f"== {name}: {one[0]} passed, {one[1]} failed, {one[2]} skipped")
            if one[1] or one[2]:
                print("".join(line + "\n" for line in output.splitlines() if not line.startswith("passed ")), end="")
            sys.stdout.flush()
    print("{} passed, {} failed, {} skipped".format(*sums))
    return 1 if sums[1] or not sums[0] else 0


if __name__ == "__main__":
    sys.exit(main())
