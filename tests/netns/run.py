#!/usr/bin/env python3
"""A link that hbeat carries, over a network that breaks: two namespaces joined by a cable, and one fault after the other.
Each gives its cause within the time that the policy computes, and the link is UP again when the fault is gone. Many links
over a cable that loses packets live on; and without beats the kernel takes its own time.

    tests/netns/run.py LIBRARY_DIR

Needs root, ip and nft; skipped with a line where it cannot make namespaces. Nothing leaves the machine."""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "bindings" / "python"), str(ROOT / "tests")]
from program import Program
HERE, THERE = f"hbeat{os.getpid()}a", f"hbeat{os.getpid()}b"
ADDRESS, PORT, CROWD_PORT, NARROW_PORT = "10.213.77.2", 7700, 7702, 7703
POLICY = "interval=500ms timeout=500ms tries=3 jitter=0%"
LATEST_S = 2.0  # C + N * T: the policy's latest verdict after a death
NOISE_S = 3.0  # what a busy machine may add
PATIENCE_S = 90.0  # links that are lost again and again wait up to a minute before they dial anew
# Of links over a lossy cable: in the ratio of the preset `normal` to the time in which TCP sends again.
LOSSY_POLICY = "interval=500ms timeout=2s tries=3"
LOSSY_LINKS, LOSSY_S = 20, 15
# Of the kernel alone: its own keepalive gives up after idle + interval * count, and so does TCP_USER_TIMEOUT.
KERNEL_S, KERNEL_LONG_S = 4.0, 12.0


def serve():
    """The peer: takes over whatever comes; to the crowd it listens with as much patience as they have."""
    import hbeat
    engine = hbeat.Engine()
    engine.listen(f"tcp://{ADDRESS}:{CROWD_PORT}", LOSSY_POLICY)
    with socket.create_server((ADDRESS, PORT)) as listener:
        print("listening", flush=True)
        while True:
            engine.adopt(listener.accept()[0], POLICY)
            engine.wait(0)


def dial():
    """Our end: one line an event, with its moment."""
    import hbeat
    engine = hbeat.Engine()
    engine.dial(f"tcp://{ADDRESS}:{PORT}", POLICY, name="over-there")
    for event in engine.events():
        kernel = f"{event.tcp.state}/{event.tcp.retransmits}" if event.tcp else "-"
        print(f"{event.at_ns / 1e9:.3f} {event.type.name} {event.cause.name.lower()} {kernel}", flush=True)


def crowd():
    """Many of our ends; for each line that comes in: how often one was DOWN since."""
    import hbeat
    engine = hbeat.Engine()
    for _ in range(LOSSY_LINKS):
        engine.dial(f"tcp://{ADDRESS}:{CROWD_PORT}", LOSSY_POLICY)
    up = 0
    while up < LOSSY_LINKS:
        up += sum(event.type.name == "UP" for event in engine.wait())
    print("up", flush=True)
    for _ in sys.stdin:
        downs = suspects = 0
        end = time.monotonic() + LOSSY_S
        while (left := end - time.monotonic()) > 0:
            events = engine.wait(left)
            downs += sum(event.type.name == "DOWN" for event in events)
            suspects += sum(event.count for event in events if event.type.name == "SUSPECT")
        print(downs, suspects, flush=True)


def plain():
    """Two sockets with data on the way, one with the kernel's own help: how long each lasts."""
    import hbeat
    helped, alone = (socket.create_connection((ADDRESS, PORT)) for _ in range(2))
    hbeat.set_keepalive(helped, hbeat.Keepalive(idle_ms=1000, interval_ms=1000, count=3))
    print("up", flush=True)
    sys.stdin.readline()
    begun = time.monotonic()
    for sock in (helped, alone):
        sock.sendall(bytes(1000))
        sock.settimeout(KERNEL_LONG_S)
    error = "none"
    try:
        while helped.recv(4096):
            pass
    except OSError as problem:
        error = type(problem).__name__ if problem.errno is None else os.strerror(problem.errno)
    after = time.monotonic() - begun
    time.sleep(max(0.0, begun + KERNEL_LONG_S - time.monotonic()))
    info = hbeat.tcp_info(alone)
    print(f"{after:.2f} {info.state == 1 and info.unacked > 0} {error}", flush=True)


def narrow():
    """A peer with the smallest receive buffer that there is."""
    import hbeat
    engine = hbeat.Engine()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        listener.bind((ADDRESS, NARROW_PORT))
        listener.listen()
        print("listening", flush=True)
        engine.adopt(listener.accept()[0], POLICY)
        time.sleep(PATIENCE_S)


