"""The engine: keeps the time of many links, and hands out what happened to them."""
import ctypes
import os
import select
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, Iterable, List, Mapping, Optional, TypeVar, Union

from . import _abi, _arguments
from ._abi import CEngineOptions, CEvent, CHealth, CHistogram, CLinkOptions, CListenerOptions, CStats
from ._handle import Handle
from ._library import lib
from .errors import BusyError, ClosedError, ForkedError, StoppedError, WrongModeError, fail
from .events import NOT_LOGGED, Event, event_of, log
from .link import Link
from .listener import Listener
from .policy import Policy, policy_of
from .stats import Histogram, Stats, histogram_of, stats_of
from .words import Clock, EventType, OnPanic, Phase, Reconnect, Run, Status, Times

if TYPE_CHECKING:
    import socket

    from .aio import Puller

T = TypeVar("T")
BATCH = 64
# How long close() waits for hbeat's threads; as hbeat_engine_free does.
PATIENCE_MS = 5000
# The longest that poll can be told to wait; whoever waits longer waits again.
LONGEST_POLL_MS = 2**31 - 1
# CLOSED ends a link's data, and what is logged must be heard of, whatever the application asks for.
ALWAYS = sum(1 << event for event in EventType if event not in NOT_LOGGED)


@dataclass(frozen=True)
class Health:
    """How an engine is, for a watchdog; as hbeat_health in hbeat.h."""

    phase: Phase
    threads: int
    links: int
    turn_age_ms: int
    waiting: int
    doubtful_times: int


