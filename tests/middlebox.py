#!/usr/bin/env python3
"""A link that hbeat carries, through what stands between two ends: haproxy, nginx and two SOCKS servers, as Debian has them.

    tests/middlebox.py LIBRARY_DIR

The peer behind each is stopped, then cut off: the kernel's keepalive is answered by whoever ends the connection and stays
content, the beat says DOWN(no_answer) in its time. A proxy that closes what is silent for three seconds is held open by
beats, and closes a link whose beats are rarer.

All of it on the loopback of a network namespace of its own, made by unshare; skipped with a line where that is not allowed.
Ends with one line of sums."""
import os
import queue
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from program import Program

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bindings" / "python"))
POLICY, RARE = "interval=500ms timeout=500ms tries=3 jitter=0%", "interval=10s timeout=500ms tries=3"
LATEST_S = 2.0  # C + N * T: the latest verdict of POLICY
NOISE_S = 3.0  # what a busy machine may add
PATIENCE_S = 90.0  # links that are lost again and again wait up to a minute before they dial anew
KEEPALIVE_S = 3.0  # idle + interval * count, as set below: by then the kernel would have given up
CUT_S = 3.0  # after which the proxies of the second part close what is silent
# Ports of the peer: for links, for sockets without beats, for links with rare beats. A proxy has them FRONT higher, and
# again CUT higher where it has little patience.
LINK, IDLE, SELDOM = 7801, 7802, 7803
FRONT, CUT, SOCKS = 100, 100, 8100
ESTABLISHED, LISTEN = "01", "0A"  # in /proc/net/tcp


# ---- the peer behind the proxy ----

def keep_alive(sock):
    import hbeat
    hbeat.set_keepalive(sock, hbeat.Keepalive(idle_ms=1000, interval_ms=1000, count=2))


def serve():
    """Takes over what comes for links; what comes without beats is left to the kernel."""
    import hbeat
    engine = hbeat.Engine()
    engine.listen(f"tcp://127.0.0.1:{LINK}", POLICY)
    engine.listen(f"tcp://127.0.0.1:{SELDOM}", "interval=1h")
    idle = []
    with socket.create_server(("127.0.0.1", IDLE)) as listener:
        print("listening", flush=True)
        while True:
            idle.append(listener.accept()[0])
            keep_alive(idle[-1])


# ---- what stands between ----

def fronts():
    """Each port of the peer, where a proxy offers it, and after how many seconds of silence the proxy closes it."""
    for port in (LINK, IDLE, SELDOM):
        yield port, port + FRONT, 3600
        yield port, port + FRONT + CUT, int(CUT_S)


def haproxy(place):
    lines = ["defaults", " mode tcp", " timeout connect 5s"]
    for port, front, patience in fronts():
        lines += [f"listen to{front}", f" bind 127.0.0.1:{front}", f" timeout client {patience}s", f" timeout server {patience}s",
                  f" server peer 127.0.0.1:{port}"]
    (place / "haproxy.cfg").write_text("\n".join(lines) + "\n")
    return ["haproxy", "-q", "-db", "-f", place / "haproxy.cfg"], [front for _, front, _ in fronts()]


def nginx(place):
    servers = "\n".join(f"server {{ listen 127.0.0.1:{front}; proxy_pass 127.0.0.1:{port}; proxy_timeout {patience}s; }}"
                        for port, front, patience in fronts())
    module = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
    (place / "nginx.conf").write_text(
        f"{f'load_module {module};' if module.exists() else ''} daemon off; master_process off; pid {place}/nginx.pid; error_log stderr;\n"
        f"events {{ }}\nstream {{\n{servers}\n}}\n")
    return ["nginx", "-q", "-e", "stderr", "-p", place, "-c", place / "nginx.conf"], [front for _, front, _ in fronts()]


def microsocks(place):
    return ["microsocks", "-i", "127.0.0.1", "-p", str(SOCKS)], [SOCKS]


def danted(place):
    (place / "danted.conf").write_text(
        f"logoutput: stderr\ninternal: 127.0.0.1 port = {SOCKS}\nexternal: 127.0.0.1\nclientmethod: none\nsocksmethod: none\n"
        "user.privileged: root\nuser.unprivileged: root\n"
        "client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }\nsocks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }\n")
    return ["danted", "-f", place / "danted.conf", "-p", place / "danted.pid"], [SOCKS]


class Proxy:
    """hbeat dials the port at which the proxy offers the peer's."""

    cuts = True

    def __init__(self, start):
        self.start = start

    def connect(self, port):
        return socket.create_connection(("127.0.0.1", port + FRONT), timeout=PATIENCE_S)

    def open(self, engine, policy, port):
        return engine.dial(f"tcp://127.0.0.1:{port + FRONT}", policy)

    def reopen(self, engine):
        """It dials again by itself."""


