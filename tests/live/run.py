#!/usr/bin/env python3
"""CMPP over loopback, against peers as they are: hbeat in the example ISMG on the one side, on the other the forms of
ACTIVE_TEST_RESP that gateways really send, played by plain sockets here, and two CMPP clients that nobody here wrote
(tests/live/install.sh installs them).

    tests/live/run.py LIBRARY_DIR BUILD_DIR [word ...]

LIBRARY_DIR holds libhbeat.so. BUILD_DIR is where install.sh put the clients; the ISMG is built there, too. A word
selects the scenarios whose names contain it. A peer that is not installed is skipped, or a failure with
HBEAT_REQUIRE_PEERS=1. Ends with one line of sums."""
import atexit
import hashlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

CONNECT, CONNECT_RESP, ACTIVE_TEST, ACTIVE_TEST_RESP = 0x00000001, 0x80000001, 0x00000008, 0x80000008
ACCOUNT, SECRET = "901234", "secret"

C, T, N = 0.3, 0.2, 3
VERDICT = C + N * T  # from the last proof of life
CMPP = "cmpp interval=300ms timeout=200ms tries=3"
# A verdict may not be early, but for the resolution of clocks; it may be late when both cores are busy.
EARLY, LATE = 0.05, 1.5
WATCH, AT_LEAST = 2.0, 3  # for how many seconds and answers a peer that must stay UP is watched
PATIENCE = 20.0  # nothing takes so long
AT_ONCE = 0.5  # an answer, when both cores are busy
LIMIT = 85  # nor does all of it


class Failure(Exception):
    pass


class Skipped(Exception):
    pass


def check(condition, text):
    if not condition:
        raise Failure(text)


def in_time(what, took, expected):
    check(expected - EARLY <= took <= expected + LATE, f"{what} after {took:.3f} s, expected {expected:.3f} s")


# -- processes: each is killed at the end, whatever the end is --------------------------------------------------------

children = []


def start(command, **how):
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True, errors="replace", **how)
    children.append(child)
    return child


def kill(child):
    if child.poll() is None:
        child.kill()  # ends a stopped process, too
    child.wait()


@atexit.register
def kill_all():
    for child in children:
        kill(child)


def give_up(*_):
    kill_all()
    print("failed: stopped from outside, or longer than all of it may take\n0 passed, 1 failed, 0 skipped", flush=True)
    os._exit(1)


class Output:
    """The lines that a process writes, as they come."""

    def __init__(self, child):
        self.child = child
        self.lines = []
        self.ended = False
        self.news = threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.child.stdout:
            with self.news:
                self.lines.append(line.rstrip("\n"))
                self.news.notify_all()
        with self.news:
            self.ended = True
            self.news.notify_all()

    def find(self, pattern):
        expression = re.compile(pattern)
        with self.news:
            return [found for found in map(expression.search, self.lines) if found]

    def wait(self, pattern, count=1, seconds=PATIENCE):
        """The first `count` lines that match, or a failure."""
        until = time.monotonic() + seconds
        with self.news:
            while len(found := self.find(pattern)) < count:
                left = until - time.monotonic()
                if left <= 0 or self.ended:
                    tail = "\n".join(self.lines[-12:])
                    raise Failure(f"{len(found)} of {count} lines with {pattern!r}\n{tail}")
                self.news.wait(left)
        return found[:count]


