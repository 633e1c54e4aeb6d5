"""watch(), async for, and loops that block."""
import asyncio
import gc
import os
import selectors
import socket
import sys
import threading
import time
import unittest
import warnings

from support import CALM, LONG_S, QUICK

import hbeat
from hbeat import Cause, EventType, Run
from hbeat.aio import Puller, _engines

PATIENT = "normal interval=50ms timeout=20s jitter=0%"


class NoAddReader(asyncio.SelectorEventLoop):
    """As loops are that have no readiness, on other systems."""

    inside = False

    def add_reader(self, fd, callback, *args):
        raise NotImplementedError

    def remove_reader(self, fd):
        raise NotImplementedError


def run(body, loop_class=asyncio.SelectorEventLoop):
    """Runs a coroutine function in a loop of its own; fails if something is left over."""
    loop = loop_class()
    wrong = []
    loop.set_exception_handler(lambda _, context: wrong.append(context))
    loop.slow_callback_duration = LONG_S
    asyncio.set_event_loop(loop)
    try:
        result = loop.run_until_complete(asyncio.wait_for(body(), LONG_S))
        left = {task for task in asyncio.all_tasks(loop)}
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()
    if wrong or left or loop in _engines:
        raise AssertionError(f"left over: {wrong} {left} {_engines.get(loop)}")
    return result


async def mute():
    await asyncio.sleep(LONG_S)


async def lively():
    pass


async def forever():
    while True:
        await asyncio.sleep(0.01)


