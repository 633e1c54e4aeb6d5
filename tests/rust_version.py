#!/usr/bin/env python3
"""No package of Cargo.lock asks for a newer Rust than Cargo.toml promises."""
import json
import subprocess
import sys

packages = json.loads(subprocess.check_output(["cargo", "metadata", "--format-version", "1", "--locked"]))["packages"]


def release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in (version + ".0.0").split(".")[:3])


promised = next(package["rust_version"] for package in packages if package["name"] == "hbeat")
telling = [package for package in packages if package["rust_version"]]
newer = [package for package in telling if release(package["rust_version"]) > release(promised)]
for package in newer:
    print(f"{package['name']} {package['version']} asks for Rust {package['rust_version']}, promised is {promised}")
print(f"{len(packages)} packages, {len(telling)} of them say what Rust they need: {promised} is enough for {len(telling) - len(newer)}")
sys.exit(1 if newer else 0)
