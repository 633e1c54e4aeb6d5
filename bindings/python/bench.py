"""What a call from Python costs, and how many events a second come through wait: bench.py [PYTHON ...]

With arguments on those Pythons, otherwise on this one. Medians of several runs; machines differ and are noisy."""
import os
import platform
import statistics
import subprocess
import sys
import time
import timeit
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

CALLS, RUNS, LINKS = 100_000, 7, 20_000


def ns_per_call(call):
    return statistics.median(timeit.repeat(call, number=CALLS, repeat=RUNS)) / CALLS * 1e9


def events_per_second(hbeat, kind, policy):
    """Of one kind, all of them waiting: what pulling them takes."""
    start_ns = 10**12
    with hbeat.Engine(clock=hbeat.Clock.MANUAL, start_ns=start_ns, events=[kind]) as engine:
        for _ in range(LINKS):
            engine.open(policy)
        took = count = 0
        while engine.advance(start_ns + 2 * 10**9):
            begun = time.perf_counter()
            while True:
                events = engine.wait(0)
                if not events:
                    break
                count += len(events)
            took += time.perf_counter() - begun
        assert count == LINKS, count
        return count / took


def main():
    import hbeat

    engine = hbeat.Engine()
    link, framed, now = engine.open(), engine.open("cmpp", protocol="cmpp"), hbeat.now_ns()
    message = bytes.fromhex("0000000d800000080000000100")
    rows = [
        ("received(now)", f"{ns_per_call(lambda: link.received(now)):.0f} ns"),
        ("received()", f"{ns_per_call(lambda: link.received()):.0f} ns"),
        ("feed(13 bytes, now)", f"{ns_per_call(lambda: framed.feed(message, now)):.0f} ns"),
        ("a method that does nothing", f"{ns_per_call(lambda: engine.__enter__()):.0f} ns"),
        ("SEND through wait", f"{events_per_second(hbeat, hbeat.EventType.SEND, 'normal interval=1s timeout=10s jitter=0%'):,.0f} a second"),
        ("DOWN through wait, logged", f"{events_per_second(hbeat, hbeat.EventType.DOWN, 'normal interval=1s timeout=500ms tries=1 jitter=0%'):,.0f} a second"),
    ]
    engine.close()
    print(f"Python {platform.python_version()}")
    for name, figure in rows:
        print(f"  {name:<28}{figure:>22}")


if __name__ == "__main__":
    for python in sys.argv[1:]:
        subprocess.run([python, str(Path(__file__).resolve())], check=True, env={**os.environ, "PYTHONPATH": str(HERE)})
    if not sys.argv[1:]:
        main()
