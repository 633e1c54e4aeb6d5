#!/usr/bin/env python3
"""The example with idle clients, in whatever language it is written: starts it, connects clients over the loopback that
speak heart frames (docs/heart-frame.md, built here anew), and compares what it prints and does.

    tests/idle_server.py COMMAND [-- COMMAND ...]

Each COMMAND is called with PORT and POLICY. Ends with one line of sums."""
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

INTERVAL_S, TIMEOUT_S, TRIES = 0.4, 1.0, 3
POLICY = "interval=400ms timeout=1s tries=3 jitter=0%"
VERDICT_S = INTERVAL_S + TRIES * TIMEOUT_S
PATIENCE_S = 20  # for what should come at once, also on a noisy machine
HEART, ANSWER = 1, 2
HEADER = struct.Struct(">2sBBHHIQII")


def frame(kind, sequence, send_time=0):
    return HEADER.pack(b"HB", 1, kind, 0, HEADER.size, sequence, send_time, 0, 0)


class Client:
    """One end of a connection to the server; the server calls it self.name."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.name = f"client-{self.socket.getsockname()[1]}"
        self.opened = time.monotonic()

    def send(self, data):
        self.socket.sendall(data)

    def read_frame(self):
        """(kind, sequence, send time) of the next frame; None at the end of the connection."""
        data = b""
        while len(data) < HEADER.size:
            try:
                more = self.socket.recv(HEADER.size - len(data))
            except ConnectionResetError:
                more = b""
            if not more:
                assert not data, f"the connection ended inside a frame: {data.hex()}"
                return None
            data += more
        magic, version, kind, flags, length, sequence, send_time, _, _ = HEADER.unpack(data)
        assert (magic, version, flags, length) == (b"HB", 1, 0, HEADER.size), f"not a bare heart frame: {data.hex()}"
        return kind, sequence, send_time

    def answer_beats(self, count):
        """Answers so many beats as they come; their numbers."""
        numbers = []
        while len(numbers) < count:
            kind, sequence, send_time = self.read_frame() or (None, None, None)
            assert kind == HEART, f"expected a heart, found kind {kind}"
            numbers.append(sequence)
            self.send(frame(ANSWER, sequence, send_time))
        return numbers

    def close(self):
        self.socket.close()


class Server:
    """The program under test, and the lines that it prints."""

    def __init__(self, command):
        self.process = subprocess.Popen([*command, "0", POLICY], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.lines, self.news = [], threading.Condition()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()
        try:
            self.port = int(self.wait_for(r"listening (\d+)$").group(1))
        except AssertionError:
            self.kill()
            raise

    def read(self):
        for line in self.process.stdout:
            with self.news:
                self.lines.append(line.rstrip("\n"))
                self.news.notify_all()

    def found(self, pattern):
        return [match for match in (re.match(pattern, line) for line in list(self.lines)) if match]

    def wait_for(self, pattern, count=1, within_s=PATIENCE_S):
        """The count-th line that matches; fails when it does not come in time."""
        with self.news:
            came = self.news.wait_for(lambda: len(self.found(pattern)) >= count, within_s)
            assert came, f"{len(self.found(pattern))} of {count} lines /{pattern}/ came within {within_s} s; it printed {self.lines[-20:]}"
            return self.found(pattern)[count - 1]

    def descriptors(self):
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE_S)
        finally:
            self.kill()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()


def who_answers_stays(server):
    client = Client(server.port)
    client.answer_beats(3)
    assert not server.found(f"DOWN {client.name} "), server.lines
    # The first beat is due INTERVAL_S after the connection, each next one as long after the answer.
    assert time.monotonic() - client.opened >= 3 * INTERVAL_S, "the beats came too early"
    client.close()
    server.wait_for(f"DOWN {client.name} cause=closed_by_peer")


def who_is_mute_is_given_up(server):
    client = Client(server.port)
    line = server.wait_for(f"DOWN {client.name} (.*)", within_s=VERDICT_S + PATIENCE_S).group(1)
    after = time.monotonic() - client.opened
    assert line.startswith(f"cause=no_answer tries={TRIES}/{TRIES} "), line
    assert after >= VERDICT_S, f"given up {after:.3f} s after it connected, {VERDICT_S} s is due"
    assert server.found(f"SUSPECT {client.name} "), server.lines
    kinds = []
    while got := client.read_frame():  # ends where the server closes the connection
        kinds.append(got[0])
    assert kinds and set(kinds) == {HEART} and len(kinds) <= TRIES, f"it was asked with frames of kinds {kinds}"
    client.close()


def who_closes_is_told_of(server):
    client = Client(server.port)
    client.close()
    server.wait_for(f"DOWN {client.name} cause=closed_by_peer ")


def who_resets_is_told_of(server):
    client = Client(server.port)
    client.send(frame(HEART, 1))
    assert client.read_frame() == (ANSWER, 1, 0)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    server.wait_for(f"DOWN {client.name} cause=(reset|closed_by_peer) ")


def who_beats_is_answered(server):
    client = Client(server.port)
    for sequence in (7, 0, 4294967295):
        client.send(frame(HEART, sequence, send_time=sequence + 1))
        while (got := client.read_frame()) and got[0] == HEART:  # the server's own beat, on a slow machine
            client.send(frame(ANSWER, *got[1:]))
        assert got == (ANSWER, sequence, sequence + 1), got
    client.close()
    server.wait_for(f"DOWN {client.name} cause=closed_by_peer ")


def who_speaks_something_else_is_sent_away(server):
    client = Client(server.port)
    client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    server.wait_for(f"DOWN {client.name} cause=desync ")
    assert client.read_frame() is None
    client.close()


def many_come_and_go(server):
    """Each is answered once, so that the server knows it, and goes; afterwards nothing of them is left."""
    def come_and_go(count):
        told = len(server.found("DOWN "))
        for _ in range(count // 25):
            clients = [Client(server.port) for _ in range(25)]
            for client in clients:
                client.send(frame(HEART, 1))
            for client in clients:
                assert client.read_frame() == (ANSWER, 1, 0)
                client.close()
        server.wait_for("DOWN ", count=told + count)
        assert len(server.found("DOWN ")) == told + count, "some were told of twice"

    come_and_go(25)
    before = settled(server.descriptors)
    come_and_go(300)
    after = settled(server.descriptors, wanted=before)
    assert after <= before, f"{before} descriptors before, {after} after 300 clients"


def settled(count, wanted=0):
    """What count() says once it is not above wanted, or has not changed for half a second."""
    number, since = count(), time.monotonic()
    while number > wanted and time.monotonic() - since < (PATIENCE_S if wanted else 0.5):
        time.sleep(0.02)
        if (now := count()) != number:
            number, since = now, time.monotonic()
    return number


def sigterm_ends_it(server):
    """With clients connected, too."""
    client = Client(server.port)
    client.send(frame(HEART, 1))
    assert client.read_frame() == (ANSWER, 1, 0)
    code = server.end()
    assert code == 0, f"it ended with code {code}"
    assert client.read_frame() is None, "the connection is still open"
    client.close()


STORIES = [who_answers_stays, who_is_mute_is_given_up, who_closes_is_told_of, who_resets_is_told_of, who_beats_is_answered,
           who_speaks_something_else_is_sent_away, many_come_and_go, sigterm_ends_it]


def run(command):
    """How many stories of one program passed and failed."""
    title = " ".join(os.path.basename(word) for word in command)
    passed = failed = 0
    try:
        server = Server(command)
    except Exception as fault:
        print(f"FAILED {title}: it does not start: {fault}")
        return 0, len(STORIES)
    for story in STORIES:
        try:
            story(server)
            passed += 1
            print(f"passed {title}: {story.__name__}")
        except Exception as fault:
            failed += 1
            print(f"FAILED {title}: {story.__name__}: {type(fault).__name__}: {fault}")
        sys.stdout.flush()
    server.kill()
    return passed, failed


def main():
    commands = [[]]
    for word in sys.argv[1:]:
        commands.append([]) if word == "--" else commands[-1].append(word)
    if not all(commands):
        print(__doc__)
        return 2
    counts = [run(command) for command in commands]
    passed, failed = (sum(count[column] for count in counts) for column in range(2))
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
