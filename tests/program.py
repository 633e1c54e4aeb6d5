"""A program that a test runs beside itself: what it prints, what it is told, and its end."""
import os
import re
import signal
import subprocess
import threading
import time


class Program:
    def __init__(self, *command, **more):
        """In a process group of its own; `more` as for subprocess.Popen."""
        self.lines = []
        self.seen = 0  # by next
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        start_new_session=True, **more)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)

    def until(self, pattern, patience_s, start=0):
        """The match in the first line from `start` on that has it; None where none comes."""
        end = time.monotonic() + patience_s
        while True:
            for line in self.lines[start:]:
                if found := re.search(pattern, line):
                    return found
            if time.monotonic() > end:
                return None
            time.sleep(0.02)

    def next(self, pattern, patience_s):
        """The match in the first line that has it after the one that this found last; None where none comes."""
        found = self.until(pattern, patience_s, self.seen)
        if found:
            self.seen = self.lines.index(found.string, self.seen) + 1
        return found

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def signal(self, name):
        """To all of the group."""
        try:
            os.killpg(self.process.pid, name)
        except ProcessLookupError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        self.process.wait()
