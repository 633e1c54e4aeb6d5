"""Bad input is an exception with a sentence, never a crash and never cut to size in silence."""
import math
import os
import pickle
import socket
import tempfile
import unittest
from pathlib import Path

from support import CALM

import hbeat
from hbeat import Cause, InvalidError, Run

U32, U64 = 2**32 - 1, 2**64 - 1


class Misuse(unittest.TestCase):
    def setUp(self):
        self.engine = hbeat.Engine()
        self.link = self.engine.open()
        self.framed = self.engine.open(protocol="cmpp")
        self.addCleanup(self.engine.close)

    def refused(self, kind, words, call, *arguments, **named):
        with self.assertRaises(kind) as caught:
            call(*arguments, **named)
        for word in words.split(" "):
            self.assertIn(word, str(caught.exception))
        return caught.exception

    def test_numbers_beyond_their_type_are_refused_and_not_cut(self):
        link = self.link
        for call in [link.received, link.sent, link.start, link.pause, link.unsent, self.engine.advance, self.engine.drive]:
            for number in (-1, U64 + 1, 2**200, -(2**200)):
                self.refused(InvalidError, "now_ns 18446744073709551615", call, number)
        for number in (-1, U32 + 1, 2**64):
            self.refused(InvalidError, "sequence 4294967295", link.answer_received, number)
            self.refused(InvalidError, "sequence 4294967295", link.beat_received, number)
            self.refused(InvalidError, "sequence 4294967295", link.beat_sent, number)
            self.refused(InvalidError, "which", self.engine.histogram, number)
            self.refused(InvalidError, "cause", link.report_down, number)
            self.refused(InvalidError, "detail", link.report_down, Cause.RESET, number)
            self.refused(InvalidError, "first", hbeat.Sequence, number)
            self.refused(InvalidError, "interval_ms", hbeat.Policy, interval_ms=number)
        for now_ns in (-1, U64 + 1):
            self.refused(InvalidError, "now_ns", self.framed.feed, b"", now_ns)
            self.refused(InvalidError, "now_ns", self.framed.take, None, now_ns)
            self.refused(InvalidError, "now_ns", link.take_beat, None, now_ns)
        link.received(U64)
        self.assertEqual(link.info().state, hbeat.State.UP)

    def test_wrong_types_are_type_errors(self):
        engine, link = self.engine, self.link
        for wrong in (1.5, "1", None, b"1", [1], object()):
            for call in (link.received, link.sent, link.start, link.answer_received, engine.advance):
                with self.assertRaises(TypeError):
                    call(wrong)
        for wrong in (None, 5, 1.5, object()):
            self.refused(TypeError, "policy", engine.open, wrong)
            self.refused(TypeError, "policy", link.set_policy, wrong)
            self.refused(TypeError, "name", engine.open, name=wrong)
            self.refused(TypeError, "protocol", engine.open, protocol=wrong)
        for wrong in ("text", 5, None, object()):
            self.refused(TypeError, "data", self.framed.feed, wrong)
            self.refused(TypeError, "data", self.framed.feed_sent, wrong)
            self.refused(TypeError, "state", self.framed.set_state, wrong)
        for wrong in ("3", 1.5, object(), b""):
            self.refused(TypeError, "fd", engine.open, fd=wrong)
        self.refused(TypeError, "timeout", engine.wait, "1")
        self.refused(TypeError, "probe", hbeat.watch, None)
        self.refused(TypeError, "no field 'interval'", hbeat.Policy, interval=5)
        self.refused(TypeError, "tries", hbeat.Policy, tries="3")

    def test_times_to_wait(self):
        for wrong in (-1, -0.001, math.nan, math.inf, 1e9):
            self.refused(InvalidError, "timeout seconds", self.engine.wait, wrong)
            self.refused(InvalidError, "timeout seconds", self.engine.quiesce, wrong)

    def test_names(self):
        engine = self.engine
        self.refused(InvalidError, "name NUL", engine.open, name="a\0b")
        self.refused(InvalidError, "name Unicode", engine.open, name="\udcff")
        self.refused(InvalidError, "name 63", engine.open, name="x" * 64)
        self.refused(InvalidError, "name 63", engine.open, name="\u4e2d" * 22)
        self.assertEqual(engine.open(name="\u4e2d" * 21).info().name, "\u4e2d" * 21)
        self.refused(InvalidError, "thread_name NUL", hbeat.Engine, thread_name="a\0")
        self.refused(InvalidError, "thread_name 10", hbeat.Engine, thread_name="x" * 11)
        self.refused(InvalidError, "smpp", engine.open, protocol="smpp")
        self.refused(InvalidError, "policy NUL", hbeat.Policy, "fast\0")
        self.refused(InvalidError, "policy Unicode", hbeat.Policy, "\ud800")
        self.assertRegex(engine.open().info().name, "^link-[0-9a-f]+$")

    def test_policies(self):
        self.refused(InvalidError, "brisk", hbeat.Policy, "brisk")
        self.refused(InvalidError, "timeout", hbeat.Policy, "fast timeout=0")
        self.refused(InvalidError, "tries 256 255", hbeat.Policy, tries=256)
        self.refused(InvalidError, "jitter", CALM.replace, jitter_percent=26)
        self.refused(InvalidError, "strategy", CALM.replace, strategy=2)
        with self.assertRaises(AttributeError):
            CALM.tries = 5

    def test_a_policy_is_a_value(self):
        policy = hbeat.Policy("cmpp interval=60s timeout=20s", tries=4)
        self.assertEqual(policy, hbeat.Policy(policy.text))
        self.assertEqual(hash(policy), hash(hbeat.Policy(str(policy))))
        self.assertEqual((policy.interval_ms, policy.timeout_ms, policy.tries, policy.resend), (60_000, 20_000, 4, hbeat.Resend.SAME))
        self.assertEqual(policy.detection, (80_000, 140_000))
        self.assertEqual(policy.replace(tries=3), hbeat.Policy("cmpp interval=60s timeout=20s"))
        self.assertEqual(policy.tries, 4)
        self.assertEqual(pickle.loads(pickle.dumps(policy)), policy)

    def test_descriptors(self):
        ours, theirs = socket.socketpair()
        self.engine.open(fd=ours).close()
        self.engine.open(fd=ours.fileno()).close()
        number = ours.fileno()
        ours.close()
        theirs.close()
        self.refused(InvalidError, "fd -1 closed socket", self.engine.open, fd=ours)
        self.refused(InvalidError, "fd", self.engine.open, fd=number)
        self.refused(InvalidError, "fd -1", self.engine.open, fd=-1)
        self.refused(InvalidError, "fd 0 none", self.engine.open, fd=0)
        self.refused(InvalidError, "fd", self.engine.open, fd=2**31)
        self.refused(InvalidError, "fd", self.engine.open, fd=2**70)
        with tempfile.TemporaryFile() as file:
            self.refused(InvalidError, "fd socket", self.engine.open, fd=file)

    def test_an_observed_socket_that_was_closed_all_the_same_does_no_harm(self):
        ours, theirs = socket.socketpair()
        link = self.engine.open(fd=ours)
        ours.close()
        theirs.close()
        self.assertIsNone(link.info().unread_bytes)

    def test_options_of_the_engine(self):
        for name, value in [("run", 2), ("clock", 2), ("threads", 0), ("threads", 65), ("tick_ms", 0), ("tick_ms", 1001),
                            ("max_links", 0), ("max_links", 2**32), ("open_queue", 0), ("on_panic", 2), ("nice", 20),
                            ("nice", -21), ("start_ns", -1), ("start_ns", 2**64), ("events", [0]), ("events", [31]),
                            ("events", []), ("events", [64]), ("cpus", [64]), ("cpus", [-1])]:
            self.refused(InvalidError, name, hbeat.Engine, **{name: value})
        with hbeat.Engine(threads=2, tick_ms=10, max_links=1, nice=0, cpus=sorted(os.sched_getaffinity(0))[:1],
                          thread_name="shard") as engine:
            names = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
            self.assertEqual(len([name for name in names if name.startswith("shard")]), 2)
            engine.open()
            self.refused(hbeat.LimitError, "max_links", engine.open)

    def test_calls_that_the_mode_does_not_allow(self):
        self.refused(hbeat.WrongModeError, "take_beat", self.link.take)
        self.refused(hbeat.WrongModeError, "take", self.framed.take_beat)
        self.refused(hbeat.WrongModeError, "none", self.link.feed, b"")
        self.refused(hbeat.WrongModeError, "clock", self.engine.advance, 1)
        self.refused(hbeat.WrongModeError, "run", self.engine.drive)
        with hbeat.Engine(run=Run.APPLICATION) as engine:
            self.refused(hbeat.WrongModeError, "drive", iter, engine.events())

    def test_states(self):
        with self.engine.open(protocol="heart") as heart:
            self.refused(InvalidError, "1025 1024", heart.set_state, bytes(1025))
        for link in (self.link, self.framed):
            self.refused(hbeat.WrongModeError, "heart", link.set_state, b"")
            self.refused(hbeat.WrongModeError, "heart", link.peer_state)

    def test_bytes_of_another_protocol(self):
        self.refused(hbeat.DesyncError, "", self.framed.feed, b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(self.framed.info().cause, Cause.DESYNC)

    def test_causes(self):
        self.refused(InvalidError, "cause", self.link.report_down, Cause.NONE)
        self.refused(InvalidError, "cause 15", self.link.report_down, 15)
        with self.assertRaises(TypeError):
            self.link.report_down("reset")

    def test_every_error_is_an_hbeat_error_and_what_python_calls_it(self):
        error = self.refused(ValueError, "brisk", hbeat.Policy, "brisk")
        self.assertIsInstance(error, hbeat.HbeatError)
        self.assertEqual(error.status, hbeat.Status.ERR_INVALID)
        self.assertTrue(issubclass(hbeat.TimedOutError, TimeoutError))
        self.assertTrue(issubclass(hbeat.LinkDown, ConnectionError))
        self.assertEqual(str(pickle.loads(pickle.dumps(error))), str(error))
        stopped = hbeat.StoppedError(hbeat.Status.ERR_STOPPED, "so")
        self.assertEqual(pickle.loads(pickle.dumps(stopped)).args, stopped.args)

    def test_engines_and_links_cannot_be_pickled(self):
        for thing in (self.engine, self.link):
            with self.assertRaises((TypeError, ValueError)):
                pickle.dumps(thing)

    def test_a_link_of_another_engine(self):
        with hbeat.Engine() as other:
            stranger = other.open()
            stranger._engine = self.engine
            self.refused(hbeat.NoLinkError, "", stranger.received)
            self.refused(hbeat.NoLinkError, "", stranger.info)


if __name__ == "__main__":
    unittest.main()