class Ismg(Output):
    """The example ISMG: hbeat inside, a line on its output for all that happens, with the time of the same clock."""

    program = None
    running = {}
    lock = threading.Lock()

    def __init__(self, policy):
        super().__init__(start([str(self.program), "--policy", policy]))
        self.port = int(self.wait(r"^listening 127\.0\.0\.1:(\d+)$")[0][1])

    @classmethod
    def of(cls, policy):
        """One for all scripted peers with this policy."""
        with cls.lock:
            if policy not in cls.running:
                cls.running[policy] = cls(policy)
            return cls.running[policy]

    def times(self, pattern):
        return [float(found[1]) for found in self.find(r"^([\d.]+) " + pattern)]

    def verdict(self, name, seconds=PATIENCE):
        """When and why the link went DOWN, and its counters."""
        found = self.wait(rf"^([\d.]+) hbeat DOWN {name} cause=(\w+)", seconds=seconds)[0]
        counters = self.wait(rf"^[\d.]+ {name} counters (.*)$", seconds=seconds)[0]
        return float(found[1]), found[2], {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", counters[1])}

    def is_up(self, name):
        return not self.find(rf" hbeat DOWN {name} ")

    def leave(self):
        """It stops in good order when asked to: nothing that happened to it broke it."""
        check(self.child.poll() is None, f"the ISMG ended by itself: {self.child.returncode}")
        self.child.terminate()
        try:
            status = self.child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failure("the ISMG does not end") from None
        check(status == 0, f"the ISMG ended with {status}")


# -- a scripted peer --------------------------------------------------------------------------------------------------


def frame(command, sequence, body=b"", length=None):
    return struct.pack("!III", 12 + len(body) if length is None else length, command, sequence) + body


class Peer:
    """A client on a plain socket, logged in. What it answers is the scenario's."""

    def __init__(self, ismg, with_it=b""):
        """`with_it` goes out in one piece with the login."""
        self.ismg = ismg
        self.socket = socket.create_connection(("127.0.0.1", ismg.port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.name = f"sp-{self.socket.getsockname()[1]}"
        self.buffer = b""
        self.proof = time.monotonic()  # the latest moment before the last sign of life left
        stamp = 1123022549
        authenticator = hashlib.md5(f"{ACCOUNT}".encode() + bytes(9) + f"{SECRET}{stamp:010}".encode()).digest()
        self.send(frame(CONNECT, 1, ACCOUNT.encode() + authenticator + struct.pack("!BI", 0x20, stamp)) + with_it)
        command, _, body = self.read(PATIENCE)
        check(command == CONNECT_RESP and body[0] == 0, f"login refused: {command:#x} {body.hex()}")

    def send(self, data):
        """False: the other side has closed."""
        try:
            self.socket.sendall(data)
            return True
        except OSError:
            return False

    def proves(self, data):
        at = time.monotonic()
        if self.send(data):
            self.proof = at

    def read(self, seconds):
        """The next message as command, sequence, body; None: the ISMG has closed, or time is up."""
        until = time.monotonic() + seconds
        while len(self.buffer) < 4 or len(self.buffer) < int.from_bytes(self.buffer[:4], "big"):
            left = until - time.monotonic()
            if left <= 0:
                return None
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(4096)
            except TimeoutError:
                return None
            except ConnectionError:
                data = b""
            if not data:
                return None
            self.buffer += data
        length = int.from_bytes(self.buffer[:4], "big")
        message, self.buffer = self.buffer[:length], self.buffer[length:]
        check(length >= 12, f"the ISMG sent a length of {length}")
        return int.from_bytes(message[4:8], "big"), int.from_bytes(message[8:12], "big"), message[12:]

    def tests(self, seconds):
        """The ISMG's tests: their numbers, as they arrive, until time is up or it closes."""
        until = time.monotonic() + seconds
        while (message := self.read(until - time.monotonic())) is not None:
            if message[0] == ACTIVE_TEST:
                check(message[2] == b"", "an ACTIVE_TEST with a body")
                yield message[1]

    def is_closed(self):
        """Whether the ISMG closes, as it has to after its verdict."""
        self.socket.settimeout(PATIENCE)
        try:
            while self.socket.recv(4096):
                pass
        except TimeoutError:
            return False
        except ConnectionError:
            pass
        return True


def answer(sequence):
    return frame(ACTIVE_TEST_RESP, sequence, b"\0")


def stays_up(peer, reply, counted="answered"):
    """The peer answers in a way of its own and is believed to live."""
    begun = time.monotonic()
    for number, sequence in enumerate(peer.tests(PATIENCE), 1):
        reply(sequence)
        watched = time.monotonic() - begun
        if number >= 2 * AT_LEAST + 1 and watched >= WATCH:
            break
    check(peer.ismg.is_up(peer.name), "it went DOWN")
    left = time.monotonic()
    peer.socket.close()
    at, cause, counters = peer.ismg.verdict(peer.name)
    check(cause in ("closed_by_peer", "reset"), f"DOWN with cause {cause} when the peer left")
    in_time("the end of the connection was noticed", at - left, 0)
    check(counters[counted] >= AT_LEAST, f"only {counters[counted]} {counted}")
    # A copy of a test that was slow to arrive is answered, too: to a number that is settled.
    check(counters["unmatched"] <= counters["sent"] - counters["answered"], f"counters {counters}")
    check(counters["late"] == 0, f"counters {counters}")
    return f"UP for {watched:.1f} s, {counters['sent']} tests, {counters[counted]} {counted}"


def goes_down(peer, reply, expected_cause, expected_s=VERDICT, what="the last proof of life"):
    """The verdict, `expected_s` after `peer.proof`."""
    for sequence in peer.tests(PATIENCE):
        reply(sequence)
    at, cause, counters = peer.ismg.verdict(peer.name)
    took = at - peer.proof
    check(cause == expected_cause, f"DOWN with cause {cause}, expected {expected_cause}")
    in_time(f"DOWN {cause}", took, expected_s)
    check(peer.is_closed(), "the ISMG did not close")
    downs = peer.ismg.find(rf" hbeat DOWN {peer.name} ")
    check(len(downs) == 1, f"{len(downs)} DOWN")
    return counters, f"DOWN {cause} {max(took, 0):.3f} s ({expected_s:.1f}) after {what}"


# -- the answers that are met (each gets a peer that is logged in) ----------------------------------------------------


def answer_of_13_octets(peer):
    return stays_up(peer, lambda sequence: peer.send(answer(sequence)))


def answer_of_12_octets(peer):
    return stays_up(peer, lambda sequence: peer.send(frame(ACTIVE_TEST_RESP, sequence)))


def answer_octet_by_octet(peer):
    def reply(sequence):
        for octet in answer(sequence):
            peer.send(bytes([octet]))
            time.sleep(0.005)

    return stays_up(peer, reply)


def test_in_place_of_answer(peer):
    return stays_up(peer, lambda sequence: peer.send(frame(ACTIVE_TEST, sequence)), "received")


def test_in_place_of_answer_where_only_answers_prove(peer):
    counters, text = goes_down(peer, lambda sequence: peer.send(frame(ACTIVE_TEST, sequence)), "no_answer")
    check(counters["answered"] == 0 and counters["received"] >= 1, f"counters {counters}")
    return text


def too_many_octets(peer, body, length):
    """The first answer is one; the second begins with what was left over."""

    def reply(sequence):
        peer.proves(frame(ACTIVE_TEST_RESP, sequence, body, length))
        sent.append(peer.proof)

    sent = []
    counters, text = goes_down(peer, reply, "desync", 0, "the second answer")
    check(len(sent) == 2 and counters["answered"] == 1, f"{len(sent)} answers, counters {counters}")
    check(peer.ismg.find(rf" {peer.name} feed HBEAT_ERR_DESYNC: "), "hbeat did not say DESYNC")
    return f"{text}, that came {sent[1] - sent[0]:.3f} s after the first"


def answer_with_3_octets_too_many(peer):
    return too_many_octets(peer, b"0x00", 13)


def answer_with_1_octet_too_many(peer):
    return too_many_octets(peer, b"\0", 12)


def mute(peer):
    arrived = []
    counters, text = goes_down(peer, lambda sequence: arrived.append((time.monotonic(), sequence)), "no_answer")
    check(len(arrived) == N == counters["sent"], f"{len(arrived)} tests arrived, {counters['sent']} sent")
    check(len({sequence for _, sequence in arrived}) == 1, "the tries do not carry the same number")
    for number, (at, _) in enumerate(arrived):
        in_time(f"try {number + 1}", at - peer.proof, C + number * T)
    return text + ", 3 tries with one number"


def wrong_number(peer):
    counters, text = goes_down(peer, lambda sequence: peer.send(answer(sequence ^ 0x40000000)), "no_answer")
    at = peer.ismg.times(rf"hbeat DOWN {peer.name} ")[0]
    arrived = [seen for seen in peer.ismg.times(rf"{peer.name} rx ACTIVE_TEST_RESP") if seen <= at]
    check(len(arrived) == counters["unmatched"] >= 1, f"{len(arrived)} arrived, counters {counters}")
    check(counters["answered"] == 0, f"counters {counters}")
    return f"{text}, {counters['unmatched']} unmatched"


def answer_later_than_t(peer):
    def reply(sequence):
        # A second copy says that T is over: now the first is answered.
        if sequence in waiting:
            waiting.remove(sequence)
            peer.send(answer(sequence))
        else:
            waiting.add(sequence)

    waiting = set()
    text = stays_up(peer, reply)
    suspect = peer.ismg.find(rf" hbeat SUSPECT {peer.name} ")
    up = peer.ismg.find(rf" hbeat UP {peer.name}\b")
    check(len(suspect) >= 3 and len(up) >= 3, f"{len(suspect)} SUSPECT, {len(up)} UP")
    return f"{text}, {len(suspect)} times SUSPECT and UP again"


def answer_later_than_t_to_tries_that_differ(peer):
    def reply(sequence):
        if waiting:
            time.sleep(0.02)
            peer.send(answer(waiting.pop()))
        waiting.append(sequence)

    waiting = []
    counters, text = goes_down(peer, reply, "no_answer")
    check(counters["late"] >= 1 and counters["answered"] == 0, f"counters {counters}")
    return f"{text}, {counters['late']} late"


def half_an_answer(peer):
    def reply(sequence):
        if not begun:
            peer.proves(answer(sequence)[:6])
            begun.append(peer.proof)

    begun = []
    _, text = goes_down(peer, reply, "partial_frame")
    told = peer.ismg.times(rf"hbeat PARTIAL_FRAME {peer.name}\b")
    check(len(told) == 1, f"{len(told)} PARTIAL_FRAME")
    in_time("PARTIAL_FRAME", told[0] - begun[0], T)
    return f"{text}, PARTIAL_FRAME after {told[0] - begun[0]:.3f} s"


def octets_that_never_become_a_message(peer):
    def drip():
        peer.send(frame(CONNECT_RESP, 1, length=4096))
        while peer.send(b"\0"):
            time.sleep(0.1)

    # Octets of a message that is unfinished for longer than T are no sign of life.
    peer.proof = time.monotonic()
    dripping = threading.Thread(target=drip, daemon=True)
    dripping.start()
    _, text = goes_down(peer, lambda sequence: None, "partial_frame")
    peer.socket.close()
    dripping.join(PATIENCE)
    return text


def length(value):
    def scenario(peer):
        def reply(sequence):
            peer.proves(frame(ACTIVE_TEST_RESP, sequence, b"\0", length=value))

        _, text = goes_down(peer, reply, "desync", 0, "the octets")
        check(peer.ismg.find(rf" {peer.name} feed HBEAT_ERR_DESYNC: "), "hbeat did not say DESYNC")
        return text

    scenario.__name__ = f"length_{value:#x}"
    return scenario


def test_together_with_login():
    # With these times nothing else is due that would get the answer on its way.
    peer = Peer(Ismg.of("cmpp"), with_it=frame(ACTIVE_TEST, 77))
    check(peer.read(PATIENCE) == (ACTIVE_TEST_RESP, 77, b"\0"), "no answer")
    took = time.monotonic() - peer.proof
    check(took <= AT_ONCE, f"answered after {took:.3f} s")
    peer.socket.close()
    return f"answered after {took:.3f} s"


ANSWERS = [
    (answer_of_13_octets, CMPP),
    (answer_of_12_octets, CMPP),
    (answer_with_3_octets_too_many, CMPP),
    (answer_with_1_octet_too_many, CMPP),
    (test_in_place_of_answer, CMPP),
    (test_in_place_of_answer_where_only_answers_prove, CMPP + " proof=answer"),
    (mute, CMPP),
    (wrong_number, CMPP),
    (answer_later_than_t, CMPP),
    (answer_later_than_t_to_tries_that_differ, CMPP + " resend=new"),
    (answer_octet_by_octet, CMPP),
    (half_an_answer, CMPP),
    (octets_that_never_become_a_message, CMPP),
    (length(0), CMPP),
    (length(11), CMPP),
    (length(0x7FFFFFFF), CMPP),
    (length(0xFFFFFFFF), CMPP),
]

# -- the clients that nobody here wrote -------------------------------------------------------------------------------

PEERS_C, PEERS_T = 0.5, 0.5
PEERS = "cmpp interval=500ms timeout=500ms tries=3"
NAME = r"([\d.]+) (sp-\d+) login ok"


def cmppprotocol(build):
    client = build / "target" / "debug" / "cmpp_client"
    if not client.exists():
        raise Skipped("cmppprotocol is not installed (tests/live/install.sh)")
    return [str(client)]


PYCMPP = """
import logging, sys
sys.path.insert(0, sys.argv[1])
logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
from pycmpp import Cmpp
Cmpp("127.0.0.1", int(sys.argv[2]), sys.argv[3], sys.argv[4], "10658000").run()
"""


def pycmpp(build):
    if not (build / "python" / "pycmpp").is_dir():
        raise Skipped("pycmpp is not installed (tests/live/install.sh)")
    return [sys.executable, "-u", "-c", PYCMPP, str(build / "python")]


def all_answered(ismg, name, theirs):
    """Their tests, each with our answer."""
    for sequence in theirs:
        found = ismg.wait(rf"^([\d.]+) {name} tx ACTIVE_TEST_RESP seq={sequence} ")[0]
        took = float(found[1]) - ismg.times(rf"{name} rx ACTIVE_TEST seq={sequence} ")[0]
        check(took <= AT_ONCE, f"test {sequence} answered after {took:.3f} s")


def freeze(ismg, client, name, expected):
    """SIGSTOP: the connection stays, and nobody answers."""
    os.kill(client.pid, signal.SIGSTOP)
    at, cause, counters = ismg.verdict(name)
    proof = max(seen for seen in ismg.times(rf"{name} rx ") if seen <= at)
    check(cause == "no_answer", f"frozen, DOWN with cause {cause}")
    in_time("frozen, DOWN", at - proof, expected)
    return f"frozen: DOWN {cause} {at - proof:.3f} s ({expected:.1f}) after the last proof of life"


def cmppprotocol_lives_then_freezes(build):
    command = cmppprotocol(build)
    ismg = Ismg(PEERS)
    client = start(command + [str(ismg.port), ACCOUNT, SECRET, "1"])
    output = Output(client)
    name = ismg.wait(NAME)[0][2]
    output.wait("^logged in$")
    # It gives up after three tests of 1 s without an answer: it would be gone by now.
    theirs = [found[1] for found in ismg.wait(rf" {name} rx ACTIVE_TEST seq=(\d+) ", count=5)]
    all_answered(ismg, name, theirs)
    ours = [found[1] for found in ismg.wait(rf" {name} tx ACTIVE_TEST seq=(\d+) ", count=3)]
    for sequence in ours:
        ismg.wait(rf" {name} rx ACTIVE_TEST_RESP seq={sequence} ", seconds=2)
    check(ismg.is_up(name) and not output.find("Disconnected"), "somebody gave up on somebody alive")
    text = freeze(ismg, client, name, PEERS_C + N * PEERS_T)
    os.kill(client.pid, signal.SIGCONT)
    output.wait("^Disconnected")
    kill(client)
    ismg.leave()
    return f"{len(theirs)} tests of theirs and {len(ours)} of ours answered; {text}"


def pycmpp_lives_then_freezes(build):
    # It tests every 3 s: as we wait longer than that, nothing of ours provokes its answer.
    command = pycmpp(build)
    ismg = Ismg("cmpp interval=4s timeout=500ms tries=3")
    client = start(command + [str(ismg.port), ACCOUNT, SECRET])
    output = Output(client)
    name = ismg.wait(NAME)[0][2]
    theirs = [found[1] for found in ismg.wait(rf" {name} rx ACTIVE_TEST seq=(\d+) ", count=3)]
    all_answered(ismg, name, theirs)
    output.wait("^heartbeat$", count=3)  # what it says when it understood an answer
    check(ismg.is_up(name), "a peer alive went DOWN")
    check(not ismg.find(rf" {name} tx ACTIVE_TEST seq="), "a test on a link that was not idle")
    text = freeze(ismg, client, name, 4 + N * 0.5)
    kill(client)
    ismg.leave()
    return f"{len(theirs)} tests of theirs answered and understood; {text}"


def pycmpp_answers_with_16_octets(build):
    command = pycmpp(build)
    ismg = Ismg(PEERS)
    other = Peer(ismg)
    watching = threading.Thread(target=lambda: [other.send(answer(n)) for n in other.tests(PATIENCE)], daemon=True)
    watching.start()
    client = start(command + [str(ismg.port), ACCOUNT, SECRET])
    Output(client)
    name = ismg.wait(NAME, count=2)[1][2]
    at, cause, counters = ismg.verdict(name)
    kill(client)  # at the end of the stream it turns for ever
    check(cause == "desync", f"DOWN with cause {cause}")
    asked = ismg.times(rf"{name} tx ACTIVE_TEST seq=")
    # Our first test is answered; the next thing it sends, no later than for our second, ends the stream.
    check(counters["answered"] == 1 and asked, f"counters {counters}, {len(asked)} tests")
    took = at - asked[0]
    check(0 <= took <= PEERS_C + LATE, f"DOWN {took:.3f} s after the first test")
    # The ISMG goes on: for who was there, and for who comes.
    check(ismg.is_up(other.name), "another link went DOWN")
    before = len(ismg.find(rf" {other.name} rx ACTIVE_TEST_RESP"))
    ismg.wait(rf" {other.name} rx ACTIVE_TEST_RESP", count=before + 2)
    newcomer = Peer(ismg)
    newcomer.send(frame(ACTIVE_TEST, 77))
    check((ACTIVE_TEST_RESP, 77, b"\0") == newcomer.read(PATIENCE), "no answer to a new connection")
    newcomer.socket.close()
    other.socket.shutdown(socket.SHUT_RDWR)
    watching.join(PATIENCE)
    ismg.leave()
    return f"DOWN {cause} {took:.3f} s (at most {PEERS_C:.1f}) after our first test; the ISMG goes on serving"


CLIENTS = [cmppprotocol_lives_then_freezes, pycmpp_lives_then_freezes, pycmpp_answers_with_16_octets]

# -- all of it --------------------------------------------------------------------------------------------------------


def build_ismg(libraries, build):
    shared = libraries / "libhbeat.so"
    if not shared.exists():
        raise Failure(f"no libhbeat.so in {libraries}")
    text = subprocess.run(["readelf", "-d", shared], capture_output=True, text=True, timeout=60).stdout
    found = re.search(r"\(SONAME\).*\[(.*)\]", text)
    for name in {"libhbeat.so", found[1] if found else "libhbeat.so"}:
        (build / name).unlink(missing_ok=True)
        (build / name).symlink_to(shared)
    Ismg.program = build / "examples" / "fake_ismg"
    made = subprocess.run(["make", "-s", "-C", ROOT / "examples" / "c", f"HBEAT_LIB_DIR={build}",
                           f"BUILD={build / 'examples'}", Ismg.program], capture_output=True, text=True, timeout=120)
    if made.returncode != 0:
        raise Failure(f"the ISMG cannot be built:\n{made.stdout}{made.stderr}")


def one(name, scenario):
    begun = time.monotonic()
    try:
        result, text = "passed", scenario()
    except Skipped as reason:
        required = os.environ.get("HBEAT_REQUIRE_PEERS") == "1"
        result, text = ("failed" if required else "skipped"), str(reason)
    except Exception as failure:  # whatever it is, the others go on
        result, text = "failed", f"{type(failure).__name__}: {failure}"
    # One write: lines of several threads do not mix.
    sys.stdout.write(f"{result}: {name.replace('_', ' ')}: {text} [{time.monotonic() - begun:.1f} s]\n")
    sys.stdout.flush()
    return result


def leave_all():
    for ismg in Ismg.running.values():
        ismg.leave()
    return f"{len(Ismg.running)} of them served all the scripted peers, and ended in good order"


def main():
    if len(sys.argv) < 3:
        print(__doc__)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, give_up)
    signal.alarm(LIMIT)
    libraries, build = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    words = sys.argv[3:]
    build.mkdir(parents=True, exist_ok=True)
    scenarios = [(scenario.__name__, lambda scenario=scenario: scenario(build)) for scenario in CLIENTS]
    scenarios += [(scenario.__name__, lambda scenario=scenario, policy=policy: scenario(Peer(Ismg.of(policy))))
                  for scenario, policy in ANSWERS]
    scenarios.append(("test_together_with_login", test_together_with_login))
    if words:
        scenarios = [(name, run) for name, run in scenarios if any(word in name for word in words)]
    try:
        build_ismg(libraries, build)
        check(scenarios, "no such scenario")
    except Failure as failure:
        print(f"failed: {failure}\n0 passed, 1 failed, 0 skipped")
        return 1
    # All at once: they wait more than they work.
    with ThreadPoolExecutor(len(scenarios)) as pool:
        results = list(pool.map(lambda scenario: one(*scenario), scenarios))
    if Ismg.running:
        results.append(one("the_ISMG", leave_all))
    passed, failed, skipped = (results.count(result) for result in ("passed", "failed", "skipped"))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
