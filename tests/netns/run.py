#!/usr/bin/env python3
"""A link that hbeat carries, over a network that breaks: two namespaces joined by a cable, and one fault after the other.
Each gives its cause within the time that the policy computes, and the link is UP again when the fault is gone.

    tests/netns/run.py LIBRARY_DIR

Needs root, ip and nft; skipped with a line where it cannot make namespaces. Nothing leaves the machine."""
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "bindings" / "python"))
HERE, THERE = f"hbeat{os.getpid()}a", f"hbeat{os.getpid()}b"
ADDRESS, PORT = "10.213.77.2", 7700
POLICY = "interval=500ms timeout=500ms tries=3 jitter=0%"
LATEST_S = 2.0  # C + N * T: the policy's latest verdict after a death
NOISE_S = 3.0  # what a busy machine may add
PATIENCE_S = 30.0


def serve():
    """The peer: takes over whatever comes."""
    import hbeat
    engine = hbeat.Engine()
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
        print(f"{event.at_ns / 1e9:.3f} {event.type.name} {event.cause.name.lower()} {event.state.name}", flush=True)


def run(*command, check=True):
    return subprocess.run(command, check=check, capture_output=True, text=True)


def inside(namespace, word):
    environment = {**os.environ, "HBEAT_LIBRARY": str(LIBRARY), "PYTHONPATH": str(ROOT / "bindings" / "python")}
    return subprocess.Popen(["ip", "netns", "exec", namespace, sys.executable, __file__, word], env=environment,
                            stdout=subprocess.PIPE, text=True, start_new_session=True)


def nft(rule):
    run("ip", "netns", "exec", THERE, "nft", "add", "table", "inet", "faults")
    run("ip", "netns", "exec", THERE, "nft", "add chain inet faults come { type filter hook input priority 0; }")
    run("ip", "netns", "exec", THERE, "nft", f"add rule inet faults come {rule}")


def no_nft():
    run("ip", "netns", "exec", THERE, "nft", "delete", "table", "inet", "faults")


class World:
    def __init__(self):
        self.peer = self.start_peer()
        self.client = inside(HERE, "dial")
        self.lines = queue.Queue()
        threading.Thread(target=lambda: [self.lines.put(line) for line in self.client.stdout], daemon=True).start()

    def start_peer(self):
        peer = inside(THERE, "serve")
        peer.stdout.readline()
        return peer

    def until(self, kinds):
        """The next event of one of these kinds: moment, kind, cause."""
        end = time.monotonic() + PATIENCE_S
        while (left := end - time.monotonic()) > 0:
            try:
                at, kind, cause, _ = self.lines.get(timeout=left).split()
            except queue.Empty:
                break
            if kind in kinds:
                return float(at), kind, cause
        return None, "nothing", "-"

    def restart_peer(self):
        self.peer = self.start_peer()

    def end(self):
        for process in (self.peer, self.client):
            for name in (signal.SIGCONT, signal.SIGKILL):
                try:
                    os.killpg(process.pid, name)
                except ProcessLookupError:
                    pass
            process.wait()


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
    peer = lambda name: lambda: os.killpg(world.peer.pid, name)
    yield "cable pulled", lambda: run(*cable, "down"), lambda: run(*cable, "up"), {"no_answer"}
    yield "dropped one way", lambda: nft(f"tcp dport {PORT} drop"), no_nft, {"no_answer"}
    yield "address gone", lambda: run("ip", "-n", THERE, "addr", "del", f"{ADDRESS}/24", "dev", "cable"), \
        lambda: run("ip", "-n", THERE, "addr", "add", f"{ADDRESS}/24", "dev", "cable"), {"no_answer"}
    yield "reset", lambda: nft(f"tcp dport {PORT} reject with tcp reset"), no_nft, {"reset"}
    yield "peer stopped", peer(signal.SIGSTOP), peer(signal.SIGCONT), {"no_answer"}
    yield "peer killed", peer(signal.SIGKILL), world.restart_peer, {"closed_by_peer", "reset"}


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
        print(f"{'fault':<18}{'expected':<24}{'within':<10}{'what happened':<24}{'after':<10}up again")
        if world.until({"UP"})[1] != "UP":
            print("the link did not come up")
        for name, come, go, causes in faults(world):
            begun = time.monotonic()
            come()
            at, kind, cause = world.until({"DOWN"})
            after = at - begun if at else PATIENCE_S
            go()
            again = world.until({"UP"})[1] == "UP"
            good = kind == "DOWN" and cause in causes and after <= LATEST_S + NOISE_S and again
            passed, failed = passed + good, failed + (not good)
            print(f"{name:<18}{' or '.join(sorted(causes)):<24}{LATEST_S:<10.1f}{kind + ' ' + cause:<24}{after:<10.2f}"
                  f"{'yes' if again else 'no'}{'' if good else '  FAILED'}")
    finally:
        if world is not None:
            world.end()
        for namespace in (HERE, THERE):
            run("ip", "netns", "del", namespace, check=False)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    elif sys.argv[1:] == ["dial"]:
        dial()
    elif len(sys.argv) == 2:
        LIBRARY = Path(sys.argv[1]).resolve() / "libhbeat.so"
        sys.exit(main())
    else:
        sys.exit(__doc__)
