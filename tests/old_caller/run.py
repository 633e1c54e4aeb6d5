#!/usr/bin/env python3
"""Programs and libraries of different versions: what was compiled with the frozen header runs against the library as it is,
and against one whose structs have all grown; what was compiled with a header whose structs have grown, against the library
as it is.

    tests/old_caller/run.py LIBRARY_DIR BUILD_DIR [TARGET_DIR]

The grown library is made of a copy of the sources, in which each struct for C gets two more numbers. TARGET_DIR is where
cargo builds it (BUILD_DIR/target). Ends with one line of sums."""
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FLAGS = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wno-missing-field-initializers", "-g", "-O1", "-pthread"]
# Stories that are about more than structs, as old programs tell them; those of events' sizes are in test_structs.c.
OLD_STORIES = ["close", "stop", "take_feed", "drive", "manual", "ways"]
NUMBERS = 0x67726F77  # what the grown library writes into its new fields where a struct only comes out


def grow_header(text: str) -> str:
    """The header of a later version."""
    structs = r"(typedef struct (hbeat_\w+) \{\n  /\*[^*]*\*/\n  uint32_t struct_size;\n.*?)(\} \2;)"
    grown, count = re.subn(structs, r"\1  uint32_t grown[2];\n\3", text, flags=re.S)
    assert count >= 7, f"only {count} structs have grown"
    return grown


def grow_sources(sources: Path) -> None:
    """The library of a later version: every struct for C has a field more, which it fills when the struct goes out; and it
    panics when it has read more of an older one than is there."""
    count = 0
    for path in sources.glob("src/ffi/*.rs"):
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r"^plain!\((hbeat_\w+) \{", text, re.M):
            count += 1
            text = re.sub(rf"(pub struct {name} \{{.*?)\n\}}\n", r"\1\n    /// Grown.\n    pub grown: [u32; 2],\n}\n", text, count=1, flags=re.S)
            text = re.sub(rf"(plain!\({name} \{{.*?)\n\}} until", r"\1\n    grown,\n} until", text, count=1, flags=re.S)
        # A policy that asks for something new does not fit into an old struct; one that does not, must.
        filled = 0 if path.stem in ("policy", "backoff") else NUMBERS
        text = re.sub(r"( +)struct_size: size_of::<Self>\(\) as u32,", rf"\g<0>\n\1grown: [{filled}; 2],", text)
        read_whole = "    // SAFETY: every byte is 0 or the caller's, and any bytes make a Plain.\n"
        if path.name == "convert.rs":
            assert read_whole in text
            check = "value.as_ptr().cast::<u8>().add(at).read() == 0"
            text = text.replace(read_whole, f"    // SAFETY: within the value.\n    assert!((size..size_of::<T>()).all(|at| unsafe {{ {check} }}), \"read beyond the struct\");\n{read_whole}")
        path.write_text(text, encoding="utf-8")
    assert count >= 7, f"only {count} structs have grown"


def grown_library(build: Path, target: Path) -> Path:
    sources = build / "grown"
    shutil.rmtree(sources, ignore_errors=True)
    sources.mkdir(parents=True)
    for name in ["Cargo.toml", "Cargo.lock", "build.rs", "cbindgen.toml", "README.md"]:
        shutil.copy(ROOT / name, sources / name)
    for name in ["src", "benches"]:
        shutil.copytree(ROOT / name, sources / name)
    grow_sources(sources)
    subprocess.run(["cargo", "build", "--locked", "--lib", "--target-dir", target], cwd=sources, check=True)
    library = build / "libhbeat-grown.a"
    shutil.copy(target / "debug" / "libhbeat.a", library)
    return library


def main() -> int:
    if len(sys.argv) not in (3, 4):
        print(__doc__)
        return 2
    libraries, build = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    target = Path(sys.argv[3]).resolve() if len(sys.argv) == 4 else build / "target"
    for name, text in [("old", (HERE / "hbeat-0.1.0.h").read_text(encoding="utf-8")),
                       ("new", grow_header((ROOT / "include" / "hbeat.h").read_text(encoding="utf-8")))]:
        (build / name).mkdir(parents=True, exist_ok=True)
        (build / name / "hbeat.h").write_text(text, encoding="utf-8")
    structs = HERE / "test_structs.c"
    stories = [ROOT / "tests" / "c" / f"test_{name}.c" for name in OLD_STORIES]
    today, grown = libraries / "libhbeat.a", grown_library(build, target)
    rows = [("old program, library of today", "old", [], today, [structs, *stories]),
            ("old program, grown library", "old", [], grown, [structs, *stories]),
            ("grown program, library of today", "new", ["-DGROWN"], today, [structs])]
    passed = failed = 0
    for title, header, defines, library, sources in rows:
        for source in sources:
            program = build / f"{source.stem}-{header}-{library.stem}"
            native = ["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"]
            command = ["gcc", *FLAGS, *defines, f"-I{build / header}", f"-I{ROOT / 'tests/c'}", str(source), "-o", str(program), str(library), *native]
            made = subprocess.run(command, capture_output=True, text=True)
            ran = subprocess.run([program], capture_output=True, text=True, errors="replace") if made.returncode == 0 else made
            sums = re.findall(r"^(\d+) passed, (\d+) failed, \d+ skipped$", ran.stdout, re.M)
            one = [int(number) for number in sums[-1]] if sums else [0, 1]
            passed, failed = passed + one[0], failed + one[1]
            print(f"== {title}: {source.stem}: {one[0]} passed, {one[1]} failed")
            if one[1]:
                print(ran.stdout + ran.stderr)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
