"""The scenario tables (tests/scenarios, read as tests/common/scenario.rs says) through ctypes, under the manual clock, to the
millisecond. How a table becomes calls is told in tests/ways.rs; here events are always pulled."""
import os
import re
import socket
import unittest

from support import MS, ROOT

import hbeat
from hbeat import Cause, Clock, EventType, Proof, Resend, Run

START_NS = 7_000 * MS + 123_457
# hbeat's time at the beginning of a table: its own, and such that tables run across the wrap of the stamps.
ORIGINS_MS = [0, 0xFFFF_FFFF - 150_000, 0xFFFF_FFFF - 5_000]
STRIDE_NS = (1 << 29) * MS
ACTIVE_TEST, ACTIVE_TEST_RESP, SUBMIT = 8, 0x8000_0008, 4
DRIVEN, ADVANCED, THREADS = "application, driven", "application, advanced", "threads, advanced"
# What a way cannot show, and why.
STOPPED = "stop_process: advance stops at every deadline, only an application that drives can be late"
HUNG = "hang: advance waits for who pulls, the clock stands still with him"


class Table:
    def __init__(self, file, name):
        self.file, self.name = file, name
        self.policy, self.auto_take, self.ordinal, self.opened, self.paused = "", False, 0, 0, False
        self.lines, self.end = [], 0

    def says(self, word):
        return any(act and text.split(" ")[0] == word for _, act, text in self.lines)

    def asks_for_answers(self):
        """An unfinished message stands alone in it, whose bytes must not prove life."""
        policy = hbeat.Policy(self.policy)
        probes = policy.answer_expected and policy.tries and (policy.interval_ms or policy.hold_time_ms)
        return self.says("open_message") and not self.says("received") and bool(probes)

    def told(self):
        return [(at, text) for at, act, text in self.lines if not act]


def moments(word):
    if ".." not in word:
        return [int(word)]
    first, last, step = map(int, re.match(r"(\d+)\.\.(\d+)/(\d+)$", word).groups())
    return range(first, last + 1, step)


def read_line(table, line):
    word, rest = line.split(" ", 1)
    rest = rest.strip()
    if word == "policy:":
        table.policy = rest
    elif word == "auto:":
        table.auto_take = rest == "take"
    elif word == "ordinal:":
        table.ordinal = int(rest)
    elif word == "open":
        table.opened, table.paused = int(rest.split(" ")[0]), rest.endswith("paused")
    elif rest == "end":
        table.end = int(word)
    else:
        table.lines += [(at, {"<": True, ">": False}[rest[0]], rest[1:].strip()) for at in moments(word)]


