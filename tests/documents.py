#!/usr/bin/env python3
"""What the documents say can be followed: the C code of README.md compiles, README.zh-CN.md has the same code, links lead
somewhere, and both name every preset, event and cause that there is."""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
READMES = ["README.md", "README.zh-CN.md"]
# What the tour takes for granted of a gateway.
GATEWAY = """
#include <stdint.h>
#include "hbeat.h"
struct connection { int fd; hbeat_link link; uint32_t next_sequence; };
void wake_writer(struct connection *c);
void write_log(const char *text);
void shut_down_socket(struct connection *c);
void put_connection(struct connection *c);
"""
results = []


def check(what, faults):
    results.append(not faults)
    print(f"{'FAILED' if faults else 'passed'} {what}", *faults, sep="\n    ")


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def tour(name):
    return "\n".join(re.findall(r"^```c\n(.*?)^```$", read(name), re.M | re.S))


def without_comments(code):
    return re.sub(r"\s+", " ", re.sub(r"/\*.*?\*/", "", code, flags=re.S))


def enumerators(kind):
    body = re.search(rf"typedef enum hbeat_{kind} \{{(.*?)\}} hbeat_{kind};", read("include/hbeat.h"), re.S).group(1)
    return re.findall(rf"HBEAT_{kind.split('_')[0].upper()}_(\w+) =", body)


for name in READMES:
    text = read(name)
    compiler = subprocess.run(["cc", "-fsyntax-only", "-x", "c", "-std=gnu99", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function",
                               f"-I{ROOT / 'include'}", "-"], input=GATEWAY + tour(name), capture_output=True, text=True)
    check(f"{name}: its C code compiles", compiler.stderr.splitlines())
    causes = [cause.lower() for cause in enumerators("cause") if cause != "NONE"]
    words = enumerators("event_type") + causes + ["normal", "fast", "passive", "cmpp", "none", "heart"]
    check(f"{name}: names every event, cause, preset and protocol",
          [word for word in words if not re.search(rf"(?<!\w){word}(?!\w)", text)])
    calls = set(re.findall(r"\b(?:hbeat|HBEAT)_[a-zA-Z_]*[a-zA-Z]", text))
    headers = ["include/hbeat.h", *(f"bindings/c/{path.name}" for path in (ROOT / "bindings/c").glob("*.h*"))]
    known = "".join(map(read, headers)) + "HBEAT_REQUIRE_PEERS HBEAT_REFRESH"
    check(f"{name}: names nothing that is not in the headers", sorted(call for call in calls if call not in known))
first, second = map(read, READMES)
check("both READMEs have the same code", [] if without_comments(tour(READMES[0])) == without_comments(tour(READMES[1])) else ["they differ"])


def shape(text):
    """Headings and rows of tables, in their order."""
    return [line[:2] for line in re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S).splitlines() if line[:1] in ("#", "|")]


check("both READMEs have the same headings and rows", [] if shape(first) == shape(second) else ["they differ"])
for name in [*READMES, "CONTRIBUTING.md", "CHANGELOG.md", "bindings/c/README.md", "bindings/python/README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]:
    prose = re.sub(r"^```.*?^```$", "", read(name), flags=re.M | re.S)
    targets = [target for target in re.findall(r"\]\(([^)#]+)[^)]*\)", prose) if "://" not in target]
    check(f"{name}: its links lead somewhere",
          [target for target in targets if not ((ROOT / name).parent / target).exists()])
print(f"{sum(results)} passed, {len(results) - sum(results)} failed, 0 skipped")
sys.exit(0 if all(results) else 1)