class Watch(unittest.TestCase):
    loop_class = asyncio.SelectorEventLoop

    def run_in_loop(self, body):
        return run(body, self.loop_class)

    def test_a_peer_that_answers_is_left_alone(self):
        asked = []

        async def probe():
            asked.append(1)
            await asyncio.sleep(0.001)

        async def body():
            async with hbeat.watch(probe, PATIENT, name="lively", data="mine") as link:
                while link.info().answers_received < 5:
                    await asyncio.sleep(0.01)
                self.assertEqual(link.data, "mine")
                info = link.info()
            with self.assertRaises(hbeat.ClosedError):
                link.info()
            return info

        info = self.run_in_loop(body)
        self.assertEqual((info.misses, info.answers_unmatched, info.answers_late), (0, 0, 0))
        self.assertGreaterEqual(len(asked), 5)
        self.assertIsNotNone(info.rtt_us)

    def test_down_cancels_the_body_and_comes_out_as_link_down(self):
        ends = []

        async def body():
            try:
                async with hbeat.watch(mute, QUICK, name="mute"):
                    try:
                        await forever()
                    except asyncio.CancelledError:
                        ends.append("cancelled")
                        raise
            except hbeat.LinkDown as down:
                ends.append((down.event.cause, down.event.name, down.__cause__))
                self.assertEqual(str(down), str(down.event))
                await asyncio.sleep(0.01)
                if sys.version_info >= (3, 11):
                    self.assertEqual(asyncio.current_task().cancelling(), 0)

        self.run_in_loop(body)
        self.assertEqual(ends, ["cancelled", (Cause.NO_ANSWER, "mute", None)])

    def test_a_body_that_swallows_the_cancellation_still_ends_in_link_down(self):
        async def body():
            with self.assertRaises(hbeat.LinkDown):
                async with hbeat.watch(mute, QUICK):
                    try:
                        await forever()
                    except asyncio.CancelledError:
                        pass
            await asyncio.sleep(0.01)

        self.run_in_loop(body)

    def test_cancellation_by_others_passes_on(self):
        async def watched():
            async with hbeat.watch(lively, PATIENT):
                await forever()

        async def body():
            task = asyncio.ensure_future(watched())
            await asyncio.sleep(0.1)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(watched(), 0.05)

        self.run_in_loop(body)

    def test_an_exception_of_the_body_passes_on(self):
        async def body():
            with self.assertRaises(KeyError):
                async with hbeat.watch(lively, PATIENT):
                    raise KeyError("mine")
            with self.assertRaises(KeyError):
                async with hbeat.watch(mute, QUICK):
                    try:
                        await forever()
                    finally:
                        raise KeyError("mine")
            await asyncio.sleep(0)

        self.run_in_loop(body)

    def test_a_probe_that_raises_is_no_answer_and_is_kept_as_evidence(self):
        asked = []

        async def probe():
            asked.append(1)
            raise OSError("unplugged")

        async def body():
            with self.assertRaises(hbeat.LinkDown) as caught:
                async with hbeat.watch(probe, QUICK):
                    await forever()
            return caught.exception

        down = self.run_in_loop(body)
        self.assertEqual((down.event.cause, str(down.__cause__)), (Cause.NO_ANSWER, "unplugged"))
        self.assertEqual(len(asked), 2)

    def test_a_slow_probe_is_not_stacked(self):
        running, most = [], []

        async def probe():
            running.append(1)
            most.append(len(running))
            try:
                await asyncio.sleep(LONG_S)
            finally:
                running.pop()

        async def body():
            with self.assertRaises(hbeat.LinkDown) as caught:
                async with hbeat.watch(probe, QUICK.replace(tries=5)):
                    await forever()
            return caught.exception.event

        event = self.run_in_loop(body)
        self.assertEqual((event.cause, event.tries, most, running), (Cause.NO_ANSWER, 5, [1], []))

    def test_what_is_received_in_the_body_proves_life(self):
        async def body():
            async with hbeat.watch(mute, "normal interval=400ms timeout=20s tries=1 jitter=0%") as link:
                for _ in range(10):
                    await asyncio.sleep(0.08)
                    link.received()
                return link.info().misses

        self.assertEqual(self.run_in_loop(body), 0)

    def test_watches_within_watches(self):
        async def body():
            with self.assertRaises(hbeat.LinkDown) as caught:
                async with hbeat.watch(lively, PATIENT, name="outer"):
                    async with hbeat.watch(mute, QUICK, name="inner"):
                        await forever()
            self.assertEqual(caught.exception.event.name, "inner")
            with self.assertRaises(hbeat.LinkDown) as caught:
                async with hbeat.watch(mute, QUICK, name="outer"):
                    async with hbeat.watch(lively, PATIENT, name="inner"):
                        await forever()
            self.assertEqual(caught.exception.event.name, "outer")

        self.run_in_loop(body)

    def test_one_engine_a_loop_without_a_thread_and_only_while_it_is_needed(self):
        async def body():
            loop = asyncio.get_running_loop()
            async with hbeat.watch(lively, PATIENT) as one:
                async with hbeat.watch(lively, PATIENT) as two:
                    self.assertIs(one.engine, two.engine)
                    self.assertEqual(one.engine.health().threads, 0)
                self.assertFalse(one.engine.closed)
            self.assertTrue(one.engine.closed)
            self.assertNotIn(loop, _engines)

        self.run_in_loop(body)

    def test_an_engine_of_ones_own_is_left_open_and_tells_others_too(self):
        for way in (Run.THREADS, Run.APPLICATION):
            async def body():
                with hbeat.Engine(run=way) as engine:
                    with self.assertRaises(hbeat.LinkDown):
                        async with hbeat.watch(mute, QUICK, name="watched", engine=engine):
                            engine.open(QUICK, name="other")
                            await forever()
                    async for event in engine.events():
                        self.assertEqual(event.name, "other")
                        if event.type == EventType.DOWN:
                            break
                    self.assertEqual(engine.wait(0.01), [])

            self.run_in_loop(body)

    def test_a_watch_that_cannot_begin_leaves_nothing_behind(self):
        async def body():
            with self.assertRaises(hbeat.InvalidError):
                async with hbeat.watch(lively, PATIENT, name="x" * 100):
                    self.fail("it began")
            self.assertEqual(len(_engines), 0)

        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            self.run_in_loop(body)
        gc.collect()
        self.assertLessEqual(len(os.listdir("/proc/self/fd")), before + 2)

    def test_what_a_probe_returns_is_awaited(self):
        async def sends_only():
            return asyncio.get_running_loop().create_future()  # the pong that never comes

        async def body():
            with self.assertRaises(hbeat.LinkDown):
                async with hbeat.watch(sends_only, QUICK):
                    await forever()

        self.run_in_loop(body)

    def test_an_engine_that_is_closed_under_a_watch_says_so(self):
        for way in (Run.THREADS, Run.APPLICATION):
            async def body():
                engine = hbeat.Engine(run=way)
                with self.assertRaises(hbeat.StoppedError):
                    async with hbeat.watch(lively, PATIENT, engine=engine):
                        await asyncio.sleep(0.05)
                        engine.close()
                        await forever()

            self.run_in_loop(body)

    def test_a_report_ends_the_body_too(self):
        async def body():
            with self.assertRaises(hbeat.LinkDown) as caught:
                async with hbeat.watch(lively, PATIENT) as link:
                    link.report_down(Cause.CLOSED_BY_PEER)
                    await forever()
            return caught.exception.event.cause

        self.assertEqual(self.run_in_loop(body), Cause.CLOSED_BY_PEER)

    def test_bad_input(self):
        async def body():
            with self.assertRaises(hbeat.InvalidError):
                async with hbeat.watch(lively, "brisk"):
                    pass
            with self.assertRaises(hbeat.InvalidError):
                async with hbeat.watch(lively, "normal observe_only=yes"):
                    pass
            once = hbeat.watch(lively)
            async with once:
                pass
            with self.assertRaises(RuntimeError):
                async with once:
                    pass

        self.run_in_loop(body)


