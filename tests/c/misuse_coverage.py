#!/usr/bin/env python3
"""Counts the exports that a test calls in a way that must fail: each one that gives a status, but for those that cannot."""
import re
import sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent.parent
exports = [line.split()[0] for line in (root / "docs/symbols.txt").read_text(encoding="utf-8").splitlines()]
header = (root / "include/hbeat.h").read_text(encoding="utf-8")
give_status = set(re.findall(r"^hbeat_status (hbeat_\w+)\(", header, re.M))
text = "".join(path.read_text(encoding="utf-8") for path in sorted((root / "tests/c").glob("test_*.c")))
misused = set(re.findall(r"(?:FAILS|CHECK_STATUS)\((hbeat_\w+)\((?:[^;]*?)HBEAT_ERR_\w+", text))
missing = sorted(give_status - misused)
for name in missing:
    print(f"{name} has no test that misuses it")
print(f"{len(exports)} exports, {len(give_status)} give a status: {len(give_status) - len(missing)} passed, {len(missing)} failed, 0 skipped")
sys.exit(1 if missing else 0)
