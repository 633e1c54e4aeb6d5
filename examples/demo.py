#!/usr/bin/env python3
"""hbeat in half a minute: real processes, real sockets on the loopback, and what happens when one end goes quiet.

    python3 examples/demo.py [--programs build/examples] [scene ...]

Every scene starts cmpp_gateway (an SP) and fake_ismg (an ISMG), freezes, kills or restarts one of them, and compares
what the gateway says with what it should say. Exit code 1 if anything differs.
"""

import argparse
import asyncio
import collections
import ctypes
import hashlib
import os
import re
import signal
import socket
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))

# CMPP's own proposal is C = 3 min, T = 60 s, N = 3: six minutes to a verdict. Here everything is 60 times as fast.
INTERVAL, TIMEOUT, TRIES = 3.0, 1.0, 3
DETECTION = INTERVAL + TRIES * TIMEOUT
POLICY = "cmpp interval=3s timeout=1s tries=3"
PATIENT = "cmpp"  # for the side that is not looked at: 3 min, 60 s, 3
EARLY, LATE = 0.05, 0.50  # what a busy machine may do to a moment, in seconds

LOCAL = "127.0.0.1"
ACCOUNT, SECRET = "901234", "secret"

Line = collections.namedtuple("Line", "at who text")

INTRODUCTION = f"""\
An SMS gateway (cmpp_gateway) holds connections to ISMGs (fake_ismg) and speaks CMPP 2.0; hbeat watches them.
Its policy: a connection silent for C = {INTERVAL:.0f} s is tested (ACTIVE_TEST), a test may take T = {TIMEOUT:.0f} s,
and after N = {TRIES} tests without an answer it is DOWN: {DETECTION:.0f} s after the last proof of life.
(CMPP itself proposes 3 min, 60 s and 3.)

  seconds   since the scenes began
  link      a connection, or a program
  evidence  bytes on the wire, or what hbeat says:
            last_rx, last_tx  time since anything was received, sent      tries  tests missed, of those allowed
            unread, sendq     bytes that wait in the socket's two queues  seq    Sequence_Id of the latest test

Moments are compared with a tolerance of -{EARLY * 1000:.0f} ms ... +{LATE * 1000:.0f} ms."""

libc = ctypes.CDLL(None)
started = time.monotonic()
children = []
stories = collections.defaultdict(list)  # scene -> [(at, link, what, evidence)]
checks = []


def say(scene, link, what, evidence="", at=None):
    stories[scene].append((time.monotonic() if at is None else at, link, what, evidence))


def check(scene, what, expected, happened, good):
    checks.append((scene, what, str(expected), str(happened), bool(good)))


def check_moment(scene, what, expected, happened):
    """A length of time in seconds; None: it did not happen."""
    good = happened is not None and expected - EARLY <= happened <= expected + LATE
    told = "never" if happened is None else f"{happened:.2f} s".replace("-0.00", "0.00")
    check(scene, what, f"{expected:.2f} s", told, good)


# -- programs -----------------------------------------------------------------------------------------------------


def die_with_parent():
    """Nothing of the demo survives it, not even a frozen process when the demo itself is killed."""
    libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Program:
    """A child and the lines it has logged: "<CLOCK_MONOTONIC seconds> <who> <text>", our own clock as well."""

    def __init__(self, process, tell):
        self.process = process
        self.pid = process.pid
        self.lines = []
        self.tell = tell  # is shown each line as it comes
        self.reading = asyncio.ensure_future(self.read())
        children.append(self)

    @classmethod
    async def start(cls, name, *arguments, tell=lambda program, line: None):
        return cls(await asyncio.create_subprocess_exec(
            os.path.join(programs, name), "--account", ACCOUNT, "--secret", SECRET, *arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, preexec_fn=die_with_parent), tell)

    async def read(self):
        while True:
            raw = await self.process.stdout.readline()
            if not raw:
                return
            words = raw.decode(errors="replace").rstrip().split(" ", 2)
            if len(words) == 3 and words[0][:1].isdigit():
                self.lines.append(Line(float(words[0]), words[1], words[2]))
            else:
                self.lines.append(Line(time.monotonic(), "", " ".join(words)))
            self.tell(self, self.lines[-1])

    def found(self, pattern, who=None, after=0.0):
        """The lines whose text begins with `pattern`, in order."""
        return [line for line in self.lines
                if line.at >= after and (who is None or line.who == who) and re.match(pattern, line.text)]

    async def wait_for(self, pattern, timeout, who=None, after=0.0, count=1):
        """The count-th such line, or None if it does not come in time."""
        until = time.monotonic() + timeout
        while True:
            lines = self.found(pattern, who, after)
            if len(lines) >= count:
                return lines[count - 1]
            if time.monotonic() > until:
                return None
            await asyncio.sleep(0.02)

    def last_proof(self, link, before):
        """When the gateway last read anything on this link."""
        lines = [line for line in self.found("rx ", who=link) if line.at <= before]
        return lines[-1].at if lines else None

    def signal(self, number):
        if self.process.returncode is None:
            self.process.send_signal(number)

    async def stop(self):
        """Leaves as a program in service does; returns its exit code."""
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), 4)
        except asyncio.TimeoutError:
            self.signal(signal.SIGKILL)
            await self.process.wait()
        await self.reading
        return self.process.returncode

    async def kill(self):
        self.signal(signal.SIGKILL)
        await self.process.wait()


