"""What the tests share: where things are, and programs in an interpreter of their own."""
import os
import subprocess
import sys
import textwrap
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "bindings/python"
HEADER = ROOT / "include/hbeat.h"
REQUIRED = os.environ.get("HBEAT_REQUIRE_PEERS") == "1"
# Longer than anything here takes, also on a noisy machine.
LONG_S = 60
MS = 1_000_000

sys.path.insert(0, str(PACKAGE))
os.environ["PYTHONPATH"] = str(PACKAGE)

import hbeat  # noqa: E402

# A peer that nobody asks in the time of a test, and one that is DOWN in no time if it does not answer.
CALM = hbeat.Policy("normal")
QUICK = hbeat.Policy("normal interval=40ms timeout=30ms tries=2 jitter=0%")


def missing(what):
    """Skips the test that calls it; where everything has to be there, fails it."""
    if REQUIRED:
        raise AssertionError(what)
    raise unittest.SkipTest(what)


def program(code, *arguments, options=(), environment=None, timeout=LONG_S):
    """Runs code in an interpreter of its own; its exit code and what it printed, errors included."""
    command = [sys.executable, *options, "-c", textwrap.dedent(code), *map(str, arguments)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=timeout,
                         env={**os.environ, **(environment or {})})
    return ran.returncode, ran.stdout.decode(errors="replace")


def until(condition, what="it"):
    end = time.monotonic() + LONG_S
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come about")
        time.sleep(0.002)


def wait_for(engine, kind):
    """Pulls until an event of this kind comes."""
    end = time.monotonic() + LONG_S
    while time.monotonic() < end:
        for event in engine.wait(1):
            if event.type == kind:
                return event
    raise AssertionError(f"no {kind.name} came")
