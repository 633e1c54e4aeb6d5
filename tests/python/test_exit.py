"""Ends of all kinds: of the interpreter, by a signal, by fork, of threads, of an engine that nobody closed."""
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import unittest
import warnings
from concurrent.futures import ThreadPoolExecutor

from support import CALM, LONG_S, QUICK, program, until, wait_for

import hbeat
from hbeat import EventType

EXITS = int(os.environ.get("HBEAT_EXITS", "12"))

# A pull thread that is busy all the time, and a main thread that just ends.
EXIT = """
    import asyncio, sys, threading, time
    import hbeat

    how, after_ms = sys.argv[1], int(sys.argv[2])
    engine = hbeat.Engine()
    for _ in range(20):
        engine.open("normal interval=2ms timeout=2ms tries=255")

    def events():
        for event in engine.events():
            if event.type == hbeat.EventType.SEND:
                event.link.take_beat()

    def wait():
        while True:
            for event in engine.wait():
                event.link.received()

    def spin():
        while True:
            engine.wait(0)
            engine.links()[0].info()

    def loop():
        async def probe():
            await asyncio.sleep(0.001)

        async def main():
            async with hbeat.watch(probe, "normal interval=2ms timeout=20ms tries=255"):
                async for event in engine.events():
                    pass

        asyncio.run(main())

    def work():
        try:
            globals()[how]()
        except hbeat.ClosedError:
            pass  # The main thread said so.

    threading.Thread(target=work, daemon=True).start()
    time.sleep(after_ms / 1000)
    if after_ms % 3 == 0:
        raise SystemExit(7)
    if after_ms % 3 == 1:
        engine.close()
        sys.exit(7)
    sys.exit(7)
"""
WAYS = ["events", "wait", "spin", "loop"]


def until_tasks_are(count):
    """A thread that was joined is listed for a moment longer."""
    until(lambda: len(os.listdir("/proc/self/task")) == count, f"{count} threads")