class Socks:
    """hbeat takes over a connection that was made by way of the server."""

    cuts = False

    def __init__(self, start):
        self.start = start

    def connect(self, port):
        """RFC 1928, without authentication."""
        sock = socket.create_connection(("127.0.0.1", SOCKS), timeout=PATIENCE_S)
        sock.sendall(b"\5\1\0")
        assert sock.recv(2) == b"\5\0"
        sock.sendall(b"\5\1\0\1" + socket.inet_aton("127.0.0.1") + struct.pack(">H", port))
        assert sock.recv(10)[:2] == b"\5\0"
        return sock

    def open(self, engine, policy, port):
        return engine.adopt(self.connect(port), policy)

    def reopen(self, engine):
        self.open(engine, POLICY, LINK)


WAYS = {"haproxy": Proxy(haproxy), "nginx": Proxy(nginx), "danted": Socks(danted), "microsocks": Socks(microsocks)}


# ---- what the kernel thinks ----

def sockets():
    """Of each TCP socket of this namespace: local port, state, and whether it waits for its next keepalive probe with none
    unanswered (the fields of /proc/net/tcp as Linux's Documentation/networking/proc_net_tcp.rst names them)."""
    for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, _, timer, retransmits, _, unanswered = line.split()[:9]
        yield int(local.split(":")[1], 16), state, timer.startswith("02:") and int(retransmits, 16) == int(unanswered) == 0


def kernel_of(port):
    """What keepalive has made of the connection with that local port."""
    seen = {"content" if content else "doubts" for local, state, content in sockets() if (local, state) == (port, ESTABLISHED)}
    return seen.pop() if seen else "gave up"


def probes():
    """How many keepalive probes this namespace has sent."""
    names, numbers = [line.split()[1:] for line in Path("/proc/self/net/netstat").read_text().splitlines() if line.startswith("TcpExt")]
    return int(numbers[names.index("TCPKeepAlive")])


def nft(*words):
    subprocess.run(["nft", *words], check=True)


def cut():
    nft("add table inet faults; add chain inet faults in { type filter hook input priority 0; };"
        f"add rule inet faults in tcp dport {LINK}-{SELDOM} drop; add rule inet faults in tcp sport {LINK}-{SELDOM} drop")


# ---- the stories ----

class Events:
    """What an engine tells, with a thread that waits for it."""

    def __init__(self, engine):
        self.queue = queue.Queue()
        threading.Thread(target=lambda: [self.queue.put(event) for event in engine.events()], daemon=True).start()

    def until(self, kind, patience=PATIENCE_S, link=None):
        end = time.monotonic() + patience
        while (left := end - time.monotonic()) > 0:
            try:
                event = self.queue.get(timeout=left)
            except queue.Empty:
                break
            if event.type.name == kind and (link is None or event.link is link):
                return event
        return None


def listening(ports):
    """Whether somebody listens at each of these ports, after a while."""
    end = time.monotonic() + PATIENCE_S
    while not (there := set(ports) <= {port for port, state, _ in sockets() if state == LISTEN}) and time.monotonic() < end:
        time.sleep(0.05)
    return there


def row(good, *cells):
    print(f"{cells[0]:<12}{cells[1]:<14}{cells[2]:<22}{cells[3]:<8}{cells[4]:<22}{cells[5]:<7}{cells[6]:<17}{cells[7]:<15}"
          f"{cells[8]}{'' if good else '  FAILED'}", flush=True)
    return good


def fault_behind(name, way, fault, come, go, peer_is_content):
    """The peer behind the proxy is not there any more: what the beat says, and what the kernel does."""
    import hbeat
    with hbeat.Engine() as engine, way.connect(IDLE) as idle:
        events = Events(engine)
        keep_alive(idle)
        link = way.open(engine, POLICY, LINK)
        was_up = events.until("UP")
        time.sleep(1)
        sent, begun = probes(), time.monotonic()
        come()
        try:
            down = events.until("DOWN")
            after = down.at_ns / 1e9 - begun if down else PATIENCE_S
            # So long that the kernel would have given up, if it were the one to see it.
            time.sleep(max(0.0, begun + KEEPALIVE_S + NOISE_S - time.monotonic()))
            ours, theirs = kernel_of(idle.getsockname()[1]), kernel_of(IDLE)
            sent = probes() - sent
            carried = down.tcp if down else None
        finally:
            go()
        way.reopen(engine)
        again = was_up and events.until("UP")
        happened = f"DOWN {down.cause.name.lower()}" if down else "nothing"
        good = happened == "DOWN no_answer" and after <= LATEST_S + NOISE_S and ours == "content" and sent > 0 and again
        # The link's own connection, with three beats on it that nobody answered: the proxy's kernel has acknowledged each.
        good = good and carried is not None and carried.state == 1 and carried.unacked == 0
        good = good and (theirs == "content") == peer_is_content
        return row(bool(good), name, fault, "DOWN no_answer", f"{LATEST_S:.1f}", happened, f"{after:.2f}", ours, theirs,
                   "yes" if again else "no")


