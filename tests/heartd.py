#!/usr/bin/env python3
"""examples/c/heartd and examples/python/heart_client.py, as an operator sees them.

    tests/heartd.py HEARTD

A client at each kind of endpoint comes, is seen with what it says, and is killed; another heartd dials, its listener goes and
comes again. Ends with one line of sums."""
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from program import Program

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 60


class Running(Program):
    def __init__(self, *command):
        super().__init__(*command, stderr=subprocess.STDOUT)

    def until(self, pattern, start=0):
        if found := super().until(pattern, PATIENCE_S, start):
            return found
        raise AssertionError(f"{pattern!r} did not come: {''.join(self.lines[-30:])}")


def client_comes_and_goes(heartd, endpoint):
    monitor = Running(heartd, "-l", endpoint)
    client = None
    try:
        place = monitor.until(r"^listening at (\S+)").group(1)
        client = Running(sys.executable, str(ROOT / "examples/python/heart_client.py"), place)
        client.until(r"^UP ")
        monitor.until(r"^ACCEPTED ")
        monitor.until(r" up +\d+\.\d\d ms +\d+\.\d s +\d+  load=\d")
        client.end()
        monitor.until(r"^DOWN .*cause=(closed_by_peer|reset|no_answer)")
        monitor.until(r"^CLOSED ")
    finally:
        monitor.end()
        if client:
            client.end()


def heartd_dials_again(heartd, folder):
    secret = Path(folder, "secret")
    secret.write_bytes(os.urandom(32))
    path = f"unix://{folder}/dialled.sock"
    listener = Running(heartd, "-l", path, "-k", str(secret))
    dialler = None
    try:
        listener.until(r"^listening at")
        dialler = Running(heartd, "-d", path, "-k", str(secret))
        dialler.until(r"^UP unix:")
        listener.end()
        os.unlink(f"{folder}/dialled.sock")
        dialler.until(r"^DOWN unix:.*cause=(closed_by_peer|reset)")
        before = len(dialler.lines)
        listener = Running(heartd, "-l", path, "-k", str(secret))
        dialler.until(r"^UP unix:", before)
    finally:
        listener.end()
        if dialler:
            dialler.end()


def main():
    heartd = str(Path(sys.argv[1]).resolve())
    failed = 0
    with tempfile.TemporaryDirectory(prefix="heartd-") as folder:
        stories = {endpoint: lambda endpoint=endpoint: client_comes_and_goes(heartd, endpoint)
                   for endpoint in ("tcp://127.0.0.1:0", "udp://127.0.0.1:0", f"unix://{folder}/heartd.sock")}
        stories["dialled, lost and dialled again, sealed"] = lambda: heartd_dials_again(heartd, folder)
        for name, story in stories.items():
            try:
                story()
                print(f"passed {name}")
            except AssertionError as error:
                failed += 1
                print(f"FAILED {name}: {error}")
        ended = subprocess.run([heartd, "-n", "1"], capture_output=True, text=True, timeout=PATIENCE_S)
        wrong = subprocess.run([heartd, "-l", "tcp://nowhere"], capture_output=True, text=True, timeout=PATIENCE_S)
        right = ended.returncode == 0 and ended.stdout.startswith("NAME") and wrong.returncode == 1 and "endpoint" in wrong.stderr
        print(f"{'passed' if right else 'FAILED'} ends as it is told, and says what is wrong")
        failed += not right
    print(f"{len(stories) + 1 - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
