"""Engines and links: what is told, when, to whom; close from everywhere."""
import dataclasses
import gc
import logging
import os
import select
import socket
import threading
import time
import unittest
import weakref

from support import CALM, LONG_S, MS, QUICK, until, wait_for

import hbeat
from hbeat import Cause, Clock, EventType, Run, State, Times

START_NS = 1_000_000 * MS


def manual(**options):
    return hbeat.Engine(clock=Clock.MANUAL, start_ns=START_NS, **options)


class Story(unittest.TestCase):
    def test_a_mute_cmpp_peer(self):
        with manual() as engine:
            link = engine.open("cmpp", name="gd-mt-07", protocol="cmpp", data={"account": "900001"})
            sequence, told = hbeat.Sequence(4711), []
            while engine.advance(START_NS + 400_000 * MS):
                for event in engine.wait(0):
                    told.append(((event.at_ns - START_NS) // MS, event.type.name))
                    if event.type == EventType.SEND:
                        frame = link.take(sequence)
                        self.assertEqual(frame.hex(), "0000000c0000000800001267")
            self.assertEqual(told, [(180_000, "SEND"), (240_000, "SUSPECT"), (240_000, "SEND"), (300_000, "SUSPECT"),
                                    (300_000, "SEND"), (360_000, "DOWN")])
            self.assertEqual(sequence.next, 4712)
            self.assertEqual((event.cause, event.state, event.link, event.data), (Cause.NO_ANSWER, State.DOWN, link, {"account": "900001"}))
            self.assertEqual(str(event), "DOWN gd-mt-07 cause=no_answer tries=3/3 seq=4711 last_tx=60.0s")
            info = link.info()
            self.assertEqual((info.state, info.cause, info.beats_sent, info.protocol, info.name, info.rtt_us, info.unread_bytes),
                             (State.DOWN, Cause.NO_ANSWER, 3, "cmpp", "gd-mt-07", None, None))

    def test_two_hearts_beat_each_other(self):
        with manual() as engine:
            policy = "normal interval=1s timeout=1s jitter=0%"
            here, there = (engine.open(policy, name=name, protocol="heart") for name in ("here", "there"))
            other = {here: there, there: here}
            while engine.advance(START_NS + 60_000 * MS):
                for event in engine.wait(0):
                    self.assertEqual(event.type, EventType.SEND)
                    link = event.link
                    while other[link].feed(link.take()):
                        link = other[link]
            self.assertGreaterEqual(here.info().answers_received + there.info().answers_received, 59)

    def test_what_the_applications_tell_each_other(self):
        with manual() as engine:
            here, there = (engine.open("normal interval=10s jitter=0%", name=name, protocol="heart") for name in ("here", "there"))
            self.assertEqual(there.peer_state(), b"")
            here.set_state(bytearray(b"leads\0, 7 wait"))
            engine.advance(START_NS + 10_000 * MS)
            there.feed(here.take())
            engine.advance(START_NS + 10_000 * MS)
            event = [event for event in engine.wait(0) if event.type is EventType.PEER_STATE][0]
            self.assertIs(event.link, there)
            self.assertEqual((event.detail, there.peer_state()), (14, b"leads\0, 7 wait"))
            there.set_state(bytes(1024))
            here.feed(there.take())
            self.assertEqual(here.peer_state(), bytes(1024))
            self.assertEqual(here.info().peer_states_left_out, 0)

    def test_many_links_are_received_at_once(self):
        with manual() as engine:
            links = [engine.open(CALM) for _ in range(50)]
            engine.advance(START_NS + 5_000 * MS)
            engine.received(links, START_NS + 4_000 * MS)
            engine.received([])
            self.assertEqual({link.info().last_received_ms for link in links}, {1_000})
            links[7].close()
            with self.assertRaises(hbeat.NoLinkError):
                engine.received(iter(links))
            self.assertEqual({link.info().last_received_ms for link in links if link is not links[7]}, {0})

    def test_an_application_that_says_that_it_goes_on(self):
        with manual() as engine:
            policy = hbeat.Policy("interval=1h progress=5s on_no_progress=stop least=1s")
            self.assertEqual((policy.progress_ms, policy.on_no_progress, policy.least_ms), (5_000, hbeat.NoProgress.STOP, 1_000))
            link, other = engine.open(policy), engine.open(policy)

            def silent(second):
                engine.advance(START_NS + second * 1_000 * MS)
                return [event.link for event in engine.wait(0) if event.type is EventType.APP_NOT_RESPONDING]

            self.assertEqual(silent(4), [])
            engine.progress()
            link.progress(START_NS + 3_000 * MS)
            self.assertEqual(silent(8), [link])
            self.assertEqual(silent(9), [other])
            self.assertEqual((other.info().strikes, engine.stats().strikes), (0, 0))

    def test_a_frame_that_comes_in_pieces_and_what_may_be_fed(self):
        with manual() as engine, engine.open("cmpp", protocol="cmpp") as link:
            test = bytes.fromhex("0000000c0000000800000001")
            self.assertEqual([link.feed(test[place:place + 1]) for place in range(12)], [False] * 11 + [True])
            self.assertEqual(link.take().hex(), "0000000d800000080000000100")
            for kind in (bytearray, memoryview):
                self.assertTrue(link.feed(kind(test)))
            self.assertTrue(link.feed(memoryview(b"-".join(test[place:place + 1] for place in range(12)))[::2]))
            self.assertEqual(len(link.take()), 3 * 13)
            self.assertEqual(link.take(), b"")
            self.assertFalse(link.feed(b""))

    def test_more_answers_than_a_buffer_holds_are_taken_at_once(self):
        with manual() as engine, engine.open("cmpp", protocol="cmpp") as link:
            link.feed(b"".join(bytes.fromhex("0000000c00000008") + number.to_bytes(4, "big") for number in range(20)))
            answers = link.take()
            self.assertEqual([answers[place + 11] for place in range(0, len(answers), 13)], list(range(12, 20)))
            self.assertEqual(link.info().answers_dropped, 12)

    def test_beats_of_ones_own(self):
        with manual() as engine:
            link = engine.open("normal interval=1s timeout=1s jitter=0% resend=same")
            numbers = []
            while engine.advance(START_NS + 2_500 * MS):
                numbers += [event.link.take_beat() for event in engine.wait(0) if event.type == EventType.SEND]
            self.assertEqual(numbers, [1, 1])
            link.answer_received(1)
            engine.advance(START_NS + 2_501 * MS)
            self.assertEqual([event.type for event in engine.wait(0)], [EventType.UP])
            self.assertIsNone(link.take_beat())

    def test_pause_start_and_another_policy(self):
        with manual() as engine:
            link = engine.open("fast", start_paused=True)
            self.assertEqual(link.info().state, State.PAUSED)
            link.start()
            link.set_policy("cmpp")
            self.assertFalse(engine.advance(START_NS + 100_000 * MS))
            link.pause()
            self.assertFalse(engine.advance(START_NS + 900_000 * MS))

    def test_an_event_has_all_its_fields_and_never_changes(self):
        with hbeat.Engine() as engine, engine.open("fast", name="x") as link:
            link.report_down(Cause.RESET)
            event = wait_for(engine, EventType.DOWN)
            self.assertEqual({field.name for field in dataclasses.fields(event)}, set(vars(event)))
            self.assertEqual(event, dataclasses.replace(event))
            self.assertIn("name='x'", repr(event))
            with self.assertRaises(dataclasses.FrozenInstanceError):
                event.name = "y"

    def test_reports_come_once(self):
        with hbeat.Engine() as engine, engine.open() as link:
            self.assertTrue(link.report_down(Cause.RESET, 104))
            self.assertFalse(link.report_down(Cause.CLOSED_BY_PEER))
            event = wait_for(engine, EventType.DOWN)
            self.assertEqual((event.cause, event.detail, event.count), (Cause.RESET, 104, 1))


class Pull(unittest.TestCase):
    def test_wait_gives_batches_of_64_and_ends_with_its_time(self):
        with hbeat.Engine() as engine:
            self.assertEqual(engine.wait(0), [])
            self.assertEqual(engine.wait(0.01), [])
            for number in range(100):
                engine.open(data=number).report_down(Cause.REPORTED)
            until(lambda: engine.health().waiting == 100)
            self.assertEqual([len(engine.wait(5)), len(engine.wait(5))], [64, 36])

    def test_the_descriptor_is_readable_while_events_wait(self):
        with hbeat.Engine() as engine:
            self.assertEqual(select.select([engine], [], [], 0)[0], [])
            engine.open().report_down(Cause.REPORTED)
            self.assertEqual(select.select([engine], [], [], LONG_S)[0], [engine])
            wait_for(engine, EventType.DOWN)
            self.assertEqual(select.select([engine], [], [], 0)[0], [])

    def test_one_waits_at_a_time(self):
        with hbeat.Engine() as engine:
            thread = threading.Thread(target=lambda: list(engine.events()))
            thread.start()
            until(lambda: engine._pulling)
            with self.assertRaises(hbeat.BusyError):
                engine.wait(0)
            engine.close()
            thread.join(LONG_S)
            self.assertFalse(thread.is_alive())

    def test_only_what_is_asked_for_is_told(self):
        with manual(events=[EventType.DOWN]) as engine:
            engine.open("fast", name="quiet")
            engine.open("fast", name="chatty", events=[EventType.SUSPECT, EventType.CLOSED]).close()
            engine.open("fast", name="suspect", events=[EventType.SUSPECT])
            told = []
            while engine.advance(START_NS + 60_000 * MS):
                told += [(event.name, event.type.name, event.count) for event in engine.wait(0)]
            self.assertEqual(sorted(told), [("chatty", "CLOSED", 1), ("quiet", "DOWN", 1), ("suspect", "SUSPECT", 1), ("suspect", "SUSPECT", 1)])

    def test_a_program_with_one_thread(self):
        with hbeat.Engine(run=Run.APPLICATION) as engine:
            engine.open(QUICK, name="driven")
            told = []
            while "DOWN" not in told:
                left_ns = engine.next_deadline_ns() - hbeat.now_ns()
                select.select([engine], [], [], max(left_ns, 0) / 1e9)
                if engine.drive():
                    told += [event.type.name for event in engine.wait()]
            self.assertEqual(told, ["SEND", "SUSPECT", "DOWN"])
            self.assertEqual(engine.wait(), [])
            self.assertEqual(engine.health().threads, 0)
            with self.assertRaises(hbeat.WrongModeError):
                iter(engine.events())

    def test_stop_hands_out_the_rest(self):
        with hbeat.Engine() as engine:
            for number in range(3):
                engine.open(name=f"link-{number}")
            engine.stop()
            self.assertEqual([(event.type, event.name) for event in engine.events()],
                             [(EventType.CLOSED, f"link-{number}") for number in range(3)])
            with self.assertRaises(hbeat.StoppedError):
                engine.wait()
            with self.assertRaises(hbeat.StoppedError):
                engine.open()


class Kept(unittest.TestCase):
    """What was pulled and not handed out is not lost."""

    def setUp(self):
        self.engine = hbeat.Engine()
        self.addCleanup(self.engine.close)
        for name in "abcde":
            self.engine.open(CALM, name=name).report_down(Cause.RESET)

    def downs(self, count):
        names = []
        until(lambda: names.extend(event.name for event in self.engine.wait(0.1)) or len(names) >= count)
        return names

    def test_who_breaks_off_leaves_the_rest(self):
        for event in self.engine.events():
            self.assertEqual(event.name, "a")
            break
        self.assertEqual(self.downs(4), list("bcde"))

    def test_logging_that_raises_loses_nothing(self):
        def raises(record):
            raise RuntimeError("a filter of the application's")

        logging.getLogger("hbeat").addFilter(raises)
        try:
            with self.assertRaises(RuntimeError):
                self.engine.wait(10)
        finally:
            logging.getLogger("hbeat").removeFilter(raises)
        self.assertEqual(self.downs(5), list("abcde"))

    def test_a_timeout_longer_than_poll_knows(self):
        self.downs(5)
        threading.Timer(0.1, self.engine.stop).start()
        with self.assertRaises(hbeat.StoppedError):
            while True:
                self.engine.wait(3_000_000)


class Data(unittest.TestCase):
    class Connection:
        pass

    def test_data_is_kept_until_closed_was_handed_out(self):
        with manual() as engine:
            kept = weakref.ref(engine.open(data=self.Connection()).data)
            gc.collect()
            self.assertIsNotNone(kept())
            engine.links()[0].close()
            gc.collect()
            self.assertIsNotNone(kept())
            engine.advance(START_NS + MS)
            self.assertEqual([type(event.data) for event in engine.wait(0)], [self.Connection])
            gc.collect()
            self.assertIsNone(kept())

    def test_the_engine_lets_go_of_data_when_it_is_closed(self):
        engine = hbeat.Engine()
        kept = weakref.ref(engine.open(data=self.Connection()).data)
        engine.close()
        gc.collect()
        self.assertIsNone(kept())

    def test_links_are_listed_page_by_page(self):
        with hbeat.Engine() as engine:
            self.assertEqual(engine.links(), [])
            opened = [engine.open() for _ in range(2500)]
            self.assertEqual(set(engine.links()), set(opened))
            opened[0].close()
            self.assertEqual(set(engine.links()), set(opened[1:]))

    def test_an_event_that_overtakes_the_end_of_open_knows_its_link(self):
        with hbeat.Engine() as engine:
            unknown = []

            def pull():
                for event in engine.events():
                    unknown.extend([event] if event.link is None else [])

            thread = threading.Thread(target=pull)
            thread.start()
            for _ in range(2000):
                engine.open("normal interval=1ms timeout=1ms tries=1").close()
            engine.stop()
            thread.join(LONG_S)
            self.assertEqual(unknown, [])


class Close(unittest.TestCase):
    def pair(self):
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        return ours

    def calls(self, engine, link):
        data = bytes(12)
        return {
            "open": lambda: engine.open(), "dial": lambda: engine.dial("unix:///no/such/socket"),
            "listen": lambda: engine.listen("tcp://127.0.0.1:0"), "adopt": lambda: engine.adopt(self.pair()), "set_state": lambda: link.set_state(b""), "peer_state": link.peer_state, "links": engine.links, "wait": lambda: engine.wait(0), "fileno": engine.fileno,
            "drive": engine.drive, "next_deadline_ns": engine.next_deadline_ns, "advance": lambda: engine.advance(1),
            "now_ns": lambda: engine.now_ns, "health": engine.health, "progress": lambda: (link.progress(), engine.progress()), "quiesce": lambda: engine.quiesce(1),
            "stop": engine.stop, "stats": engine.stats, "histogram": lambda: engine.histogram(Times.RTT), "received": lambda: (link.received(), engine.received([link])), "sent": link.sent, "feed": lambda: link.feed(data),
            "feed_sent": lambda: link.feed_sent(data), "beat_sent": lambda: link.beat_sent(1),
            "take_beat": link.take_beat, "unsent": link.unsent, "answer_received": lambda: link.answer_received(1),
            "beat_received": lambda: link.beat_received(1), "report_down": lambda: link.report_down(Cause.REPORTED),
            "start": link.start, "pause": link.pause, "set_policy": lambda: link.set_policy(CALM), "set_keys": lambda: link.set_keys({1: bytes(16)}), "info": link.info,
        }

    def test_after_the_close_of_the_engine_every_call_says_so(self):
        engine = hbeat.Engine()
        link = engine.open()
        engine.close()
        engine.close()
        self.assertTrue(engine.closed)
        self.assertFalse(link.close())
        for name, call in self.calls(engine, link).items():
            with self.subTest(name), self.assertRaises(hbeat.ClosedError) as caught:
                call()
            self.assertEqual(str(caught.exception), "the engine was closed", name)
        self.assertEqual(list(engine.events()), [])

    def test_every_public_method_is_among_those_calls(self):
        with hbeat.Engine() as engine:
            names = set(self.calls(engine, engine.open())) | {"close", "closed", "events", "take", "id", "engine", "data", "protocol"}
        public = {name for kind in (hbeat.Engine, hbeat.Link) for name in vars(kind) if not name.startswith("_")}
        self.assertEqual(public - names, set())

    def test_after_the_close_of_a_link_every_call_says_so(self):
        with hbeat.Engine() as engine:
            link = engine.open()
            self.assertTrue(link.close())
            self.assertFalse(link.close())
            of_links = set(vars(hbeat.Link))
            for name, call in self.calls(engine, link).items():
                if name in of_links and not name.startswith("feed"):
                    with self.subTest(name), self.assertRaises(hbeat.NoLinkError):
                        call()

    def test_close_while_another_thread_is_in_wait(self):
        for how in (lambda engine: engine.wait(), lambda engine: engine.wait(3600), lambda engine: list(engine.events())):
            engine, ended = hbeat.Engine(), []

            def pull():
                try:
                    while how(engine):
                        pass
                    ended.append("ended")
                except hbeat.StoppedError:
                    ended.append("stopped")

            engine.open()
            thread = threading.Thread(target=pull)
            thread.start()
            until(lambda: engine._pulling)
            time.sleep(0.02)
            engine.close()
            thread.join(LONG_S)
            self.assertEqual(len(ended), 1)

    def test_close_while_threads_are_inside_every_call(self):
        for _ in range(10):
            engine = hbeat.Engine()
            links = [engine.open("normal interval=1ms timeout=5ms tries=255") for _ in range(3)]
            wrong = []

            def work(link):
                try:
                    while True:
                        link.received()
                        link.take_beat()
                        link.info()
                        engine.links()
                        engine.health()
                except hbeat.ClosedError:
                    pass
                except Exception as error:
                    wrong.append(error)

            threads = [threading.Thread(target=work, args=(link,)) for link in links]
            threads.append(threading.Thread(target=lambda: list(engine.events())))
            for thread in threads:
                thread.start()
            time.sleep(0.005)
            engine.close()
            for thread in threads:
                thread.join(LONG_S)
                self.assertFalse(thread.is_alive())
            self.assertEqual(wrong, [])

    def test_close_from_inside_the_loop_of_events(self):
        engine = hbeat.Engine()
        engine.open(QUICK)
        for event in engine.events():
            if event.type == EventType.DOWN:
                engine.close()
        self.assertEqual((event.type, engine.closed), (EventType.DOWN, True))

    def test_two_engines_know_only_their_own_links(self):
        with hbeat.Engine() as one, hbeat.Engine() as two:
            one.open(QUICK, name="one")
            other = two.open(CALM, name="two")
            self.assertEqual(wait_for(one, EventType.DOWN).name, "one")
            self.assertEqual(two.wait(0), [])
            self.assertEqual(two.links(), [other])
            one.close()
            other.report_down(Cause.REPORTED)
            self.assertEqual(wait_for(two, EventType.DOWN).link, other)

    def test_engines_leave_no_descriptor(self):
        gc.collect()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(300):
            hbeat.Engine().close()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)


class Numbers(unittest.TestCase):
    def test_a_heartbeat_of_ones_own_is_only_watched(self):
        with manual() as engine:
            link = engine.open("cmpp interval=100ms timeout=40ms observe_only=yes", protocol="cmpp", name="beside")
            test, answer = bytes.fromhex("0000000c0000000800000007"), bytes.fromhex("0000000d800000080000000700")
            told = []
            for at_ms in range(0, 400, 10):
                while engine.advance(START_NS + at_ms * MS):
                    told += [((event.at_ns - START_NS) // MS, event.type.name, event.cause.name) for event in engine.wait(0)]
                if at_ms in (100, 140, 180):
                    link.feed_sent(test)
                    self.assertEqual(link.take(), b"")
                if at_ms == 300:
                    self.assertFalse(link.feed(answer))
            self.assertEqual(told, [(140, "SUSPECT", "NONE"), (180, "SUSPECT", "NONE"), (220, "WOULD_BE_DOWN", "NO_ANSWER"), (300, "UP", "NONE")])
            info = link.info()
            self.assertEqual((info.messages_sent, info.bytes_sent, info.would_be_downs, info.beats_sent, info.state), (3, 36, 1, 3, State.UP))
            with self.assertRaises(hbeat.DesyncError):
                link.feed_sent(b"garbage, as text goes")
            with engine.open() as other, self.assertRaises(hbeat.WrongModeError):
                other.beat_sent(1)

    def test_the_numbers_of_the_engine_are_those_of_its_links(self):
        with manual() as engine:
            links = [engine.open("normal interval=1s timeout=400ms tries=2 jitter=0%") for _ in range(10)]
            while engine.advance(START_NS + 5_000 * MS):
                for event in engine.wait(0):
                    if event.type == EventType.SEND:
                        number = event.link.take_beat()
                        if links.index(event.link) < 7:
                            event.link.answer_received(number, engine.now_ns + 2 * MS)
            stats, infos = engine.stats(), [link.info() for link in links]
            for name in ("beats_sent", "answers_received", "misses", "would_be_downs", "bytes_received"):
                self.assertEqual(getattr(stats, name), sum(getattr(info, name) for info in infos), name)
            self.assertEqual((stats.links_up, stats.links_down, stats.opened, stats.closed, stats.shards), (7, 3, 10, 0, 1))
            self.assertEqual({cause: count for cause, count in stats.downs.items() if count}, {Cause.NO_ANSWER: 3})
            rtt = engine.histogram(Times.RTT)
            self.assertEqual((rtt.count, rtt.sum_us), (sum(info.rtt_count for info in infos), sum(info.rtt_sum_us for info in infos)))
            self.assertEqual(len(rtt.below), 32)
            self.assertEqual(rtt.below[31], rtt.count)
            self.assertGreater(engine.histogram(Times.LATENESS).count, 0)
            engine.stop()
            self.assertEqual(engine.stats().closed, 10)
            with self.assertRaises(hbeat.InvalidError):
                engine.histogram(2)


class Log(unittest.TestCase):
    def test_a_line_for_each_change_whatever_is_asked_for(self):
        lines = []
        handler = logging.Handler()
        handler.emit = lambda record: lines.append((record.levelname, record.getMessage()))
        logger = logging.getLogger("hbeat")
        logger.addHandler(handler)
        level = logger.level
        logger.setLevel(logging.INFO)
        try:
            with manual(events=[EventType.DOWN]) as engine:
                link = engine.open("cmpp", name="gd-mt-07", protocol="cmpp")
                while engine.advance(START_NS + 250_000 * MS):
                    self.assertEqual(engine.wait(0), [])
                link.report_down(Cause.CLOSED_BY_PEER)
                engine.advance(START_NS + 250_001 * MS)
                engine.wait(0)
                link.close()
                engine.advance(START_NS + 250_002 * MS)
                engine.wait(0)
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
        self.assertEqual([(level, line.split(" ")[0]) for level, line in lines],
                         [("WARNING", "SUSPECT"), ("WARNING", "DOWN"), ("INFO", "CLOSED")])
        self.assertIn("DOWN gd-mt-07 cause=closed_by_peer", lines[1][1])


class Observed(unittest.TestCase):
    def test_unread_bytes_on_the_socket_hold_the_verdict_up(self):
        ours, theirs = socket.socketpair()
        with ours, theirs, hbeat.Engine() as engine:
            theirs.send(b"unread")
            engine.open(QUICK, fd=ours)
            event = wait_for(engine, EventType.LOCAL_READER_LATE)
            self.assertEqual(event.unread_bytes, 6)
            ours.recv(6)
            self.assertEqual(wait_for(engine, EventType.DOWN).unread_bytes, 0)


class Kernel(unittest.TestCase):
    def test_a_verdict_carries_what_the_kernel_knew(self):
        with socket.create_server(("127.0.0.1", 0)) as listener, hbeat.Engine() as engine:
            with socket.create_connection(listener.getsockname()) as ours:
                engine.open(QUICK, fd=ours)
                event = wait_for(engine, EventType.DOWN)
                self.assertEqual((event.tcp.state, event.tcp.unacked, event.tcp.unread_bytes), (1, 0, 0))
                self.assertIn(" tcp=established unacked=0 retrans=0 last_ack=", str(event))
        ours, theirs = socket.socketpair()
        with ours, theirs, hbeat.Engine() as engine:
            engine.open(QUICK, fd=ours)
            self.assertIsNone(wait_for(engine, EventType.DOWN).tcp)

    def test_keepalive_is_set_read_back_and_derived_from_a_policy(self):
        with socket.socket() as sock:
            self.assertIsNone(hbeat.get_keepalive(sock))
            hbeat.set_keepalive(sock, hbeat.Keepalive(idle_ms=1500, interval_ms=1000, count=3))
            self.assertEqual(hbeat.get_keepalive(sock), hbeat.Keepalive(2000, 1000, 3, 5000))
            self.assertEqual(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), 2)
            hbeat.set_keepalive(sock, hbeat.Keepalive(1500, 1000, 3, user_timeout_ms=None))
            self.assertIsNone(hbeat.get_keepalive(sock).user_timeout_ms)
            self.assertEqual(hbeat.tcp_info(sock).state, 7)
            hbeat.set_keepalive(sock, None)
            self.assertIsNone(hbeat.get_keepalive(sock))
            with self.assertRaisesRegex(hbeat.InvalidError, "count is 0"):
                hbeat.set_keepalive(sock, hbeat.Keepalive(1000, 1000, 0))
        self.assertEqual(hbeat.Keepalive.of("cmpp"), hbeat.Keepalive(180_000, 60_000, 3, 360_000))
        with socket.socket(type=socket.SOCK_DGRAM) as sock, self.assertRaisesRegex(hbeat.InvalidError, "open TCP socket"):
            hbeat.tcp_info(sock)


class Carried(unittest.TestCase):
    def test_a_link_is_dialled_and_its_other_end_adopted(self):
        listener = socket.create_server(("127.0.0.1", 0))
        with listener, hbeat.Engine() as engine:
            endpoint = "tcp://127.0.0.1:%d" % listener.getsockname()[1]
            client = engine.dial(endpoint, "interval=50ms timeout=5s", name="door", data="mine")
            peer, _ = listener.accept()
            server = engine.adopt(peer, "interval=50ms timeout=5s")
            self.assertEqual(peer.fileno(), -1)
            server.set_state(b"busy=7")
            up, told = set(), b""
            while up != {client, server} or told != b"busy=7":
                for event in engine.wait(20):
                    self.assertNotIn(event.type, (EventType.DOWN, EventType.SEND))
                    if event.type == EventType.UP:
                        up.add(event.link)
                    if event.type == EventType.PEER_STATE:
                        told = client.peer_state()
            self.assertEqual((client.info().attempt, client.data, client.info().protocol), (0, "mine", "heart"))
            server.close()
            while not any(event.type == EventType.DOWN and event.link is client for event in engine.wait(20)):
                pass
            self.assertEqual(client.info().state, State.CONNECTING)

    def test_who_dials_a_listener_is_a_link_from_its_first_event_on(self):
        with hbeat.Engine() as engine:
            listener = engine.listen("tcp://127.0.0.1:0", "interval=50ms timeout=5s", name="devices", max_links=1,
                                     events=[EventType.ACCEPTED, EventType.DOWN])
            self.assertEqual(listener.endpoint, "tcp://127.0.0.1:%d" % listener.port)
            client = engine.dial(listener.endpoint, "interval=50ms timeout=5s")
            events = []
            while not any(event.type == EventType.ACCEPTED for event in events):
                events += engine.wait(20)
            accepted = next(event for event in events if event.type == EventType.ACCEPTED)
            self.assertIs(accepted.listener, listener)
            self.assertTrue(accepted.name.startswith("devices/127.0.0.1:"))
            self.assertIsNone(accepted.data)
            accepted.link.data = "mine"
            self.assertEqual((accepted.link.info().listener, accepted.link.protocol), (listener.id, "heart"))
            # One is enough.
            refused = engine.dial(listener.endpoint, "interval=50ms timeout=5s")
            while not any(event.type == EventType.LISTENER_LIMIT for event in events):
                events += engine.wait(20)
            refused.close()
            info = listener.info()
            self.assertEqual((info.links, info.accepted, info.name), (1, 1, "devices"))
            self.assertGreater(info.refused_links, 0)
            self.assertTrue(listener.close())
            self.assertFalse(listener.close())
            with self.assertRaises(hbeat.NoLinkError):
                listener.info()
            client.close()
            events = []
            while not any(event.type == EventType.DOWN and event.data == "mine" for event in events):
                events += engine.wait(20)
            with self.assertRaisesRegex(hbeat.InvalidError, "endpoint"):
                engine.listen("tcp://localhost:0")
            with engine.listen("tcp://[::]:0") as other, self.assertRaisesRegex(hbeat.HbeatError, "cannot be listened at"):
                engine.listen(other.endpoint)
        self.assertFalse(listener.close())

    def test_a_sealed_link_and_its_keys(self):
        old, new = {1: b"sixteen or more octets"}, {2: b"another secret, as long"}
        with hbeat.Engine() as engine:
            one, other = (engine.adopt(end, "interval=50ms timeout=5s", keys=old) for end in socket.socketpair())
            up = set()
            while up != {one, other}:
                up.update(event.link for event in engine.wait(20) if event.type == EventType.UP)
            self.assertEqual((one.info().agreed_interval_ms, one.info().agreed_peer_interval_ms), (50, 50))
            for keys in ({**old, **new}, {**new, **old}, new):
                one.set_keys(keys)
                other.set_keys(keys)
                answered = one.info().answers_received
                while one.info().answers_received < answered + 3:
                    engine.wait(0.02)
            self.assertEqual((one.info().frames_unauthenticated, engine.stats().frames_unauthenticated), (0, 0))
            self.assertEqual((one.info().frames_rejected, one.info().state), (0, State.UP))
            for keys, sentence in [({}, "allowed is 1 or 2"), ({1: bytes(15)}, "key 1 has 15 octets"), ({-1: bytes(16)}, "key id is -1"),
                                   ({1: bytes(16), 2: bytes(16), 3: bytes(16)}, "allowed is 1 or 2")]:
                with self.assertRaisesRegex(hbeat.InvalidError, sentence):
                    one.set_keys(keys)
                with self.assertRaisesRegex(hbeat.InvalidError, sentence):
                    engine.dial("unix:///no/such/socket", keys=keys)
            for keys in (b"secret", [(1, bytes(16))], {1: "text is no secret"}):
                with self.assertRaisesRegex(TypeError, "keys"):
                    one.set_keys(keys)
            with self.assertRaisesRegex(hbeat.WrongModeError, "without keys"):
                engine.dial("unix:///no/such/socket").set_keys(old)

    def test_what_cannot_be_carried_is_refused(self):
        with hbeat.Engine() as engine:
            for endpoint in ("127.0.0.1:80", "tcp://gw:0", "unix://x"):
                with self.assertRaisesRegex(hbeat.InvalidError, "endpoint"):
                    engine.dial(endpoint)
            sock = socket.socket()
            with sock, self.assertRaisesRegex(hbeat.InvalidError, "connected stream socket"):
                engine.adopt(sock)
            self.assertEqual(sock.fileno(), -1)
            link = engine.dial("unix:///no/such/socket", reconnect=hbeat.Reconnect.NO)
            while not any(event.type == EventType.DOWN for event in engine.wait(20)):
                pass
            self.assertEqual(link.info().state, State.DOWN)


if __name__ == "__main__":
    unittest.main()
