"""What happened to a link, or to the engine, with the evidence."""
import ctypes
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Dict, Optional

from ._abi import UNKNOWN, CEvent
from ._library import lib
from .errors import fail
from .words import Cause, EventType, State

if TYPE_CHECKING:
    from .link import Link
    from .listener import Listener

logger = logging.getLogger("hbeat")
logger.addHandler(logging.NullHandler())

# What a line is logged for, and how loud: as hbeat's own on_log.
NOT_LOGGED = {EventType.SEND, EventType.ANSWER, EventType.BEAT_RECEIVED, EventType.PEER_STATE}
QUIET = {EventType.UP, EventType.CLOSED, EventType.CONNECTING, EventType.ACCEPTED}


@dataclass(frozen=True)
class TcpInfo:
    """What the kernel knows of a TCP connection, as hbeat_tcp_info in hbeat.h; None for what the system does not tell."""

    state: Optional[int]
    unacked: Optional[int]
    retransmits: Optional[int]
    total_retransmits: Optional[int]
    rtt_us: Optional[int]
    rtt_var_us: Optional[int]
    last_ack_ms: Optional[int]
    last_data_received_ms: Optional[int]
    send_queue_bytes: Optional[int]
    unread_bytes: Optional[int]


@dataclass(frozen=True)
class Event:
    """An event as hbeat.h describes it. What is not known is None; str() is the line an operator greps for."""

    type: EventType
    link: "Optional[Link]"  # None: an event of the engine or a listener
    at_ns: int  # on the engine's clock
    state: Optional[State]  # after it; None: an event of the engine or a listener
    cause: Cause
    tries: int
    tries_max: int
    sequence: int
    count: int  # how many changes it stands for: more than 1 when the application was late
    detail: int
    rtt_us: Optional[int]
    last_received_ms: Optional[int]
    last_sent_ms: Optional[int]
    unread_bytes: Optional[int]
    send_queue_bytes: Optional[int]
    name: str
    attempt: int  # CONNECTING: which one, from 1
    next_ms: Optional[int]  # CONNECTING: in how many ms it begins
    listener: "Optional[Listener]"  # of a listener that is open, or of a link that came to one: which
    tcp: Optional[TcpInfo]  # SUSPECT, DOWN, WOULD_BE_DOWN over TCP: what the kernel knew of the connection
    _raw: CEvent = field(repr=False, compare=False)

    @property
    def data(self) -> Any:
        """What the application gave to Engine.open."""
        return None if self.link is None else self.link.data

    def __str__(self) -> str:
        buffer = ctypes.create_string_buffer(512)
        status = lib.hbeat_event_text(self._raw, buffer, len(buffer), None)
        if status < 0:
            fail(status)
        return buffer.value.decode("utf-8", "replace")


def known(number: int) -> Optional[int]:
    """Of a uint32_t."""
    return None if number == UNKNOWN else number


def counted(number: int) -> Optional[int]:
    """Of bytes on a descriptor."""
    return None if number < 0 else number


TYPES = {int(member): member for member in EventType}
STATES: "Dict[int, Optional[State]]" = {0: None, **{int(member): member for member in State}}
CAUSES = {int(member): member for member in Cause}


def tcp_of(raw: CEvent) -> Optional[TcpInfo]:
    # A library that does not know of it leaves 0, which is no state.
    if raw.tcp_state in (0, UNKNOWN):
        return None
    return TcpInfo(
        known(raw.tcp_state), known(raw.tcp_unacked), known(raw.tcp_retransmits), known(raw.tcp_total_retransmits),
        known(raw.tcp_rtt_us), known(raw.tcp_rtt_var_us), known(raw.tcp_last_ack_ms),
        known(raw.tcp_last_data_received_ms), counted(raw.send_queue_bytes), counted(raw.unread_bytes))


def event_of(raw: CEvent, link: "Optional[Link]", listener: "Optional[Listener]" = None) -> Event:
    event = object.__new__(Event)
    # Past the __init__ of a frozen class, which takes twice as long.
    vars(event).update(
        type=TYPES[raw.type], link=link, at_ns=raw.at_ns, state=STATES[raw.state], cause=CAUSES[raw.cause], tries=raw.tries,
        tries_max=raw.tries_max, sequence=raw.sequence, count=raw.count, detail=raw.detail, rtt_us=known(raw.rtt_us),
        last_received_ms=known(raw.last_received_ms), last_sent_ms=known(raw.last_sent_ms),
        unread_bytes=counted(raw.unread_bytes), send_queue_bytes=counted(raw.send_queue_bytes),
        name=raw.name.decode("utf-8", "replace"), attempt=raw.attempt, next_ms=known(raw.next_ms), listener=listener,
        tcp=tcp_of(raw), _raw=raw)
    return event


def log(event: Event) -> None:
    """One line a change of state, and one for whatever an operator should know."""
    if event.type in NOT_LOGGED:
        return
    level = logging.INFO if event.type in QUIET else logging.WARNING
    if logger.isEnabledFor(level):
        logger.log(level, "%s", event)
