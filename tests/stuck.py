#!/usr/bin/env python3
"""A program that does not go on, seen by its peer: two of its threads wait for each other's lock, or it is stopped.

    tests/stuck.py LIBRARY_DIR

What the peer sees of the deadlock is what the program's policy chose (on_no_progress): a flag, silence, or nothing; the
program itself is told of it by a thread that is none of those two. Ends with one line of sums."""
import os
import signal
import sys
import threading
import time
from pathlib import Path

from program import Program

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bindings" / "python"))
BEATS = "interval=500ms timeout=500ms tries=3 jitter=0%"
PROGRESS_S, LATEST_S = 1.0, 2.0  # the application's own limit; C + N * T, for silence and for flagged beats alike
NOISE_S = 3.0  # what a busy machine may add
PATIENCE_S = 30.0


def program(endpoint, way):
    """Two workers that take two locks in each turn; after a line on its standard input they take them crosswise."""
    import hbeat
    engine = hbeat.Engine()
    engine.dial(endpoint, f"{BEATS} progress={PROGRESS_S}s on_no_progress={way}", name=way)
    left, right, both_have_one = threading.Lock(), threading.Lock(), threading.Barrier(2)
    crosswise = threading.Event()

    def work(first, second):
        while True:
            crossed = crosswise.is_set()
            with first if crossed else left:
                if crossed:
                    both_have_one.wait()
                with second if crossed else right:
                    engine.progress()
            time.sleep(0.02)

    for first, second in ((left, right), (right, left)):
        threading.Thread(target=work, args=(first, second), daemon=True).start()
    threading.Thread(target=lambda: (sys.stdin.readline(), crosswise.set()), daemon=True).start()
    for event in engine.events():
        print(event.type.name, flush=True)


def happens(engine, patience):
    """The first DOWN within so many seconds."""
    end = time.monotonic() + patience
    while (left := end - time.monotonic()) > 0:
        for event in engine.wait(left):
            if event.type.name == "DOWN":
                return event
    return None


def deadlock(program):
    program.say("now")


def stopped(program):
    program.signal(signal.SIGSTOP)


# What is done to the program, what its policy says, the cause that the peer reads, and after how long at the latest.
STORIES = [
    (deadlock, "flag", "peer_app_not_responding", PROGRESS_S + LATEST_S),
    (deadlock, "stop", "no_answer", PROGRESS_S + LATEST_S),
    (deadlock, "go_on", None, 3 * (PROGRESS_S + LATEST_S)),
    (stopped, "flag", "no_answer", LATEST_S),
]


def story(deed, way, cause, within):
    import hbeat
    with hbeat.Engine() as engine:
        listener = engine.listen("tcp://127.0.0.1:0", BEATS)
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "bindings" / "python")}
        program = Program(sys.executable, __file__, "program", listener.endpoint, way, env=environment)
        try:
            came_up = program.until("^UP", PATIENCE_S)
            # Twice its limit: who works is not blamed.
            calm = happens(engine, 2 * PROGRESS_S) is None
            begun = time.monotonic()
            deed(program)
            down = happens(engine, within if cause is None else PATIENCE_S)
            after = time.monotonic() - begun
            told = deed is stopped or program.until("^APP_NOT_RESPONDING", PATIENCE_S)
        finally:
            program.end()
    happened = f"DOWN {down.cause.name.lower()}" if down else "UP"
    expected = f"DOWN {cause}" if cause else "UP"
    good = came_up and calm and told and happened == expected and (cause is None or after <= within + NOISE_S)
    print(f"{deed.__name__:<11}{way:<16}{expected:<30}{within:<8.1f}{happened:<30}{after:<7.2f}{'' if good else 'FAILED'}".rstrip(), flush=True)
    return good


def main():
    print(f"{'fault':<11}{'on_no_progress':<16}{'expected':<30}{'within':<8}{'what happened':<30}after")
    results = [story(*row) for row in STORIES]
    failed = results.count(False)
    print(f"{len(results) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] == "program":
        program(*sys.argv[2:])
    elif len(sys.argv) == 2:
        os.environ["HBEAT_LIBRARY"] = str(Path(sys.argv[1]).resolve() / "libhbeat.so")
        sys.exit(main())
    else:
        sys.exit(__doc__)