def full():
    """Our end of a link to it, with beats as large as they can be: one fills the window."""
    import hbeat
    engine = hbeat.Engine()
    engine.dial(f"tcp://{ADDRESS}:{NARROW_PORT}", POLICY, name="full").set_state(bytes(1024))
    for event in engine.events():
        if event.type.name == "UP":
            print("up", flush=True)
        elif event.type.name == "DOWN":
            print(f"{event.at_ns / 1e9:.3f} {event.cause.name.lower()} {event.tcp.state}/{event.tcp.retransmits} {event.send_queue_bytes}", flush=True)


def run(*command, check=True):
    return subprocess.run(command, check=check, capture_output=True, text=True)


def inside(namespace, word):
    environment = {**os.environ, "HBEAT_LIBRARY": str(LIBRARY), "PYTHONPATH": str(ROOT / "bindings" / "python")}
    return Program("ip", "netns", "exec", namespace, sys.executable, __file__, word, env=environment)


def nft(rule, hook="input"):
    run("ip", "netns", "exec", THERE, "nft", "add", "table", "inet", "faults")
    run("ip", "netns", "exec", THERE, "nft", f"add chain inet faults {hook} {{ type filter hook {hook} priority 0; }}")
    run("ip", "netns", "exec", THERE, "nft", f"add rule inet faults {hook} {rule}")


def no_nft():
    run("ip", "netns", "exec", THERE, "nft", "delete", "table", "inet", "faults")


class World:
    def __init__(self):
        self.restart_peer()
        self.client = inside(HERE, "dial")

    def restart_peer(self):
        self.peer = inside(THERE, "serve")
        self.peer.next("listening", PATIENCE_S)

    def until(self, kind):
        """The next event of that kind: moment, kind, cause, state and retransmissions that the kernel told."""
        found = self.client.next(rf"^\S+ {kind} .*", PATIENCE_S)
        if found is None:
            return None, "nothing", "-", "-"
        at, kind, cause, kernel = found[0].split()
        return float(at), kind, cause, kernel

    def end(self):
        self.peer.end()
        self.client.end()


