"""hbeat: tells a program, quickly and truthfully, when the other end of a connection is gone, why, and on what evidence.

    with hbeat.Engine() as engine:
        link = engine.open("cmpp interval=60s timeout=20s", name="gd-mt-07", protocol="cmpp", fd=sock)
        for event in engine.events():
            ...

    async with hbeat.watch(ws.ping, "fast", name="feed") as link:
        ...

The rules are those of hbeat.h, which is the specification."""
from ._library import LibraryError, lib as _lib
from .aio import LinkDown, watch
from .engine import Engine, EventStream, Health
from .errors import (
    AgainError, BusyError, ClosedError, DesyncError, FailedError, ForkedError, HbeatError, InvalidError, LimitError,
    NoLinkError, StoppedError, TimedOutError, WrongModeError,
)
from .events import Event, TcpInfo
from .kernel import Keepalive, get_keepalive, set_keepalive, tcp_info
from .link import Link, LinkInfo, Sequence
from .listener import Listener, ListenerInfo
from .policy import Policy
from .stats import Histogram, Stats
from .words import Cause, Clock, EventType, IdleOn, NoProgress, OnPanic, Phase, Proof, Reconnect, Resend, Run, State, Status, Strategy, Times

__version__ = "0.1.0"


def version() -> str:
    """That of the library that is loaded."""
    text: str = _lib.hbeat_version().decode()
    return text


def now_ns() -> int:
    """CLOCK_MONOTONIC in nanoseconds, the clock of every now_ns; the same as time.monotonic_ns()."""
    now: int = _lib.hbeat_now_ns()
    return now


__all__ = [
    "AgainError", "BusyError", "Cause", "Clock", "ClosedError", "DesyncError", "Engine", "Event", "EventStream",
    "EventType", "FailedError", "ForkedError", "HbeatError", "Health", "Histogram", "IdleOn", "InvalidError", "Keepalive", "LibraryError",
    "LimitError", "Link", "LinkDown", "LinkInfo", "Listener", "ListenerInfo", "NoLinkError", "NoProgress", "OnPanic", "Phase", "Policy", "Proof", "Reconnect", "Resend", "Run",
    "Sequence", "State", "Stats", "Status", "StoppedError", "Strategy", "TcpInfo", "TimedOutError", "Times", "WrongModeError",
    "get_keepalive", "now_ns", "set_keepalive", "tcp_info", "version", "watch",
]