async def ismg(*arguments):
    program = await Program.start("fake_ismg", *arguments)
    line = await program.wait_for("listening", 5)
    if line is None:
        raise RuntimeError("fake_ismg does not start")
    program.port = int(line.text.rsplit(":", 1)[1])
    return program


async def gateway(targets, *arguments, tell=lambda program, line: None):
    """targets: name of the links -> ISMG."""
    addresses = [f"{LOCAL}:{peer.port}={name}" for name, peer in targets.items()]
    return await Program.start("cmpp_gateway", *arguments, *addresses, tell=tell)


async def logged_in(program, count):
    if await program.wait_for("login ok", 5, count=count) is None:
        raise RuntimeError(f"only {len(program.found('login ok'))} of {count} logins")


def downs(program):
    return program.found(r"DOWN ", who="hbeat")


def field(line, name):
    found = line and re.search(rf"\b{name}=(\S+)", line.text)
    return found.group(1) if found else "-"


def down_words(line):
    """hbeat's DOWN line as the columns "what" and "evidence"."""
    return f"DOWN: {field(line, 'cause')}", re.sub(r"^DOWN \S+ (cause=\S+ )?", "", line.text)


def teller(scene):
    """Notes what hbeat says, the link tests and the relogin."""

    def tell(program, line):
        if line.who == "hbeat":
            event, link, evidence = (line.text.split(" ", 2) + ["", ""])[:3]
            if field(line, "cause") in ("refused", "unauthenticated"):
                pass  # a dial or a login that failed: "dials again" says it
            elif event in ("UP", "SUSPECT"):
                say(scene, link, event, evidence, at=line.at)
            elif event == "DOWN":
                say(scene, link, *down_words(line), at=line.at)
            elif event == "PAUSE":
                say(scene, "gateway", "PAUSE", f"{evidence} overdue: our own absence, not the peers'", at=line.at)
        elif line.text.startswith("tx ACTIVE_TEST "):
            proof = program.last_proof(line.who, line.at)
            number = len(program.found("tx ACTIVE_TEST ", line.who, proof or 0))
            silent = f", silent for {line.at - proof:.1f} s" if proof else ""
            say(scene, line.who, f"test {number} of {TRIES}", line.text.split(" ", 3)[3] + silent, at=line.at)
        elif line.text.startswith("lost: "):
            say(scene, line.who, "dials again", line.text.replace("lost: ", ""), at=line.at)
        elif line.text.startswith("login "):
            word, result, evidence = line.text.split(" ", 2)
            say(scene, line.who, f"{word} {result}", evidence, at=line.at)

    return tell


# -- the scenes ---------------------------------------------------------------------------------------------------