def lay_cable():
    """The network, and a fault that nobody notices: what is not allowed here is found out before the tests."""
    run("ip", "netns", "add", HERE)
    run("ip", "netns", "add", THERE)
    run("ip", "-n", HERE, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", THERE)
    for namespace, address in ((HERE, "10.213.77.1"), (THERE, ADDRESS)):
        run("ip", "-n", namespace, "addr", "add", f"{address}/24", "dev", "cable")
        run("ip", "-n", namespace, "link", "set", "cable", "up")
    nft(f"tcp dport {PORT + 1} reject with tcp reset")
    no_nft()


def faults(world):
    """Name, how it comes, how it goes, the causes that are right."""
    cable = ["ip", "-n", THERE, "link", "set", "cable"]
    peer = lambda name: lambda: world.peer.signal(name)
    yield "cable pulled", lambda: run(*cable, "down"), lambda: run(*cable, "up"), {"no_answer"}
    yield "dropped one way", lambda: nft(f"tcp dport {PORT} drop"), no_nft, {"no_answer"}
    yield "address gone", lambda: run("ip", "-n", THERE, "addr", "del", f"{ADDRESS}/24", "dev", "cable"), \
        lambda: run("ip", "-n", THERE, "addr", "add", f"{ADDRESS}/24", "dev", "cable"), {"no_answer"}
    yield "reset", lambda: nft(f"tcp dport {PORT} reject with tcp reset"), no_nft, {"reset"}
    yield "peer stopped", peer(signal.SIGSTOP), peer(signal.SIGCONT), {"no_answer"}
    yield "peer killed", peer(signal.SIGKILL), world.restart_peer, {"closed_by_peer", "reset"}


def window():
    """A peer that reads no more, until its window is shut: the kernel asks for ever whether it is open, and is answered."""
    with inside(THERE, "narrow") as peer:
        peer.next("listening", PATIENCE_S)
        with inside(HERE, "full") as link:
            assert link.next("up", PATIENCE_S)
            time.sleep(2)
            begun = time.monotonic()
            peer.signal(signal.SIGSTOP)
            at, cause, kernel, queued = link.next(".+", PATIENCE_S)[0].split()
    after = float(at) - begun
    good = cause == "no_answer" and after <= LATEST_S + NOISE_S and kernel == "1/0" and int(queued) > 0
    print(f"{'window shut':<18}{'no_answer':<24}{LATEST_S:<10.1f}{'DOWN ' + cause:<24}{after:<10.2f}{kernel:<23}"
          f"{queued} octets queued{'' if good else '  FAILED'}")
    return good


def ask(process):
    process.say("go")
    return process.next(".+", PATIENCE_S)[0].split(maxsplit=2)


def lossy():
    """Many links over a cable that loses packets both ways: not one is given up at 5 %; at 30 % it is told what happens."""
    good = True
    with inside(HERE, "crowd") as links:
        assert links.next("up", PATIENCE_S)
        for percent in (5, 30):
            for hook in ("input", "output"):
                nft(f"numgen random mod 100 < {percent} drop", hook)
            downs, suspects = map(int, ask(links))
            no_nft()
            right = downs == 0 or percent > 5
            good = good and right
            expected = "no DOWN" if percent == 5 else "(reported only)"
            happened = f"{downs} DOWN, {suspects} SUSPECT"
            print(f"{f'{percent} % lost':<18}{expected:<24}{'-':<10}{happened:<24}{'-':<10}{LOSSY_LINKS} links, {LOSSY_S} s"
                  f"{'' if right else '  FAILED'}")
    return good


def in_flight():
    """Data on the way when the cable is pulled: what the kernel makes of it, without beats."""
    cable = ["ip", "-n", THERE, "link", "set", "cable"]
    with inside(HERE, "plain") as sockets:
        assert sockets.next("up", PATIENCE_S)
        run(*cable, "down")
        after, established, error = ask(sockets)
        run(*cable, "up")
    on_time = KERNEL_S - 0.5 <= float(after) <= KERNEL_S + NOISE_S + 2.0 and error == os.strerror(110)
    alone = established == "True"
    print(f"{'USER_TIMEOUT':<18}{'timed out':<24}{KERNEL_S:<10.1f}{error[:23]:<24}{after:<10}data in flight, no beats{'' if on_time else '  FAILED'}")
    print(f"{'kernel alone':<18}{'minutes':<24}{'-':<10}{'established' if alone else 'not established':<24}{f'> {KERNEL_LONG_S:.0f}':<10}"
          f"data in flight, no beats{'' if alone else '  FAILED'}")
    return on_time and alone


def main():
    if not shutil.which("ip") or not shutil.which("nft"):
        failed = os.environ.get("HBEAT_REQUIRE_PEERS") == "1"
        print("ip or nft is not installed")
        print(f"0 passed, {int(failed)} failed, {int(not failed)} skipped")
        return int(failed)
    world, passed, failed = None, 0, 0
    try:
        try:
            lay_cable()
        except subprocess.CalledProcessError as error:
            print(f"this machine lets nobody make such a network: {' '.join(error.cmd)}: {error.stderr.strip()}")
            print("0 passed, 0 failed, 1 skipped")
            return 0
        world = World()
        print(f"{'fault':<18}{'expected':<24}{'within':<10}{'what happened':<24}{'after':<10}{'tcp state/retransmits':<23}up again")
        if world.until("UP")[1] != "UP":
            print("the link did not come up")
        for name, come, go, causes in faults(world):
            begun = time.monotonic()
            come()
            at, kind, cause, kernel = world.until("DOWN")
            after = at - begun if at else PATIENCE_S
            go()
            again = world.until("UP")[1] == "UP"
            good = kind == "DOWN" and cause in causes and after <= LATEST_S + NOISE_S and again and kernel != "-"
            # What the beats found out, the kernel did not.
            good &= name != "cable pulled" or re.fullmatch(r"1/[1-9]\d*", kernel) is not None
            passed, failed = passed + good, failed + (not good)
            print(f"{name:<18}{' or '.join(sorted(causes)):<24}{LATEST_S:<10.1f}{kind + ' ' + cause:<24}{after:<10.2f}{kernel:<23}"
                  f"{'yes' if again else 'no'}{'' if good else '  FAILED'}")
        for story in (window, lossy, in_flight):
            good = story()
            passed, failed = passed + good, failed + (not good)
    finally:
        if world is not None:
            world.end()
        for namespace in (HERE, THERE):
            run("ip", "netns", "del", namespace, check=False)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    role = {"serve": serve, "dial": dial, "crowd": crowd, "plain": plain, "narrow": narrow, "full": full}.get(sys.argv[-1])
    if role:
        role()
    elif len(sys.argv) == 2:
        LIBRARY = Path(sys.argv[1]).resolve() / "libhbeat.so"
        sys.exit(main())
    else:
        sys.exit(__doc__)
