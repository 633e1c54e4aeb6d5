"""Listeners: peers that dial become links."""
import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._abi import CListenerInfo
from ._library import lib
from .errors import ClosedError, fail

if TYPE_CHECKING:
    from .engine import Engine


@dataclass(frozen=True)
class ListenerInfo:
    """What is known of a listener; as hbeat_listener_info in hbeat.h."""

    port: int
    links: int
    greeting: int
    accepted: int
    never_heard: int
    refused_links: int
    refused_source: int
    refused_greeting: int
    refused_system: int
    challenged: int
    name: str
    endpoint: str


class Listener:
    """Made by Engine.listen. Its methods may be called from any thread at any time, and none of them waits. A `with` block
    closes it; links that came of it stay."""

    __slots__ = ("_engine", "_id", "_wanted", "__weakref__")

    def __init__(self, engine: "Engine", number: int, wanted: int) -> None:
        self._engine, self._id, self._wanted = engine, number, wanted

    @property
    def id(self) -> int:
        """The number by which the C face knows it."""
        return self._id

    @property
    def port(self) -> int:
        """The port that it got; 0 of a Unix socket."""
        return self.info().port

    @property
    def endpoint(self) -> str:
        """Where it listens, with that port."""
        return self.info().endpoint

    def info(self) -> ListenerInfo:
        """Its place, its links, and who was refused."""
        raw = CListenerInfo(ctypes.sizeof(CListenerInfo))
        self._done(lib.hbeat_listener_info_get(self._engine._handle, self._id, raw))
        return ListenerInfo(raw.port, raw.links, raw.greeting, raw.accepted, raw.never_heard, raw.refused_links, raw.refused_source,
                            raw.refused_greeting, raw.refused_system, raw.challenged, raw.name.decode("utf-8", "replace"), raw.endpoint.decode())

    def close(self) -> bool:
        """Listens no longer; the endpoint is free after Engine.quiesce. True: this call closed it; closing again, or after
        the engine, is no error."""
        try:
            self._done(lib.hbeat_listener_close(self._engine._handle, self._id))
        except ClosedError:
            return False
        self._engine._listeners.pop(self._id, None)
        return True

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<hbeat.Listener {self._id:x}>"

    def _done(self, status: int) -> None:
        if status < 0:
            self._engine._check_closed()
            fail(status)
