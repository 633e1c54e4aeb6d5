"""asyncio: one puller for each engine and loop, and watch().

An engine that the application turns (watch's own) keeps time with its loop. While the loop is blocked nothing is due and
nobody is judged; afterwards what arrived meanwhile gets its turn before the deadlines do, and counts as in time."""
import asyncio
import inspect
import time
import weakref
from types import TracebackType
from typing import Any, Awaitable, Callable, Dict, MutableMapping, Optional, Type, Union

from ._handle import Handle
from ._readiness import Readiness, watch_descriptor
from .engine import Engine
from .errors import BusyError, ClosedError, FailedError, HbeatError, InvalidError, StoppedError
from .events import Event
from .link import Link
from .policy import Policy, policy_of
from .words import Clock, EventType, Run, Status

# How many turns of the loop bring what waits in a socket up through the layers of a client to its awaiting coroutine.
TURNS = 16
LONGEST_S = 3600.0
# What a watch is told.
HEARD = (EventType.SEND, EventType.DOWN)

Heard = Callable[[Union[Event, HbeatError]], None]


class Puller:
    """Pulls the events of an engine in a loop, and turns the engine if that is the application's to do. It pulls only while
    somebody watches or waits, so that hbeat sees it when nobody does."""

    @staticmethod
    def of(engine: Engine) -> "Puller":
        """The engine's puller in the running loop; there is one at a time."""
        puller, loop = engine._puller, asyncio.get_running_loop()
        if puller is not None and puller._loop is loop:
            return puller
        if puller is not None and puller._handle is not None:
            if not puller._loop.is_closed():
                raise BusyError(Status.ERR_BUSY, "another event loop pulls from this engine")
            puller._end()
        engine._puller = Puller(engine, loop)
        return engine._puller

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        self._engine = engine
        self._loop = loop
        self._heard: Dict[Link, Heard] = {}
        self._waiter: "Optional[asyncio.Future[None]]" = None
        # While it pulls: the engine, which lives as long as its descriptor is watched.
        self._handle: Optional[Handle] = None
        self._readiness: Optional[Readiness] = None
        self._timer: Optional[asyncio.Handle] = None
        # The deadline that the timer is for.
        self._due_ns: Optional[int] = None

    def hear(self, link: Link, heard: Heard) -> None:
        """Has the events of a link told to heard, and to nobody else; at the end of the engine, the reason."""
        self._begin()
        self._heard[link] = heard

    def hear_no_more(self, link: Link) -> None:
        self._heard.pop(link, None)
        self._end_if_idle()

    async def next_event(self) -> Event:
        """An event of a link that nobody hears; StoppedError at the end of the engine."""
        if self._waiter is not None:
            raise BusyError(Status.ERR_BUSY, "another task waits for the events of this engine")
        while not self._engine._ready:
            self._waiter = self._loop.create_future()
            try:
                self._begin()
                # What waits, or the end, is not always shown by the descriptor.
                self._loop.call_soon(self._ready)
                await self._waiter
            finally:
                self._waiter = None
                self._end_if_idle()
        return self._engine._ready.popleft()

    def arrived_ns(self) -> int:
        """When to say that something arrived which is found now. With a deadline overdue the loop was blocked: it may have
        been there before, and nobody is blamed for our being late."""
        return self._due_ns if self._is_overdue() and self._due_ns else 0

    def _begin(self) -> None:
        if self._handle is not None:
            return
        self._engine._check_closed()
        if self._engine._pulling.setdefault(0, self) is not self:
            self._engine._refuse()
        try:
            self._readiness = watch_descriptor(self._loop, self._engine._fd, self._ready)
        except BaseException:
            del self._engine._pulling[0]
            raise
        self._handle = self._engine._handle
        self._set_timer()

    def _end_if_idle(self) -> None:
        if self._handle is not None and not self._heard and self._waiter is None:
            self._end()

    def _end(self) -> None:
        if self._readiness is not None:
            self._readiness.close()
        self._stop_timer()
        del self._engine._pulling[0]
        self._handle = self._readiness = None

    def _ready(self) -> None:
        """The engine has something to say, or something was said to it."""
        if self._handle is not None and not self._is_overdue():
            self._turn()

    def _is_overdue(self) -> bool:
        return self._due_ns is not None and time.monotonic_ns() >= self._due_ns

    def _on_time(self, turns: int = TURNS) -> None:
        """A deadline is there; what has arrived comes first."""
        if turns > 0:
            self._timer = self._loop.call_soon(self._on_time, turns - 1)
        else:
            self._turn()

    def _turn(self) -> None:
        self._stop_timer()
        try:
            pulled = 1
            while pulled and self._handle is not None:
                self._drive()
                known = len(self._engine._ready)
                pulled = self._engine._pull(self._handle)
                self._hand_out(known)
        except HbeatError as error:
            self._over(error)
        if self._waiter is not None and self._engine._ready and not self._waiter.done():
            self._waiter.set_result(None)
        if self._handle is not None:
            self._set_timer()

    def _drive(self) -> None:
        if self._engine._run == Run.APPLICATION:
            try:
                self._engine.drive()
            except StoppedError:
                pass  # There may be events left.

    def _hand_out(self, known: int) -> None:
        """Tells those who hear of what has come behind the known ones; what is left is for next_event."""
        ready = self._engine._ready
        came = [ready.pop() for _ in range(len(ready) - known)]
        for event in reversed(came):
            self._tell(event)

    def _tell(self, event: Event) -> None:
        heard = self._heard.get(event.link) if event.link is not None else None
        if heard is not None:
            heard(event)
        elif event.type == EventType.ENGINE_FAILED and self._heard:
            self._over(FailedError(Status.ERR_FAILED, str(event)))
        else:
            self._engine._ready.append(event)

    def _over(self, error: HbeatError) -> None:
        """The engine has come to its end."""
        heard, self._heard = self._heard, {}
        for tell in heard.values():
            tell(error)
        if self._waiter is not None and not self._waiter.done():
            # What came before the end is handed out first.
            self._waiter.set_result(None) if self._engine._ready else self._waiter.set_exception(error)
        self._end_if_idle()

    def _set_timer(self) -> None:
        if self._engine._run != Run.APPLICATION or self._engine._clock != Clock.SYSTEM or self._timer is not None:
            return
        try:
            self._due_ns = self._engine.next_deadline_ns()
            if self._due_ns is not None:
                left_s = (self._due_ns - time.monotonic_ns()) / 1e9
                self._timer = self._loop.call_later(min(max(left_s, 0), LONGEST_S), self._on_time)
        except HbeatError:
            self._due_ns = None  # It was stopped, or failed: pulling tells.

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._due_ns = None