async def scene_a():
    """Traffic flows; idle links are tested and answered, in both directions"""
    patient = await ismg("--policy", PATIENT)
    testing = await ismg("--policy", "cmpp interval=2s timeout=1s tries=3")
    sp = await gateway({"bj-mt": patient, "gd-mt": testing}, "--policy", POLICY, "--links", "2", "--busy", "1",
                       "--rate", "4")
    await logged_in(sp, 4)
    say("a", "bj, gd", "4 links are up", "bj-mt-01 and gd-mt-01 submit 4 SMS a second, the other two are idle")

    test = await sp.wait_for("rx ACTIVE_TEST ", 4, who="gd-mt-02")
    answer = test and await sp.wait_for("tx ACTIVE_TEST_RESP", 1, who="gd-mt-02", after=test.at)
    if answer:
        say("a", "gd-mt-02", "the ISMG tests us", f"{test.text.split(' ', 3)[3]}, its C is 2 s", at=test.at)
        say("a", "gd-mt-02", "answered", answer.text.split(" ", 3)[3], at=answer.at)
    login = sp.found("login ok", who="gd-mt-02")[0].at
    check_moment("a", "gd-mt-02: the ISMG tests an idle link after", 2.0, test and test.at - login)
    check("a", "gd-mt-02: its test is answered, same Sequence_Id", "yes", "yes" if answer else "no",
          answer and answer.text.split()[2] == test.text.split()[2])

    test = await sp.wait_for("tx ACTIVE_TEST ", 4, who="bj-mt-02")
    answer = test and await sp.wait_for("rx ACTIVE_TEST_RESP", 1, who="bj-mt-02", after=test.at)
    if answer:
        say("a", "bj-mt-02", "we test the ISMG", f"{test.text.split(' ', 3)[3]}, our C is {INTERVAL:.0f} s", at=test.at)
        say("a", "bj-mt-02", "answered: it lives", answer.text.split(" ", 3)[3], at=answer.at)
    login = sp.found("login ok", who="bj-mt-02")[0].at
    check_moment("a", "bj-mt-02: we test an idle link after", INTERVAL, test and test.at - login)
    check("a", "bj-mt-02: our test is answered", "yes", "yes" if answer else "no", answer)

    await asyncio.sleep(3)
    code = await sp.stop()
    submits, answers = len(sp.found("tx SUBMIT ", who="bj-mt-01")), len(sp.found("rx SUBMIT_RESP", who="bj-mt-01"))
    tests = len(sp.found("tx ACTIVE_TEST ", who="bj-mt-01"))
    say("a", "bj-mt-01", f"{submits} SMS, {answers} answers", f"{tests} tests: traffic proves life")
    check("a", "bj-mt-01: tests on a link with traffic", "0", tests, tests == 0 and submits > 10)
    check("a", "all links: DOWN", "0", len(downs(sp)), not downs(sp))
    farewells = len(sp.found("rx TERMINATE_RESP"))
    check("a", "its TERMINATEs answered, its exit code", "4, 0", f"{farewells}, {code}", (farewells, code) == (4, 0))
    await patient.stop()
    await testing.stop()


class Twin:
    """The same connection in a program that relies on the kernel's keepalive alone."""

    def __init__(self, port):
        self.socket = socket.create_connection((LOCAL, port), 2)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.idle = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        stamp = time.strftime("%m%d%H%M%S")
        digest = hashlib.md5(ACCOUNT.encode() + bytes(9) + SECRET.encode() + stamp.encode()).digest()
        self.write(1, ACCOUNT.encode() + digest + struct.pack(">BI", 0x20, int(stamp)))
        self.socket.setblocking(False)
        self.taken = self.refused = 0

    def write(self, command, body):
        return self.socket.send(struct.pack(">III", 12 + len(body), command, 1) + body)

    def submit(self):
        """An SMS: does the kernel take it?"""
        try:
            self.write(4, bytes(152))
            self.taken += 1
        except OSError:
            self.refused += 1

    def established(self):
        return self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[0] == 1  # tcpi_state


async def scene_b():
    """The ISMG's process freezes (SIGSTOP); beside it a twin connection with nothing but TCP keepalive"""
    peer = await ismg("--policy", PATIENT)
    sp = await gateway({"bj-mt": peer}, "--policy", POLICY, "--rate", "2", "--no-relogin", tell=teller("b"))
    await logged_in(sp, 1)
    twin = Twin(peer.port)
    for _ in range(6):
        twin.submit()
        await asyncio.sleep(0.5)
    peer.signal(signal.SIGSTOP)
    frozen = time.monotonic()
    say("b", "bj ISMG", "is frozen", "gateway and twin keep submitting, and their kernels take it")

    before = twin.taken
    while not downs(sp) and time.monotonic() < frozen + DETECTION + 2:
        twin.submit()
        await asyncio.sleep(0.25)
    down = downs(sp)[0] if downs(sp) else None
    proof = sp.last_proof("bj-mt-01", frozen + 0.1)
    tests = sp.found("tx ACTIVE_TEST ", after=frozen - 1)
    twin.submit()
    state = "ESTABLISHED" if twin.established() else "not ESTABLISHED"
    say("b", "twin", f"is {state}", f"since then send() took {twin.taken - before} SMS and refused {twin.refused}")
    say("b", "", "", f"keepalive asks after {twin.idle} s, and then the kernel answers for the frozen process")

    sequences = {test.text.split()[2] for test in tests}
    check_moment("b", "DOWN after the last proof of life (C + N*T)", DETECTION, down and proof and down.at - proof)
    check("b", "tests, all with one Sequence_Id", f"{TRIES}, 1", f"{len(tests)}, {len(sequences)}",
          len(tests) == TRIES and len(sequences) == 1)
    check("b", "cause", "no_answer", field(down, "cause"), field(down, "cause") == "no_answer")
    check("b", "the twin with keepalive only", "ESTABLISHED, some SMS", f"{state}, {twin.taken - before}",
          twin.established() and twin.taken > before and twin.refused == 0)
    await peer.kill()
    await sp.stop()