def tables():
    found = []
    for path in sorted((ROOT / "tests/scenarios").glob("*.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            line = line.split("#")[0].strip()
            if line.startswith("scenario: "):
                found.append(Table(path.name, line[len("scenario: "):]))
            elif line:
                read_line(found[-1], line)
    for table in found:
        table.lines.sort(key=lambda line: line[0])
        table.end = max([table.end, table.opened] + [at for at, _, _ in table.lines])
    return found


def message(command, sequence, body):
    return b"".join(word.to_bytes(4, "big") for word in (12 + body, command, sequence)) + bytes(body)


class Application:
    """Plays a table, and writes down what it is told."""

    def __init__(self, table, way, origin_ms, fed):
        self.table, self.way, self.origin_ns = table, way, START_NS + origin_ms * MS
        self.fed = fed and not table.says("desync")
        self.log, self.closed, self.hung, self.message_is_open = [], 0, False, False
        self.sequence = hbeat.Sequence()
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.theirs.setblocking(False)
        self.engine = hbeat.Engine(run=Run.THREADS if way == THREADS else Run.APPLICATION, clock=Clock.MANUAL, start_ns=START_NS,
                                   events=EventType, max_links=16)

    def play(self):
        self.go(self.ns(self.table.opened))
        self.open()
        for at, act, text in self.table.lines:
            if not act:
                self.go(self.ns(at))
                continue
            self.go(self.ns(at) - 1)
            word, _, rest = text.partition(" ")
            getattr(self, "do_" + word)(*filter(None, [rest]))
            self.go(self.engine.now_ns)
        self.go(self.ns(self.table.end))
        self.finish()
        return self.log

    def ns(self, ms):
        return self.origin_ns + ms * MS

    def now_ms(self):
        """The millisecond of the table that is, or is about to be full."""
        return -(-max(self.engine.now_ns - self.origin_ns, 0) // MS)

    def now_ns(self):
        return self.ns(self.now_ms())

    def policy(self, text):
        policy = hbeat.Policy(text)
        self.resends = policy.resend == Resend.SAME
        # Beats of the peer are not answered: the tables are about ours.
        return policy.replace(answer=False, proof=Proof.ANSWER if self.table.asks_for_answers() else policy.proof)

    def open(self):
        for _ in range(self.table.ordinal):
            self.engine.open("normal", start_paused=True, events=[EventType.DOWN]).close()
        framed = self.fed or self.table.says("desync") or self.table.says("open_message")
        self.link = self.engine.open(self.policy(self.table.policy), protocol="cmpp" if framed else "none", fd=self.ours,
                                     start_paused=self.table.paused)
        self.go(self.engine.now_ns)

    def go(self, to_ns):
        """Lets time run up to and with to_ns; all that is told on the way is heard."""
        while self.engine.now_ns + STRIDE_NS < to_ns:
            self.step(self.engine.now_ns + STRIDE_NS)
        self.step(max(to_ns, self.engine.now_ns))

    def step(self, to_ns):
        engine = self.engine
        if self.way != DRIVEN:
            while engine.advance(to_ns):
                self.pull()
            return
        while True:
            due = engine.next_deadline_ns()
            if (due is None or due > to_ns) and engine.now_ns == to_ns:
                return
            waits = engine.drive(max(due, engine.now_ns) if due is not None and due <= to_ns else to_ns)
            if waits and not self.hung:
                self.pull()

    def pull(self):
        for event in self.engine.wait(0):
            self.hear(event)

    def hear(self, event):
        kind = event.type
        if kind == EventType.CLOSED:
            self.closed += event.link is self.link
            return
        if kind in (EventType.BEAT_RECEIVED, EventType.PAUSE):
            return
        text = {
            EventType.SEND: f"SEND try={event.tries}",
            EventType.SUSPECT: f"SUSPECT left={event.tries_max - event.tries}",
            EventType.DOWN: f"DOWN cause={event.cause.name.lower()} tries={event.tries}",
            EventType.WOULD_BE_DOWN: f"WOULD_BE_DOWN cause={event.cause.name.lower()} tries={event.tries}",
            EventType.ANSWER: "MATCHED" if event.rtt_us is None else f"MATCHED rtt={event.rtt_us // 1000}",
        }.get(kind, kind.name)
        at = (event.at_ns - self.origin_ns) // MS
        if kind == EventType.SEND and event.tries > 1 and self.resends:
            text += f" seq={event.sequence}"
        if not self.hung and at != self.now_ms():
            text += ", handed out at another time"
        if event.count != 1:
            text += ", merged"
        self.log.append((at, text))
        if kind == EventType.SEND and self.table.auto_take:
            self.do_take()

    def do_take(self, first=None):
        """Takes the beat that is due. Whether its number was used before must be as its SEND said."""
        if first is not None:
            self.sequence = hbeat.Sequence(int(first))
        before = self.sequence.next
        if self.link.protocol == "none":
            number = self.link.take_beat(self.sequence, self.now_ns())
            again = number is not None and self.sequence.next == before
        else:
            frames = self.link.take(self.sequence, self.now_ns())
            again = frames != b"" and self.sequence.next == before
            number = before - again if frames == message(ACTIVE_TEST, before - again, 0) else None
        sends = [place for place, (_, text) in enumerate(self.log) if text.startswith("SEND")]
        if sends:
            at, text = self.log[sends[-1]]
            if number is None:
                text += ", nothing to take, or other bytes"
            elif again != (" seq=" in text) or (again and f" seq={number}" not in text):
                text += f", taken with number {number}"
            self.log[sends[-1]] = at, text
        if self.table.says("sent"):
            self.link.sent(self.now_ns())

    def do_received(self):
        self.link.received(self.now_ns())

    def do_sent(self):
        self.link.sent(self.now_ns())

    do_really_sent = do_sent

    def do_unsent(self):
        self.link.unsent(self.now_ns())

    def do_answer(self, number):
        """What has no event is seen in the counters."""
        place, before = len(self.log), self.link.info()
        if self.fed:
            self.feed(message(ACTIVE_TEST_RESP, int(number), 1))
        else:
            self.link.answer_received(int(number), self.now_ns())
        self.go(self.engine.now_ns)
        after = self.link.info()
        for count, text in [(after.answers_late - before.answers_late, "LATE"),
                            (after.answers_unmatched - before.answers_unmatched, "UNMATCHED")]:
            self.log[place:place] = [(self.now_ms(), text)] * count

    def do_beat(self):
        if self.fed:
            self.feed(message(ACTIVE_TEST, 1, 0))
        else:
            self.link.beat_received(1, self.now_ns())

    def do_beat_sent(self, number):
        if self.fed:
            self.link.feed_sent(message(ACTIVE_TEST, int(number), 0), self.now_ns())
        else:
            self.link.beat_sent(int(number), self.now_ns())

    def do_report(self, cause):
        self.link.report_down(Cause[cause.upper()])

    def do_desync(self):
        try:
            self.link.feed(b"garbage, as text goes", self.now_ns())
        except hbeat.DesyncError:
            return
        self.log.append((self.now_ms(), "no DesyncError"))

    def do_start(self):
        self.link.start(self.now_ns())

    def do_pause(self):
        self.link.pause(self.now_ns())

    def do_policy(self, text):
        self.link.set_policy(self.policy(text))

    def do_unread(self, number):
        drain(self.ours)
        self.theirs.send(bytes(int(number)))

    def do_full(self, full):
        if full == "0":
            return drain(self.theirs)
        try:
            while True:
                self.ours.send(bytes(4096))
        except BlockingIOError:
            pass

    def do_open_message(self, begin=True):
        """Ends the unfinished message, if there is one, and begins another, or not."""
        submit, ends = message(SUBMIT, 9, 8), self.message_is_open
        self.message_is_open = begin
        self.feed((submit[15:] if ends else b"") + (submit[:15] if begin else b""))

    def do_close_message(self):
        self.do_open_message(False)

    def do_hang(self):
        self.hung = True

    def do_unhang(self):
        self.pull()
        self.hung = False

    def do_stop_process(self, ms):
        if self.engine.drive(self.now_ns() + int(ms) * MS):
            self.pull()

    def feed(self, data):
        if self.link.feed(data, self.now_ns()):
            self.log.append((self.now_ms(), "an answer is owed"))

    def finish(self):
        """Closes, stops; the link's last event must come, once."""
        self.link.close()
        self.engine.stop()
        for event in self.engine.events() if self.way == THREADS else self.rest():
            self.hear(event)
        self.engine.close()
        self.ours.close()
        self.theirs.close()
        if self.closed != 1:
            self.log.append((self.table.end, f"CLOSED came {self.closed} times"))

    def rest(self):
        try:
            while True:
                yield from self.engine.wait()
        except hbeat.StoppedError:
            return


def drain(end):
    try:
        while end.recv(65536):
            pass
    except BlockingIOError:
        pass


class Scenarios(unittest.TestCase):
    def test_every_table_in_every_way_that_pulls(self):
        read, played, left_out = tables(), 0, {}
        self.assertGreater(len(read), 50)
        for table in read:
            for way in (DRIVEN, ADVANCED, THREADS):
                reason = way != DRIVEN and (table.says("stop_process") and STOPPED or table.says("hang") and HUNG)
                if reason:
                    left_out[reason] = left_out.get(reason, 0) + 1
                    continue
                for origin_ms, fed in [(0, True)] + [(origin_ms, False) for origin_ms in ORIGINS_MS]:
                    with self.subTest(table=f"{table.file}: {table.name}", way=way, origin_ms=origin_ms, fed=fed):
                        self.assertEqual(Application(table, way, origin_ms, fed).play(), table.told())
                        played += 1
        if os.environ.get("HBEAT_ONCE", "1"):
            print(f"figure {len(read)} tables, {played} runs; left out: {left_out}")


if __name__ == "__main__":
    unittest.main()