class LinkDown(ConnectionError):
    """The peer is gone. event is the DOWN with its evidence; __cause__ is what the last probe raised, if it did."""

    def __init__(self, event: Event) -> None:
        super().__init__(str(event))
        self.event = event


# What all watches of a loop share, as long as there is one.
_engines: "MutableMapping[asyncio.AbstractEventLoop, Engine]" = weakref.WeakKeyDictionary()


class watch:
    """Watches a peer for as long as the body of an `async with` runs:

        async with hbeat.watch(ws.ping, "fast", name="feed") as link:
            async for message in ws:
                link.received()

    probe is a coroutine function; that it returns is the answer, or, where it returns something to await, that this is done
    (the ping of websockets). One that only sends (the ping of aiohttp) proves nothing and must not be used. It is called whenever a beat is due, never twice at once:
    a try that comes due while it runs is that same call's. One that raises is no answer, and is asked again at the next
    try; one that returns later than the policy's timeout is too late. Give it a timeout of its own if it may hang and
    asking anew would help.

    When the peer is DOWN the body is cancelled, and LinkDown comes out of the `async with`. Cancellation by others passes
    on unchanged; so does an exception of the body's own. (Before Python 3.11 a task cannot tell two cancellations from
    each other: if another comes at the same moment, LinkDown stands for both.)

    Watches of one loop share an engine without a thread, which the loop turns. engine: another one; if threads turn it, a
    loop that blocks can make the verdict on a beat that was its link's last try, so prefer Run.APPLICATION; events of its other
    links are kept for `async for`, which must be there where there are such. fd and data: as for Engine.open."""

    def __init__(self, probe: Callable[[], Awaitable[Any]], policy: Union[Policy, str] = "normal", *, name: str = "",
                 fd: Any = None, data: Any = None, engine: Optional[Engine] = None) -> None:
        if not callable(probe):
            raise TypeError(f"probe is a {type(probe).__name__}: must be a coroutine function, called for each beat")
        self._probe = probe
        self._policy = policy
        self._open = dict(name=name, fd=fd, data=data, events=HEARD)
        self._given = engine
        self._asking: "Optional[asyncio.Task[None]]" = None
        self._failure: Optional[BaseException] = None
        self._verdict: Optional[Exception] = None
        self._link: Optional[Link] = None

    async def __aenter__(self) -> Link:
        if self._link is not None:
            raise RuntimeError("a watch is entered once: make another")
        policy = policy_of(self._policy)
        if policy.observe_only:
            raise InvalidError("policy has observe_only: a watch asks by itself; observe_only is for Engine.open")
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self._loop, self._body = loop, task
        self._cancellations = _cancellations(task)
        engine = self._given
        if engine is None:
            engine = _engines.get(loop)
            if engine is None or engine.closed:
                engine = _engines[loop] = Engine(run=Run.APPLICATION, events=HEARD)
        link = None
        try:
            self._puller = Puller.of(engine)
            link = engine.open(policy, **self._open)
            self._puller.hear(link, self._hear)
        except BaseException:
            if link is not None:
                link.close()
            self._leave(engine)
            raise
        self._link = link
        return link

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                        _: Optional[TracebackType]) -> None:
        link = self._link
        assert link is not None
        self._puller.hear_no_more(link)
        link.close()
        self._leave(link.engine)
        alone = self._verdict is None or _take_back(self._body) <= self._cancellations
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})
        if self._verdict is not None and (error is None or (isinstance(error, asyncio.CancelledError) and alone)):
            raise self._verdict from self._failure

    def _leave(self, engine: Engine) -> None:
        """The last watch of a loop takes its engine along."""
        if self._given is None and not (engine._puller and engine._puller._heard):
            if _engines.get(self._loop) is engine:
                del _engines[self._loop]
            engine.close()

    def _hear(self, event: Union[Event, HbeatError]) -> None:
        if isinstance(event, HbeatError):
            self._end(event)
        elif event.type == EventType.SEND:
            self._ask()
        elif event.type == EventType.DOWN:
            self._end(LinkDown(event))

    def _ask(self) -> None:
        assert self._link is not None
        try:
            number = self._link.take_beat()
        except ClosedError:
            return  # Another thread was first.
        if number is not None and (self._asking is None or self._asking.done()):
            self._asking = self._loop.create_task(self._wait_for_answer(self._link, number))

    async def _wait_for_answer(self, link: Link, number: int) -> None:
        try:
            answer = await self._probe()
            if inspect.isawaitable(answer):
                await answer  # As websockets' ping has it: sent, and then answered.
            self._failure = None
            link.answer_received(number, self._puller.arrived_ns())
        except ClosedError:
            pass  # It came too late for anybody to hear.
        except Exception as failure:
            self._failure = failure

    def _end(self, verdict: Exception) -> None:
        if self._verdict is None:
            self._verdict = verdict
            self._body.cancel()


def _cancellations(task: "asyncio.Task[Any]") -> int:
    """How often it was told to cancel; before Python 3.11 tasks do not count."""
    return task.cancelling() if hasattr(task, "cancelling") else 0


def _take_back(task: "asyncio.Task[Any]") -> int:
    """Takes our cancellation back; what is left of others."""
    return task.uncancel() if hasattr(task, "uncancel") else 0