def silence(name, way):
    """A proxy that closes what is silent: beats hold it, and without them it is gone."""
    import hbeat
    with hbeat.Engine() as engine, way.connect(IDLE + CUT) as idle:
        begun = time.monotonic()
        events = Events(engine)
        held, rare = way.open(engine, POLICY, LINK + CUT), way.open(engine, RARE, SELDOM + CUT)
        ups = {events.until("UP").link for _ in range(2)}
        down = events.until("DOWN", link=rare)
        after = down.at_ns / 1e9 - begun if down else PATIENCE_S
        cause = down.cause.name.lower() if down else "nothing"
        good = ups == {held, rare} and cause in ("closed_by_peer", "reset") and CUT_S - 0.5 <= after <= CUT_S + NOISE_S
        row(good, name, "rare beats", "DOWN closed_by_peer", f"{CUT_S:.1f}", f"DOWN {cause}", f"{after:.2f}", "-", "-", "-")
        try:
            closed = idle.recv(1) == b""
        except ConnectionResetError:
            closed = True
        after = time.monotonic() - begun
        row(closed, name, "no beats", "closed", f"{CUT_S:.1f}", "closed" if closed else "open", f"{after:.2f}", "-", "-", "-")
        # Three times as long as the proxy has patience.
        lost = events.until("DOWN", max(0.0, begun + 3 * CUT_S - time.monotonic()), link=held)
        happened = f"DOWN {lost.cause.name.lower()}" if lost else "UP"
        row(lost is None, name, "beats", "UP", "-", happened, f"{time.monotonic() - begun:.2f}", "-", "-", "-")
        return good and closed and lost is None


def behind(name, way, library):
    """All that happens behind one proxy."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hbeat-")))
        environment = {**os.environ, "HBEAT_LIBRARY": str(library), "PYTHONPATH": str(ROOT / "bindings" / "python")}
        peer = Program(sys.executable, __file__, "serve", env=environment)
        stack.callback(peer.end)
        peer.until("listening", PATIENCE_S)
        command, ports = way.start(place)
        proxy = Program(*command, stderr=subprocess.STDOUT)
        stack.callback(proxy.end)
        if not listening(ports):
            print(f"{name} does not listen:\n{''.join(proxy.lines)}")
            return [False]
        results = [
            fault_behind(name, way, "peer stopped", lambda: peer.signal(signal.SIGSTOP), lambda: peer.signal(signal.SIGCONT), True),
            # The peer's own kernel probes the proxy, and is cut off as well.
            fault_behind(name, way, "peer cut off", cut, lambda: nft("delete table inet faults"), False),
        ]
        if way.cuts:
            results.append(silence(name, way))
        return results


def main(library):
    sys.stdout.reconfigure(line_buffering=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    os.environ["HBEAT_LIBRARY"] = str(library)
    required = os.environ.get("HBEAT_REQUIRE_PEERS") == "1"
    results, skipped = [], 0
    print("Kernel's keepalive: 1 s idle, 1 s between probes, 2 probes, on sockets without beats at both outer ends.")
    row(True, "through", "fault", "expected", "within", "what happened", "after", "client's kernel", "peer's kernel", "up again")
    for name, way in WAYS.items():
        if shutil.which(name):
            results += behind(name, way, library)
        else:
            print(f"{name} is not installed")
            results += [False] * required
            skipped += not required
    failed = results.count(False)
    print(f"{len(results) - failed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not (results or skipped) else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    elif len(sys.argv) == 3 and sys.argv[1] == "inside":
        sys.exit(main(Path(sys.argv[2])))
    elif len(sys.argv) == 2:
        apart = ["unshare", "--map-root-user", "--net"]
        try:
            subprocess.run([*apart, "nft", "add table inet faults"], check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"this machine lets nobody have a network of his own: {getattr(error, 'stderr', None) or error}")
            print("0 passed, 0 failed, 1 skipped")
            sys.exit(0)
        os.execvp(apart[0], [*apart, sys.executable, __file__, "inside", str(Path(sys.argv[1]).resolve() / "libhbeat.so")])
    else:
        sys.exit(__doc__)