async def scene_c():
    """The ISMG stops reading while the gateway submits at full speed: the send queue fills"""
    peer = await ismg("--policy", PATIENT, "--deaf", "2", "--rcvbuf", "4096")
    sp = await gateway({"sh-mt": peer}, "--policy", POLICY, "--rate", "200", "--window", "0", "--sndbuf", "4096",
                       "--no-relogin", tell=teller("c"))
    await logged_in(sp, 1)
    say("c", "sh-mt-01", "200 SMS a second", "no window; the ISMG's reader will hang in 2 s")
    down = await sp.wait_for("DOWN ", 2 + DETECTION + 2, who="hbeat")
    at = down.at if down else time.monotonic()
    proof = sp.last_proof("sh-mt-01", at)
    writes = [line for line in sp.found("tx SUBMIT ") if line.at <= at]
    if writes:
        say("c", "sh-mt-01", "the socket is full", "from here on nothing can be written, not even a test",
            at=writes[-1].at)
    cause = field(down, "cause")
    check_moment("c", "DOWN after the last proof of life (C + N*T)", DETECTION, down and proof and down.at - proof)
    check("c", "cause", "send_stuck or no_answer", cause, cause in ("send_stuck", "no_answer"))
    check("c", "bytes in the send queue", "> 0", field(down, "sendq"), field(down, "sendq") not in ("-", "0", "-1"))
    await peer.kill()
    await sp.stop()


async def scene_d():
    """The gateway itself is stopped for 10 s (as by a debugger or a snapshot): nobody is blamed"""
    tell = teller("d")
    peer = await ismg("--policy", PATIENT)
    sp = await gateway({"zj-mt": peer}, "--policy", POLICY, "--links", "4", "--busy", "2", "--rate", "4",
                       tell=lambda program, line: line.who == "hbeat" and tell(program, line))
    await logged_in(sp, 4)
    say("d", "zj-mt", "4 links are up", "2 with traffic, 2 idle")
    await asyncio.sleep(2)
    sp.signal(signal.SIGSTOP)
    say("d", "gateway", "is stopped", f"for 10 s, longer than C + N*T = {DETECTION:.0f} s")
    await asyncio.sleep(10)
    resumed = time.monotonic()
    say("d", "gateway", "goes on")
    sp.signal(signal.SIGCONT)
    pause = await sp.wait_for(".*PAUSE", 3, who="hbeat", after=resumed - EARLY)
    await asyncio.sleep(INTERVAL + 2)
    alive = [link for link in ("zj-mt-01", "zj-mt-02", "zj-mt-03", "zj-mt-04")
             if sp.found("rx (SUBMIT_RESP|ACTIVE_TEST_RESP)", who=link, after=resumed + 0.5)]
    wrong = len(downs(sp))
    code = await sp.stop()
    up = [line.text for line in sp.found("leaving", who="gateway")]
    say("d", "zj-mt", f"{wrong} links DOWN", f"{up[0].split('=')[1] if up else '-'} are UP")
    check("d", "event PAUSE", "yes", "yes" if pause else "no", pause)
    check("d", "false DOWNs", "0", wrong, wrong == 0)
    check("d", "links that hear from their ISMG afterwards", "4", len(alive), len(alive) == 4)
    check("d", "links UP at the end, exit code", "4 of 4, 0", f"{up[0].split('=')[1] if up else '-'}, {code}",
          up and up[0].endswith("up=4 of 4") and code == 0)
    await peer.stop()


def sequences_sent(program):
    return [int(field(line, "seq")) for line in program.found("tx (CONNECT|SUBMIT|ACTIVE_TEST|TERMINATE) ")]