class Engine:
    """Every method may be called from any thread at any time; wait and events by one thread at a time (another gets
    BusyError), and so drive and advance. A `with` block closes it.

    run: Run.THREADS, a thread of hbeat's keeps the time; Run.APPLICATION, the application calls drive.
    clock: Clock.MANUAL is moved by advance (or drive) only, from start_ns; for tests.
    threads: shards, 1 to 64. tick_ms: resolution, 1 to 1000. max_links: how many may be open. open_queue: how many opens
    may wait. events: which are wanted, some of EventType; None: all but ANSWER and BEAT_RECEIVED; ENGINE_FAILED always comes. nice, cpus,
    thread_name: of hbeat's threads."""

    def __init__(self, *, run: Run = Run.THREADS, clock: Clock = Clock.SYSTEM, start_ns: int = 0, threads: int = 1,
                 tick_ms: int = 1, events: Optional[Iterable[EventType]] = None, max_links: int = 1_048_576,
                 open_queue: int = 65_536, on_panic: OnPanic = OnPanic.EVENT, nice: int = 0, cpus: Iterable[int] = (),
                 thread_name: str = "hbeat") -> None:
        self._handle: Optional[Handle] = None
        self._wanted = (_arguments.mask("events", events) or _abi.EVENTS_DEFAULT) | 1 << EventType.ENGINE_FAILED
        options = CEngineOptions(
            struct_size=ctypes.sizeof(CEngineOptions), run=_arguments.u32("run", run),
            clock=_arguments.u32("clock", clock), threads=_arguments.whole("threads", threads, 1, 64),
            tick_ms=_arguments.whole("tick_ms", tick_ms, 1, 1000), events=self._wanted | ALWAYS,
            max_links=_arguments.whole("max_links", max_links, 1, 0xFFFF_FFFF),
            open_queue=_arguments.whole("open_queue", open_queue, 1, 0xFFFF_FFFF),
            on_panic=_arguments.u32("on_panic", on_panic), nice=_arguments.whole("nice", nice, -20, 19),
            cpus=_arguments.cpus(cpus), start_ns=_arguments.u64("start_ns", start_ns),
            thread_name=_arguments.text("thread_name", thread_name))
        handle = Handle()
        status = lib.hbeat_engine_new(options, handle)
        if status < 0:
            fail(status)
        self._run, self._clock = Run(run), Clock(clock)
        self._links: Dict[int, Link] = {}
        self._listeners: Dict[int, Listener] = {}
        self._opening = threading.Lock()
        # Who pulls, under 0: set and taken back by single steps of the interpreter, which no signal can come between.
        self._pulling: Dict[int, object] = {}
        # Events that were pulled and not handed out.
        self._ready: Deque[Event] = deque()
        self._puller: "Optional[Puller]" = None  # of an asyncio loop
        # What was pulled, how much of it there is, and how much of that is in _ready.
        self._batch, self._count, self._used = (CEvent * BATCH)(), ctypes.c_uint32(), 0
        self._fd = _descriptor(handle)
        handle.owner = repr(self)
        self._handle = handle

    # ---- links

    def open(self, policy: Union[Policy, str] = "normal", *, name: str = "", protocol: str = "none", fd: Any = None,
             data: Any = None, start_paused: bool = False, events: Optional[Iterable[EventType]] = None) -> Link:
        """Opens a link, one for each connection.

        name: for events and logs, at most 63 bytes of UTF-8. protocol: "none" (the application's own), "cmpp", "heart".
        fd: the connection's socket or its descriptor, observed only; must stay open until Link.close. data: any object,
        comes back as event.data and link.data, and is kept until CLOSED. start_paused: nothing is due before Link.start.
        events: which are wanted of it; None: as the engine."""
        options = CLinkOptions(fd=_arguments.socket(fd), start_paused=bool(start_paused))
        return self._open(lib.hbeat_link_open, [], options, policy, name, protocol, data, events)

    def dial(self, endpoint: str, policy: Union[Policy, str] = "normal", *, name: str = "", data: Any = None,
             reconnect: Reconnect = Reconnect.DEFAULT, attempts: int = 0, keys: Optional[Mapping[int, bytes]] = None,
             events: Optional[Iterable[EventType]] = None) -> Link:
        """Opens a link whose connection hbeat makes itself, and makes anew when it is lost: it carries beats only, in
        hbeat's own protocol, and is UP with the first one of the peer.

        endpoint: "tcp://name:port", "tcp://[ipv6]:port" or "unix:///path". attempts: how many in a row may fail before the
        link is DOWN for good; 0: any number. keys: one or two secrets of 16 to 64 bytes by their ids, which the peer has, too;
        every frame is sealed with the first; None: nothing is sealed. Otherwise as open. Only with Run.THREADS."""
        options = _carried(reconnect, attempts, keys)
        address = _arguments.text("endpoint", endpoint)
        return self._open(lib.hbeat_link_dial, [address], options, policy, name, "heart", data, events)

    def adopt(self, sock: "socket.socket", policy: Union[Policy, str] = "normal", *, name: str = "", protocol: str = "heart",
              data: Any = None, reconnect: Reconnect = Reconnect.DEFAULT, attempts: int = 0,
              keys: Optional[Mapping[int, bytes]] = None, events: Optional[Iterable[EventType]] = None) -> Link:
        """Opens a link over a connected stream socket, which is hbeat's from then on: the object is detached from it.
        protocol: "heart", or another whose login was done before. Otherwise as dial."""
        options = _carried(reconnect, attempts, keys)
        fd = _arguments.socket(sock)
        link = self._open(lib.hbeat_link_adopt, [fd], options, policy, name, protocol, data, events)
        sock.detach()
        return link

    def listen(self, endpoint: str, policy: Union[Policy, str] = "normal", *, name: str = "", max_links: int = 0,
               max_per_source: int = 0, max_greeting: int = 0, keys: Optional[Mapping[int, bytes]] = None,
               events: Optional[Iterable[EventType]] = None) -> Listener:
        """Listens for peers that dial: each becomes a link as soon as it was heard, with ACCEPTED as its first event; its
        data is None until it is set.

        endpoint: "tcp://address:port", "tcp://[ipv6]:port" ("[::]": all addresses) or "unix:///path"; port 0: a free one, see
        Listener.port. max_links, max_per_source: how many links, in all and from one address; 0: any number. max_greeting: how many
        connections that were not heard yet; 0: 1024. keys: as dial's, of its links. events: which are wanted of its links; None: as the engine. Only with
        Run.THREADS."""
        wanted = _arguments.mask("events", events)
        options = CListenerOptions(
            struct_size=ctypes.sizeof(CListenerOptions), name=_arguments.text("name", name),
            max_links=_arguments.u32("max_links", max_links), max_per_source=_arguments.u32("max_per_source", max_per_source),
            max_greeting=_arguments.u32("max_greeting", max_greeting), events=wanted and wanted | ALWAYS)
        if keys is not None:
            options.kept = array = _arguments.keys(keys)
            options.keys, options.key_count = ctypes.addressof(array), len(array)
        address, struct, number = _arguments.text("endpoint", endpoint), policy_of(policy)._struct(), ctypes.c_uint64()
        self._check_fork()
        with self._opening:
            self._done(lib.hbeat_listener_open(self._handle, address, struct, options, number))
            listener = self._listeners[number.value] = Listener(self, number.value, wanted or self._wanted)
        return listener

    def _open(self, call: Any, place: List[Any], options: CLinkOptions, policy: Union[Policy, str], name: str, protocol: str,
              data: Any, events: Optional[Iterable[EventType]]) -> Link:
        wanted = _arguments.mask("events", events)
        options.struct_size = ctypes.sizeof(CLinkOptions)
        options.name, options.protocol = _arguments.text("name", name), _arguments.text("protocol", protocol)
        options.events = wanted and wanted | ALWAYS
        struct, number = policy_of(policy)._struct(), ctypes.c_uint64()
        self._check_fork()
        # Whoever pulls its first event meanwhile waits for the link to be known.
        with self._opening:
            self._done(call(self._handle, *place, struct, options, number))
            link = self._links[number.value] = Link(self, number.value, protocol, wanted or self._wanted, data)
        return link

    def links(self) -> List[Link]:
        """Those that are open. Links opened or closed meanwhile may or may not be among them."""
        found: List[Link] = []
        page, count, after = (ctypes.c_uint64 * 1024)(), ctypes.c_uint32(), 0
        status = int(Status.INFO_MORE)
        while status == Status.INFO_MORE:
            status = self._done(lib.hbeat_engine_links(self._handle, after, page, len(page), count))
            found.extend(link for link in map(self._link, page[:count.value]) if link is not None)
            after = page[count.value - 1]
        return found

    # ---- events

    def wait(self, timeout: Optional[float] = None) -> List[Event]:
        """Events that wait, at most 64, or the first ones that come within timeout seconds (None: for ever); an empty list
        when the time was up. With Run.APPLICATION it never waits. After stop: the rest, then StoppedError. A signal
        handler runs, and KeyboardInterrupt comes out, while it waits; waiting costs nothing."""
        limit_ms = _arguments.timeout_ms(timeout)
        if self._run == Run.APPLICATION:
            limit_ms = 0
        return self._alone(lambda: self._wait(limit_ms))

    def events(self) -> "EventStream":
        """All events one by one, until the engine is stopped or closed: for `for` and for `async for`."""
        return EventStream(self)

    def fileno(self) -> int:
        """A descriptor that is readable while wait has something to give, for selectors of the application's own; never
        read or close it."""
        self._check_closed()
        return self._fd

    # ---- turning the engine oneself

    def drive(self, now_ns: int = 0) -> bool:
        """Run.APPLICATION: does all that is due; True: events wait to be pulled. now_ns moves a manual clock. First read and
        report what has arrived, then drive."""
        return self._done(lib.hbeat_engine_drive(self._handle, _arguments.u64("now_ns", now_ns))) == Status.INFO_MORE

    def next_deadline_ns(self) -> Optional[int]:
        """Run.APPLICATION: when drive is next needed; None: nothing is due. Calls on links may bring it forward."""
        deadline = ctypes.c_uint64()
        self._done(lib.hbeat_engine_next_deadline(self._handle, deadline))
        return None if deadline.value == 0xFFFF_FFFF_FFFF_FFFF else deadline.value

    def advance(self, now_ns: int) -> bool:
        """Clock.MANUAL: moves the clock, stopping at each deadline on the way. True: it stands where events wait; pull them
        and call again with the same time."""
        return self._done(lib.hbeat_engine_advance(self._handle, _arguments.u64("now_ns", now_ns))) == Status.INFO_MORE

    # ---- how it is

    @property
    def now_ns(self) -> int:
        """What time the engine has."""
        now = ctypes.c_uint64()
        self._done(lib.hbeat_engine_now(self._handle, now))
        return now.value

    def received(self, links: Iterable[Link], now_ns: int = 0) -> None:
        """A complete message of each of these links arrived: Link.received of many in one call. Where some are not open it
        is noted of the others, and NoLinkError says so."""
        ids = [link.id for link in links]
        self._done(lib.hbeat_links_received(self._handle, (ctypes.c_uint64 * len(ids))(*ids), len(ids), _arguments.u64("now_ns", now_ns)))

    def progress(self, now_ns: int = 0) -> None:
        """The application goes on: to be said more often than each progress_ms of the links whose policy has it."""
        self._done(lib.hbeat_engine_progress(self._handle, _arguments.u64("now_ns", now_ns)))

    def health(self) -> Health:
        """Cheap enough to be asked each second."""
        raw = CHealth(ctypes.sizeof(CHealth))
        self._done(lib.hbeat_engine_health(self._handle, raw))
        return Health(Phase(raw.phase), raw.threads, raw.links, raw.turn_age_ms, raw.waiting, raw.doubtful_times)

    def stats(self) -> Stats:
        """What it counted so far, closed links included; also after stop."""
        raw = CStats(ctypes.sizeof(CStats))
        self._done(lib.hbeat_engine_stats(self._handle, raw))
        return stats_of(raw)

    def histogram(self, which: Times) -> Histogram:
        """How round-trip times, or the lateness of hbeat's own deadlines, were spread so far; also after stop."""
        raw = CHistogram(ctypes.sizeof(CHistogram))
        self._done(lib.hbeat_engine_histogram(self._handle, _arguments.u32("which", which), raw))
        return histogram_of(raw)

    def quiesce(self, timeout: Optional[float] = None) -> None:
        """Waits until all that was due or told before is handed out; TimedOutError after timeout seconds."""
        self._done(lib.hbeat_engine_quiesce(self._handle, _arguments.timeout_ms(timeout)))

    # ---- the end

    def stop(self) -> None:
        """Closes all links and ends hbeat's threads. wait and events hand out the rest, then end."""
        self._done(lib.hbeat_engine_stop(self._handle, PATIENCE_MS))

    def close(self) -> None:
        """Stops the engine and gives all back. Safe at any time, from any thread, also while another one is in wait (which
        ends), in a forked child, and more than once. Afterwards every call raises StoppedError. CLOSED is not handed out
        any more: who wants it stops first."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        handle.closed = True
        status = lib.hbeat_engine_stop(handle, PATIENCE_MS)
        token = object()
        if self._pulling.setdefault(0, token) is token:
            self._links.clear()
            self._ready.clear()
            del self._pulling[0]
        if status < 0 and status != Status.ERR_FORKED:
            fail(status)

    @property
    def closed(self) -> bool:
        return self._handle is None

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<hbeat.Engine {Run(self._run).name.lower()} at {id(self):#x}>"

    # ---- inside

    def _alone(self, work: Callable[[], T]) -> T:
        """Does work as the only one who pulls."""
        token = object()
        try:
            if self._pulling.setdefault(0, token) is not token:
                self._refuse()
            return work()
        finally:
            if 0 in self._pulling and self._pulling[0] is token:
                del self._pulling[0]

    def _refuse(self) -> None:
        self._check_fork()
        raise BusyError(Status.ERR_BUSY, "another thread is in wait of this engine, or an event loop pulls from it")

    def _check_fork(self) -> None:
        """What is held by a thread that did not come along into a forked child is held for ever."""
        if self._handle is not None and self._handle.pid != os.getpid():
            raise ForkedError(Status.ERR_FORKED, "this process is a fork of the one that made the engine: make a new one")

    def _wait(self, limit_ms: int) -> List[Event]:
        self._fill(limit_ms)
        events = list(self._ready)
        self._ready.clear()
        return events

    def _next(self) -> Event:
        self._fill(_abi.FOREVER)
        return self._ready.popleft()

    def _fill(self, limit_ms: int) -> None:
        """Sees to it that something is ready, or that the time is up."""
        handle = self._handle
        if handle is None:
            self._check_closed()
        until = time.monotonic() + limit_ms / 1000
        while not self._ready:
            if self._pull(handle):
                continue
            left_ms: Optional[float] = None
            if limit_ms != _abi.FOREVER:
                left_ms = min((until - time.monotonic()) * 1000, LONGEST_POLL_MS)
                if left_ms <= 0:
                    return
            # poll, unlike hbeat_engine_wait, returns for a signal, runs its handler, and goes on.
            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            poll.poll(left_ms)

    def _pull(self, handle: Optional[Handle]) -> int:
        """Adds what waits to _ready, as far as it is wanted; how many events that were in all. By one thread at a time. An
        exception on the way, of a signal handler or of logging, loses nothing: the next call goes on behind it."""
        if self._used == self._count.value:
            self._used = self._count.value = 0
            status = lib.hbeat_engine_wait(handle, self._batch, ctypes.sizeof(CEvent), BATCH, 0, self._count)
            if status < 0:
                self._check_closed()
                fail(status)
            if status == Status.INFO_END:
                self._links.clear()
                raise StoppedError(Status.ERR_STOPPED, "the engine was stopped, and its last event was handed out")
        pulled = self._count.value - self._used
        while self._used < self._count.value:
            raw = self._batch[self._used]
            link = self._accepted(raw) if raw.type == EventType.ACCEPTED else self._link(raw.link)
            event = event_of(CEvent.from_buffer_copy(raw), link, self._listeners.get(raw.listener))
            if (event.link._wanted if event.link else self._wanted) >> event.type & 1:
                self._ready.append(event)
            self._used += 1
            if event.type == EventType.CLOSED:
                self._links.pop(raw.link, None)
            log(event)
        return pulled

    def _accepted(self, raw: CEvent) -> Link:
        """A link that came to a listener is known from its first event on."""
        with self._opening:
            listener = self._listeners.get(raw.listener)
            wanted = self._wanted if listener is None else listener._wanted
            link = self._links[raw.link] = Link(self, raw.link, "heart", wanted, None)
        return link

    def _link(self, number: int) -> Optional[Link]:
        link = self._links.get(number)
        if link is None and number:
            with self._opening:
                link = self._links.get(number)
        return link

    def _done(self, status: int) -> int:
        if status < 0:
            self._check_closed()
            fail(status)
        return status

    def _check_closed(self) -> None:
        if self._handle is None:
            raise StoppedError(Status.ERR_STOPPED, "the engine was closed")


class EventStream:
    """The events of an engine, one by one, in a thread (`for`) or in an asyncio loop (`async for`)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __iter__(self) -> "EventStream":
        if self._engine._run == Run.APPLICATION:
            raise WrongModeError(Status.ERR_WRONG_MODE, "the application turns this engine: in a loop of its own it calls "
                                 "drive, then wait; only an asyncio loop turns it by itself, with async for")
        return self

    def __next__(self) -> Event:
        try:
            return self._engine._alone(self._engine._next)
        except ClosedError:
            raise StopIteration from None

    def __aiter__(self) -> "EventStream":
        return self

    async def __anext__(self) -> Event:
        from .aio import Puller

        try:
            return await Puller.of(self._engine).next_event()
        except ClosedError:
            raise StopAsyncIteration from None


def _carried(reconnect: Reconnect, attempts: int, keys: Optional[Mapping[int, bytes]]) -> CLinkOptions:
    options = CLinkOptions(fd=-1, reconnect=Reconnect(reconnect), attempts=_arguments.u32("attempts", attempts))
    if keys is not None:
        options.kept = array = _arguments.keys(keys)
        options.keys, options.key_count = ctypes.addressof(array), len(array)
    return options


def _descriptor(handle: Handle) -> int:
    fd = ctypes.c_int32()
    status = lib.hbeat_engine_fd(handle, fd)
    if status < 0:
        fail(status)
    return fd.value
