#!/usr/bin/env python3
"""Each sentence of docs/contract.md has a test that cites it, and no test cites a sentence that is not there."""
import re
import sys
from pathlib import Path

here = Path(__file__).resolve().parent
contract = (here.parent.parent / "docs" / "contract.md").read_text(encoding="utf-8")
listed = re.findall(r"^- \*\*(K\d+)\.\*\* ", contract, re.M)
mentioned = set(re.findall(r"\bK\d+\b", contract))
cited: dict[str, list[str]] = {}
faults = []
names: dict[str, str] = {}
for file in sorted([*here.glob("test_*.c"), *(here.parent / "faults").glob("test_*.c")]):
    for name, numbers in re.findall(r'^TEST\((\w+), "([^"]*)"\)', file.read_text(encoding="utf-8"), re.M):
        if not re.fullmatch(r"K\d+( K\d+)*", numbers):
            faults.append(f"{file.name}: {name} cites no number, or not in the form \"K1 K2\"")
        if name in names:
            faults.append(f"{file.name}: {name} is also in {names[name]}")
        names[name] = file.name
        for number in numbers.split():
            cited.setdefault(number, []).append(f"{file.name}:{name}")
faults += [f"docs/contract.md: {number} is there twice" for number in sorted(set(listed)) if listed.count(number) > 1]
faults += [f"docs/contract.md: {number} has no test" for number in listed if number not in cited]
faults += [f"docs/contract.md: speaks of {number}, which is not there" for number in sorted(mentioned - set(listed))]
faults += [f"{where}: there is no {number}" for number, tests in sorted(cited.items()) if number not in listed for where in tests]
for fault in faults:
    print(fault)
print(f"{len(listed)} sentences, {len(names)} tests: {len(set(listed) & set(cited))} passed, {len(faults)} failed, 0 skipped")
sys.exit(1 if faults else 0)