class WatchWithAThread(Watch):
    """The same in a loop without add_reader."""

    loop_class = NoAddReader

    def test_the_thread_ends_with_the_need_for_it(self):
        async def body():
            async with hbeat.watch(lively, PATIENT):
                self.assertTrue(any(thread.name == "hbeat-asyncio" for thread in threading.enumerate()))

        self.run_in_loop(body)
        end = time.monotonic() + LONG_S
        while any(thread.name == "hbeat-asyncio" for thread in threading.enumerate()):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)


class Events(unittest.TestCase):
    def test_what_came_before_the_end_is_handed_out(self):
        for way in (Run.THREADS, Run.APPLICATION):
            async def body():
                with hbeat.Engine(run=way) as engine:
                    for name in "abc":
                        engine.open(CALM, name=name).report_down(hbeat.Cause.RESET)
                    engine.stop()
                    told = [event.type async for event in engine.events()]
                    self.assertEqual(told.count(EventType.CLOSED), 3)

            run(body)

    def test_async_for_ends_with_the_engine(self):
        for loop_class in (asyncio.SelectorEventLoop, NoAddReader):
            for way in (Run.THREADS, Run.APPLICATION):
                async def body():
                    engine, told = hbeat.Engine(run=way), []
                    engine.open(QUICK, name="x")
                    async for event in engine.events():
                        told.append(event.type.name)
                        if event.type == EventType.DOWN:
                            event.link.close()
                        elif event.type == EventType.CLOSED:
                            engine.stop()
                    self.assertEqual(told, ["SEND", "SUSPECT", "DOWN", "CLOSED"])
                    self.assertEqual([event async for event in engine.events()], [])
                    engine.close()
                    self.assertEqual([event async for event in engine.events()], [])

                run(body, loop_class)

    def test_close_by_another_thread_ends_async_for(self):
        async def body():
            engine = hbeat.Engine()
            threading.Timer(0.1, engine.close).start()
            self.assertEqual([event async for event in engine.events()], [])

        run(body)

    def test_a_task_that_is_cancelled_in_async_for_loses_no_event(self):
        async def body():
            with hbeat.Engine() as engine:
                told = []

                async def listen():
                    async for event in engine.events():
                        told.append(event.data)

                for number in range(200):
                    engine.open(data=number).report_down(Cause.REPORTED)
                    task = asyncio.ensure_future(listen())
                    for _ in range(number % 7):
                        await asyncio.sleep(0)
                    task.cancel()
                    await asyncio.wait({task})
                task = asyncio.ensure_future(listen())
                while len(told) < 200:
                    await asyncio.sleep(0.01)
                task.cancel()
                self.assertEqual(sorted(told), list(range(200)))

        run(body)

    def test_one_task_listens_at_a_time(self):
        async def body():
            with hbeat.Engine() as engine:
                task = asyncio.ensure_future(engine.events().__anext__())
                await asyncio.sleep(0.01)
                with self.assertRaises(hbeat.BusyError):
                    await engine.events().__anext__()
                with self.assertRaises(hbeat.BusyError):
                    engine.wait(0)
                task.cancel()
                await asyncio.wait({task})
                self.assertEqual(engine.wait(0), [])

        run(body)

    def test_an_engine_goes_from_loop_to_loop(self):
        with hbeat.Engine() as engine:
            for name in ("one", "two"):
                async def body():
                    engine.open(QUICK, name=name)
                    async for event in engine.events():
                        if event.type == EventType.DOWN:
                            return event.name

                self.assertEqual(run(body), name)

    def test_a_loop_that_is_closed_without_a_word_leaves_the_engine_usable(self):
        with hbeat.Engine() as engine, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loop = asyncio.new_event_loop()
            loop.set_exception_handler(lambda *_: None)
            loop.set_debug(False)

            async def body():
                Puller.of(engine).hear(engine.open(PATIENT), lambda _: None)

            loop.run_until_complete(body())
            loop.close()

            async def again():
                engine.open(QUICK, name="again")
                async for event in engine.events():
                    if event.name == "again" and event.type == EventType.DOWN:
                        return True

            gc.collect()
            self.assertTrue(run(again))