async def scene_e():
    """The ISMG is killed and restarted: relogin with backoff, Sequence_Ids go on; a refused login is not hammered"""
    first, cap, refused = 200, 2000, 3000
    peer = await ismg("--policy", PATIENT)
    strict = await ismg("--policy", PATIENT, "--status", "3")
    backoff = ("--backoff", f"{first},{cap},{refused}")
    sp = await gateway({"js-mt": peer}, "--policy", POLICY, "--rate", "4", *backoff, tell=teller("e"))
    wrong = await gateway({"tj-mt": strict}, "--policy", POLICY, *backoff, tell=teller("e"))
    await logged_in(sp, 1)
    await asyncio.sleep(2)
    killed = time.monotonic()
    say("e", "js ISMG", "is killed")
    await peer.kill()
    down = await sp.wait_for("DOWN ", 2, who="hbeat", after=killed - EARLY)
    await asyncio.sleep(3)
    peer = await ismg("--policy", PATIENT, "--port", str(peer.port))
    back = time.monotonic()
    say("e", "js ISMG", "is back", f"the gateway's next Sequence_Id is {sequences_sent(sp)[-1] + 1}")
    again = await sp.wait_for("login ok", cap / 1000 + 2, after=killed)
    retries = [line for line in sp.found("lost: attempt", after=killed - EARLY) if line.at < back]
    await asyncio.sleep(1)

    delays = [int(line.text.split(" ")[4]) for line in retries]
    sent = sequences_sent(sp)
    goes_on = len(sent) > 8 and sent == list(range(sent[0], sent[0] + len(sent)))
    cause = field(down, "cause")
    check_moment("e", "DOWN after the kill", 0.0, down and down.at - killed)
    check("e", "cause", "closed_by_peer or reset", cause, cause in ("closed_by_peer", "reset"))
    check("e", "delays of the relogin", f"1 or more, <= {cap} ms",
          f"{len(delays)}, longest {max(delays, default=0)} ms", delays and max(delays) <= cap)
    wait = again and again.at - back
    check("e", "logged in again after the ISMG came back", f"<= {cap / 1000 + LATE:.2f} s",
          f"{wait:.2f} s" if again else "never", again and wait <= cap / 1000 + LATE)
    check("e", "Sequence_Ids over both connections", "each one more", f"{sent[0]} ... {sent[-1]}", goes_on)

    tries = wrong.found("tx CONNECT")
    refusals = wrong.found("login refused")
    check_moment("e", "tj-mt-01: from the refusal to the next login", refused / 1000,
                 tries[1].at - refusals[0].at if len(tries) > 1 and refusals else None)
    for program in (sp, wrong, peer, strict):
        await program.stop()


async def scene_f():
    """300 links to 3 ISMGs in one gateway; one ISMG freezes"""
    peers = {name: await ismg("--policy", PATIENT, "--quiet") for name in ("north", "south", "west")}
    sp = await gateway(peers, "--policy", POLICY, "--links", "100", "--no-relogin")
    await logged_in(sp, 300)
    say("f", "gateway", "300 links are up", "100 for each ISMG")
    await asyncio.sleep(4)
    peers["south"].signal(signal.SIGSTOP)
    frozen = time.monotonic()
    say("f", "south ISMG", "is frozen", "with its 100 links")
    for number, what in ((1, "first"), (100, "100th")):
        line = await sp.wait_for("DOWN ", DETECTION + 2, who="hbeat", count=number)
        if line:
            verdict, evidence = down_words(line)
            say("f", line.text.split()[1], f"{what} {verdict}", evidence, at=line.at)
    await asyncio.sleep(INTERVAL)  # would there be one more?
    count, cpu, wall = threads(sp), cpu_seconds(sp), time.monotonic() - sp.lines[0].at
    lines = downs(sp)
    names = {line.text.split()[1] for line in lines}
    ages = [line.at - (sp.last_proof(line.text.split()[1], line.at) or 0) for line in lines]
    say("f", "gateway", f"{count} threads", f"{cpu:.2f} s of CPU in {wall:.1f} s, its log included")
    await sp.stop()
    up = [line.text for line in sp.found("leaving", who="gateway")]
    south = sum(name.startswith("south-") for name in names)
    check("f", "links DOWN, of them south's", "100, 100", f"{len(lines)}, {south}",
          len(lines) == len(names) == south == 100)
    check("f", "links UP at the end", "200", up[0].split("=")[1].split()[0] if up else "-", up and "up=200 " in up[0])
    check_moment("f", "earliest DOWN after its last proof of life", DETECTION, min(ages, default=None))
    check_moment("f", "latest DOWN after its last proof of life", DETECTION, max(ages, default=None))
    check("f", "threads of the gateway, its own 2 included", "<= 5", count, count <= 5)
    check("f", "CPU of the gateway", "< 10 % of one", f"{100 * cpu / wall:.1f} %", cpu / wall < 0.10)
    await peers.pop("south").kill()
    for peer in peers.values():
        await peer.stop()