class Exit(unittest.TestCase):
    def test_the_interpreter_exits_with_a_running_engine_and_a_busy_pull_thread(self):
        def run(number):
            return program(EXIT, WAYS[number % len(WAYS)], number // len(WAYS) % 30)

        with ThreadPoolExecutor((os.cpu_count() or 1) + 1) as pool:
            ends = list(pool.map(run, range(EXITS)))
        bad = [(code, output) for code, output in ends if code != 7 or "Fatal" in output or "Traceback" in output]
        self.assertEqual(bad, [])
        print(f"figure {sys.version_info[0]}.{sys.version_info[1]}: {EXITS} exits with a busy pull thread: no abort, no hang")

    def test_a_program_that_only_forgets_close_ends_and_says_so(self):
        code, output = program("""
            import hbeat
            engine = hbeat.Engine()
            engine.open("fast", name="kept")
        """, options=["-W", "always"])
        self.assertEqual(code, 0, output)
        self.assertIn("ResourceWarning: unclosed <hbeat.Engine threads", output)

    def test_a_forgotten_engine_is_stopped_and_reported_when_it_is_collected(self):
        before = threading.active_count()
        until_tasks_are(before)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            engine = hbeat.Engine()
            link = engine.open()
            until_tasks_are(before + 1)
            del engine, link
            gc.collect()
        until_tasks_are(before)
        self.assertEqual([warning.category for warning in caught], [ResourceWarning])

    def test_os_exit_ends_the_process_as_ever(self):
        code, output = program("""
            import os, hbeat
            engine = hbeat.Engine()
            os._exit(3)
        """)
        self.assertEqual(code, 3, output)


class Interrupt(unittest.TestCase):
    def test_keyboard_interrupt_comes_out_of_a_blocking_wait_and_of_events(self):
        for how in ["engine.wait()", "list(engine.events())", "engine.wait(1000)"]:
            child = subprocess.Popen([sys.executable, "-c", f"""if True:
                import signal
                import hbeat
                # Who started the tests may have it ignored.
                signal.signal(signal.SIGINT, signal.default_int_handler)
                with hbeat.Engine() as engine:
                    print("waiting", flush=True)
                    try:
                        {how}
                    except KeyboardInterrupt:
                        print("interrupted")
            """], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
            self.assertEqual(child.stdout.readline(), b"waiting\n")
            time.sleep(0.1)
            child.send_signal(signal.SIGINT)
            try:
                output, _ = child.communicate(timeout=LONG_S)
            finally:
                child.kill()
            self.assertEqual((child.returncode, output), (0, b"interrupted\n"), how)

    def test_a_handler_runs_while_it_waits_and_the_wait_goes_on(self):
        seen = []
        before = signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
        try:
            with hbeat.Engine() as engine:
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                started = time.monotonic()
                self.assertEqual(engine.wait(0.3), [])
                self.assertGreaterEqual(time.monotonic() - started, 0.3)
            self.assertEqual(seen, [1])
        finally:
            signal.signal(signal.SIGALRM, before)

    def test_waiting_costs_nothing(self):
        with hbeat.Engine() as engine:
            before = time.thread_time()
            engine.wait(0.5)
            self.assertLess(time.thread_time() - before, 0.05)


def in_child(engine, link, results):
    """In a fork: the engine of the parent is refused, one of its own works."""
    refused = []
    for name, call in [("open", lambda: engine.open()), ("wait", lambda: engine.wait(0)), ("health", engine.health),
                       ("links", engine.links), ("stop", engine.stop), ("info", link.info), ("take_beat", link.take_beat),
                       ("start", link.start), ("close", link.close), ("events", lambda: next(iter(engine.events())))]:
        try:
            call()
        except hbeat.ForkedError:
            refused.append(name)
    link.received()
    engine.close()
    results.put((refused, own_engine()))


def own_engine():
    with hbeat.Engine() as engine:
        engine.open(QUICK, name="child")
        return wait_for(engine, EventType.DOWN).cause.name


def spawned(results):
    results.put(own_engine())


class Processes(unittest.TestCase):
    def run_process(self, method, target, *arguments):
        context = multiprocessing.get_context(method)
        results = context.Queue()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads
            child = context.Process(target=target, args=(*arguments, results))
            child.start()
        result = results.get(timeout=LONG_S)
        child.join(LONG_S)
        self.assertEqual(child.exitcode, 0)
        return result

    def test_multiprocessing_by_fork(self):
        with hbeat.Engine() as engine, engine.open(QUICK, name="parent") as link:
            refused, cause = self.run_process("fork", in_child, engine, link)
            self.assertEqual(refused, ["open", "wait", "health", "links", "stop", "info", "take_beat", "start", "close", "events"])
            self.assertEqual(cause, "SEND_STUCK")
            self.assertEqual(wait_for(engine, EventType.DOWN).name, "parent")

    def test_a_fork_beside_a_thread_that_pulls(self):
        with hbeat.Engine() as engine, engine.open(CALM) as link:
            puller = threading.Thread(target=list, args=(engine.events(),))
            puller.start()
            until(lambda: engine._pulling)
            refused, _ = self.run_process("fork", in_child, engine, link)
            self.assertEqual(len(refused), 10, refused)
            engine.stop()
            puller.join(LONG_S)

    def test_multiprocessing_by_spawn(self):
        with hbeat.Engine() as engine:
            self.assertEqual(self.run_process("spawn", spawned), "SEND_STUCK")
            self.assertEqual(engine.wait(0), [])

    def test_a_fork_that_ends_as_an_interpreter_does_warns_of_nothing(self):
        code, output = program("""
            import os, sys, hbeat
            engine = hbeat.Engine()
            child = os.fork()
            if child == 0:
                sys.exit(0)
            _, status = os.waitpid(child, 0)
            engine.close()
            sys.exit(status)
        """, options=["-W", "error::ResourceWarning"])
        self.assertEqual(code, 0, output)
        self.assertNotIn("ResourceWarning", output)


class Threads(unittest.TestCase):
    def test_threads_that_use_the_engine_may_die(self):
        def die(number):
            link = engine.open(QUICK, name=f"of-{number}", data=number)
            if number % 2:
                raise SystemExit
            link.take_beat()

        with hbeat.Engine() as engine:
            threads = [threading.Thread(target=die, args=(number,)) for number in range(50)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            down = set()
            while len(down) < 50:
                down |= {event.data for event in engine.wait(LONG_S) if event.type == EventType.DOWN}
            self.assertEqual(down, set(range(50)))

    def test_a_thread_that_dies_in_its_loop_of_events_leaves_them_to_others(self):
        def die():
            for _ in engine.events():
                raise SystemExit

        with hbeat.Engine() as engine:
            engine.open(QUICK, name="left")
            thread = threading.Thread(target=die)
            thread.start()
            thread.join(LONG_S)
            self.assertFalse(thread.is_alive())
            self.assertEqual(wait_for(engine, EventType.DOWN).name, "left")


if __name__ == "__main__":
    unittest.main()