class Peers(threading.Thread):
    """Peers in a thread of their own: each line, or ACTIVE_TEST, that comes is answered, but by those that are dead."""

    def __init__(self):
        super().__init__(daemon=True)
        self.selector = selectors.DefaultSelector()
        self.ends, self.dead, self.over, self.delay_s = [], set(), False, 0

    def connect(self):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.ends.append(theirs)
        self.selector.register(theirs, selectors.EVENT_READ, len(self.ends) - 1)
        return ours

    def run(self):
        while not self.over:
            for key, _ in self.selector.select(0.05):
                data = key.fileobj.recv(4096)
                time.sleep(self.delay_s)
                if key.data not in self.dead:
                    for place in range(0, len(data), 12):
                        key.fileobj.send(b"\0\0\0\x0d\x80\0\0\x08" + data[place + 8:place + 12] + b"\0")

    def close(self):
        self.over = True
        self.join()
        for end in self.ends:
            end.close()
        self.selector.close()


PING = b"\0\0\0\x0c\0\0\0\x08\0\0\0\x01"
# Everything ten times as fast: the preset "normal" (9 s, 10 s, 3), and 40 s in which the loop is blocked.
SCALE = 10
NORMAL = hbeat.Policy("normal", interval_ms=9_000 // SCALE, timeout_ms=10_000 // SCALE)
BLOCKED_S = 40 / SCALE
LINKS = 200


class BlockedLoop(unittest.TestCase):
    def setUp(self):
        self.peers = Peers()
        self.sockets = []
        self.addCleanup(lambda: [end.close() for end in self.sockets])
        self.addCleanup(self.peers.close)

    def connect(self):
        end = self.peers.connect()
        self.sockets.append(end)
        return end

    async def watched(self, policy, blocks=(), **options):
        """A connection whose probe is a ping; what came of it. After the pings of these numbers the loop is blocked."""
        end, loop, pings = self.connect(), asyncio.get_running_loop(), []

        async def ping():
            await loop.sock_sendall(end, PING)
            pings.append(1)
            if len(pings) in blocks:
                loop.call_soon(time.sleep, 2)
            await loop.sock_recv(end, 13)

        try:
            async with hbeat.watch(ping, policy, **options) as link:
                self.infos.append(link.info)
                await asyncio.sleep(LONG_S)
        except hbeat.LinkDown as down:
            return down.event

    async def observed(self, engine, policy):
        """Connections whose sockets hbeat observes; what became of each that is DOWN."""
        loop, down = asyncio.get_running_loop(), []
        for number in range(LINKS):
            end = self.connect()
            link = engine.open(policy, protocol="cmpp", fd=end, data=(end, number), name=f"observed-{number}")
            loop.add_reader(end, lambda end=end, link=link: link.feed(end.recv(4096)))
        async for event in engine.events():
            if event.type == EventType.SEND:
                event.data[0].send(event.link.take())
            elif event.type == EventType.DOWN:
                self.down.append(event)
        return down

    def test_a_loop_that_blocks_40_scaled_seconds_blames_none_of_its_200_links(self):
        self.infos, self.down = [], []

        async def body():
            engine = hbeat.Engine()
            watched = [asyncio.ensure_future(self.watched(NORMAL, name=f"watched-{number}")) for number in range(LINKS)]
            await asyncio.sleep(0)
            observed = asyncio.ensure_future(self.observed(engine, NORMAL))
            await asyncio.sleep(0)
            self.peers.start()
            await asyncio.sleep(1.2)
            time.sleep(BLOCKED_S)
            await asyncio.sleep(3 * NORMAL.timeout_ms / 1000 + 1)
            self.assertEqual([str(task.result()) for task in watched if task.done()], [])
            self.assertEqual(list(map(str, self.down)), [])
            # Now two peers really die.
            self.peers.dead |= {7, LINKS + 7}
            while not (watched[7].done() and self.down):
                await asyncio.sleep(0.05)
            self.assertEqual((watched[7].result().cause, watched[7].result().name), (Cause.NO_ANSWER, "watched-7"))
            self.assertEqual([(event.cause, event.data[1]) for event in self.down], [(Cause.NO_ANSWER, 7)])
            self.assertEqual([task for task in watched if task.done()], [watched[7]])
            for task in watched + [observed]:
                task.cancel()
            await asyncio.wait(watched + [observed])
            engine.close()
            for end in self.sockets:
                asyncio.get_running_loop().remove_reader(end)

        run(body)

    def test_an_answer_that_came_while_the_loop_was_blocked_counts_even_for_the_only_try(self):
        """Blocked just after the beat left, for four times as long as an answer may take."""
        policy = hbeat.Policy("normal interval=300ms timeout=500ms tries=1 jitter=0%")
        self.infos, self.peers.delay_s = [], 0.02

        async def body():
            self.peers.start()
            task = asyncio.ensure_future(self.watched(policy, blocks=(2, 4)))
            while not self.infos or self.infos[0]().beats_sent < 5:
                self.assertFalse(task.done(), task)
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            info = self.infos[0]()
            self.assertEqual((info.misses, info.answers_late, info.answers_received), (0, 0, info.beats_sent))
            self.peers.dead.add(0)
            self.assertEqual((await task).cause, Cause.NO_ANSWER)

        run(body)

    def test_a_peer_that_dies_while_the_loop_is_blocked_is_found(self):
        self.infos = []

        async def body():
            self.peers.start()
            task = asyncio.ensure_future(self.watched("normal interval=200ms timeout=200ms tries=2 jitter=0%"))
            while not self.infos or self.infos[0]().answers_received < 1:
                await asyncio.sleep(0.001)
            self.peers.dead.add(0)
            time.sleep(1.5)
            self.assertEqual((await task).cause, Cause.NO_ANSWER)

        run(body)

    def test_with_an_engine_that_threads_turn_tries_that_are_left_protect(self):
        self.infos = []

        async def body():
            with hbeat.Engine() as engine:
                self.peers.start()
                # Many tries: a machine that is busy with other things must not use them up.
                policy = "normal interval=200ms timeout=500ms tries=8 jitter=0%"
                task = asyncio.ensure_future(self.watched(policy, engine=engine, blocks=(2, 5)))
                while not self.infos or self.infos[0]().beats_sent < 8:
                    self.assertFalse(task.done(), task)
                    await asyncio.sleep(0.01)
                self.peers.dead.add(0)
                self.assertEqual((await task).cause, Cause.NO_ANSWER)

        run(body)


if __name__ == "__main__":
    unittest.main()