def threads(program):
    return len(os.listdir(f"/proc/{program.pid}/task"))


def cpu_seconds(program):
    with open(f"/proc/{program.pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime, stime


# -- the whole ----------------------------------------------------------------------------------------------------

ACTS = ((scene_a, scene_b, scene_c), (scene_d, scene_e, scene_f))


def letter(scene):
    return scene.__name__[-1]


async def play(scene):
    try:
        await scene()
    except (OSError, RuntimeError, IndexError, ValueError) as problem:
        check(letter(scene), "the scene can be played", "yes", f"{type(problem).__name__}: {problem}", False)


async def perform(wanted):
    for act in ACTS:
        scenes = [scene for scene in act if not wanted or letter(scene) in wanted]
        if not scenes:
            continue
        print(f"\nNow playing at the same time: {', '.join(map(letter, scenes))} ...", flush=True)
        playing = [asyncio.ensure_future(play(scene)) for scene in scenes]
        began = time.monotonic()
        try:
            for scene, task in zip(scenes, playing):
                await task
                tell_story(scene, began)
        finally:
            for task in playing:
                task.cancel()


def tell_story(scene, began):
    print(f"\nScene {letter(scene)}. {scene.__doc__}.\n")
    print(f"{'seconds':>7}  {'link':<11} {'what':<23} evidence")
    # The programs' clock has milliseconds: within one, as it was told.
    for at, link, what, evidence in sorted(stories[letter(scene)], key=lambda row: int(row[0] * 1000 + 0.001)):
        print(f"{at - began:7.2f}  {link:<11} {what:<23} {evidence}".rstrip())
    print()
    compare([row for row in checks if row[0] == letter(scene)])


def compare(rows):
    print(f"         {'compared':<50}{'expected':<25}happened")
    for scene, what, expected, happened, good in rows:
        print(f"{scene:>7}  {what:<50}{expected:<25}{happened:<22} {'ok' if good else 'DIFFERS'}")


def print_users_lines():
    """The lines of cmpp_gateway.c that are there for hbeat: between its markers, and no call stands outside them."""
    path = os.path.join(HERE, "c", "cmpp_gateway.c")
    block, count, outside = None, 0, []
    print("\nWhat a gateway in service adds for this, from examples/c/cmpp_gateway.c:\n")
    with open(path, encoding="utf-8") as source:
        for number, line in enumerate(source, 1):
            opening = re.match(r"\s*/\* hbeat \{ (.*) \*/", line)
            if opening:
                block = []
                print(f"    /* line {number}: {opening.group(1)} */")
            elif re.match(r"\s*/\* hbeat \} \*/", line):
                indent = min(len(text) - len(text.lstrip()) for text in block if text.strip())
                print("".join("    " + text[indent:] if text.strip() else "\n" for text in block))
                count += sum(1 for text in block if text.strip())
                block = None
            elif block is not None:
                block.append(line)
            elif re.search(r"\bhbeat_[a-z]", line):
                outside.append(number)
    print(f"{count} lines.")
    check("-", "other lines that call hbeat", "none", outside or "none", not outside and block is None)


async def main():
    parser = argparse.ArgumentParser(description="hbeat's demo: gateways and ISMGs on the loopback")
    parser.add_argument("--programs", default=os.path.join(HERE, "..", "build", "examples"), metavar="DIR",
                        help="where cmpp_gateway and fake_ismg are (build/examples)")
    parser.add_argument("scene", nargs="*", help="play these only (a ... f)")
    arguments = parser.parse_args()
    if not set(arguments.scene) <= set("abcdef"):
        parser.error("the scenes are a, b, c, d, e and f")
    global programs
    programs = os.path.abspath(arguments.programs)

    playing = asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, playing.cancel)
    print(INTRODUCTION)
    try:
        await perform(set(arguments.scene))
        print_users_lines()
    except asyncio.CancelledError:
        check("-", "the demo is played to its end", "yes", "interrupted", False)
    finally:
        for child in children:
            child.signal(signal.SIGKILL)
        for child in children:
            await child.process.wait()
    bad = [row for row in checks if not row[4]]
    print(f"\n{len(checks)} comparisons in {time.monotonic() - started:.0f} s, {len(bad)} differ.")
    if bad:
        compare(bad)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
