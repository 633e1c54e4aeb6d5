#!/usr/bin/env python3
"""examples/c/heartd and examples/python/heart_client.py, as an operator sees them.

    tests/heartd.py HEARTD

A client at each kind of endpoint comes, is seen with what it says, and is killed; another heartd dials, its listener goes and
comes again. Ends with one line of sums."""
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 60


class Running:
    """A program, and the lines that it printed so far."""

    def __init__(self, *command):
        self.lines = []
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line)

    def until(self, pattern, start=0):
        """The match in the first line from `start` on that has it."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            for line in self.lines[start:]:
                found = re.search(pattern, line)
                if found:
                    return found
            time.sleep(0.05)
        raise AssertionError(f"{pattern!r} did not come: {''.join(self.lines[-30:])}")

    def kill(self):
        self.process.kill()
        self.process.wait()


def client_comes_and_goes(heartd, endpoint):
    monitor = Running(heartd, "-l", endpoint)
    client = None
    try:
        place = monitor.until(r"^listening at (\S+)").group(1)
        client = Running(sys.executable, str(ROOT / "examples/python/heart_client.py"), place)
        client.until(r"^UP ")
        monitor.until(r"^ACCEPTED ")
        monitor.until(r" up +\d+\.\d\d ms +\d+\.\d s +\d+  load=\d")
        client.kill()
        monitor.until(r"^DOWN .*cause=(closed_by_peer|reset|no_answer)")
        monitor.until(r"^CLOSED ")
    finally:
        monitor.kill()
        if client:
            client.kill()


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
        listener.kill()
        os.unlink(f"{folder}/dialled.sock")
        dialler.until(r"^DOWN unix:.*cause=(closed_by_peer|reset)")
        before = len(dialler.lines)
        listener = Running(heartd, "-l", path, "-k", str(secret))
        dialler.until(r"^UP unix:", before)
    finally:
        listener.kill()
        if dialler:
            dialler.kill()


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
