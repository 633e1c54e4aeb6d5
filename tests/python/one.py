"""The tests on the Python that runs this: one.py [word ...]"""
import os
import sys
import time
import unittest
from pathlib import Path

# Also what does not depend on the Python.
ALL = bool(os.environ.get("HBEAT_ONCE", "1"))


class Lines(unittest.TestResult):
    """One line a test."""

    passed = 0

    def startTest(self, test):
        super().startTest(test)
        self.begun = time.monotonic()

    def say(self, what, test, why=""):
        took = time.monotonic() - getattr(self, "begun", time.monotonic())
        print(f"{what} {getattr(test, 'id', lambda: test)()} ({took:.1f} s)", why, flush=True)

    def addSuccess(self, test):
        self.passed += 1
        self.say("passed", test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.say("skipped", test, reason)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.say("FAILED", test, self.failures[-1][1])

    def addError(self, test, error):
        super().addError(test, error)
        self.say("FAILED", test, self.errors[-1][1])

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error:
            self.say("FAILED", subtest, self._exc_info_to_string(error, test))


def tests(suite, words):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from tests(test, words)
        elif type(test).__name__ == "_FailedTest":  # of a file that cannot be read
            yield test
        elif (ALL or not getattr(test, "once", False)) and (not words or any(word in test.id() for word in words)):
            yield test


def main():
    found = list(tests(unittest.defaultTestLoader.discover(str(Path(__file__).parent), "test_*.py"), sys.argv[1:]))
    result = Lines()
    unittest.TestSuite(found).run(result)
    failed = len({test.id().split(" ")[0] for test, _ in result.failures + result.errors})
    print(f"{result.passed} passed, {failed} failed, {len(result.skipped)} skipped")
    return 1 if failed or not found else 0


if __name__ == "__main__":
    sys.exit(main())
