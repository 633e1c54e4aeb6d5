"""One watched relation to one peer."""
import ctypes
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, Optional, Union

from . import _arguments
from ._abi import APP_STATE_MAX, FRAME_MAX, CInfo
from ._library import lib
from .errors import ClosedError, WrongModeError, fail
from .events import counted, known
from .policy import Policy, policy_of
from .words import Cause, State, Status

if TYPE_CHECKING:
    from .engine import Engine

PROTOCOLS = ("none", "cmpp", "heart")
Bytes = Union[bytes, bytearray, memoryview]

_received = lib.hbeat_link_received
_sent = lib.hbeat_link_sent


class Sequence:
    """The application's own counter, from which beats take their numbers: next is the first free one. Share it between
    the messages of one connection (CMPP's Sequence_Id)."""

    __slots__ = ("_next",)

    def __init__(self, first: int = 1) -> None:
        self._next = ctypes.c_uint32(_arguments.u32("first", first))

    @property
    def next(self) -> int:
        return self._next.value

    def use(self) -> int:
        """The next free number, used up. After 2^32 - 1 comes 0."""
        number = self._next.value
        self._next.value = number + 1 & 0xFFFF_FFFF
        return number

    def __repr__(self) -> str:
        return f"Sequence({self.next})"


@dataclass(frozen=True)
class LinkInfo:
    """All that is known of a link; as hbeat_info in hbeat.h, with None for what is not known."""

    state: State
    cause: Cause
    detail: int
    tries: int
    tries_max: int
    sequence: int
    protocol: str
    last_received_ms: Optional[int]
    last_sent_ms: Optional[int]
    in_state_ms: int
    rtt_us: Optional[int]
    rtt_min_us: Optional[int]
    rtt_max_us: Optional[int]
    unread_bytes: Optional[int]
    send_queue_bytes: Optional[int]
    beats_sent: int
    answers_received: int
    beats_received: int
    answers_sent: int
    answers_late: int
    answers_unmatched: int
    answers_dropped: int
    misses: int
    messages_received: int
    bytes_received: int
    name: str
    messages_sent: int
    bytes_sent: int
    would_be_downs: int
    rtt_count: int
    rtt_sum_us: int
    attempt: int
    next_ms: Optional[int]
    peer_states_left_out: int
    strikes: int
    listener: int  # the id of the listener that its peer came to; 0: none
    agreed_interval_ms: int
    agreed_peer_interval_ms: int
    agreed_hold_ms: int
    agreed_peer_hold_ms: int
    frames_rejected: int
    frames_unauthenticated: int


# What makes of a number in C what the field is; of the others an int.
READ: Dict[str, Callable[[Any], Any]] = {
    "state": State,
    "cause": Cause,
    "protocol": PROTOCOLS.__getitem__,
    "last_received_ms": known,
    "last_sent_ms": known,
    "rtt_us": known,
    "rtt_min_us": known,
    "rtt_max_us": known,
    "next_ms": known,
    "unread_bytes": counted,
    "send_queue_bytes": counted,
    "name": lambda name: name.decode("utf-8", "replace"),
}


class Link:
    """Made by Engine.open. Every method may be called from any thread at any time, and none of them waits; take and feed
    by one thread at a time for each link (another gets BusyError). After close they raise NoLinkError, after the end of
    the engine StoppedError: both are ClosedError.

    now_ns is when the thing told happened, on the clock of hbeat.now_ns(); 0: now."""

    __slots__ = ("_engine", "_id", "_sequence", "_wanted", "data", "protocol", "__weakref__")

    def __init__(self, engine: "Engine", number: int, protocol: str, wanted: int, data: Any) -> None:
        self._engine = engine
        # Made once: ctypes would make one of an int in each call.
        self._id = ctypes.c_uint64(number)
        self._wanted = wanted
        self._sequence = Sequence()
        self.protocol = protocol
        self.data = data

    @property
    def id(self) -> int:
        """The number by which the C face knows it."""
        return self._id.value

    @property
    def engine(self) -> "Engine":
        return self._engine

    def received(self, now_ns: int = 0) -> None:
        """A complete message arrived: a sign of life. Not for answers to beats, and not beside feed."""
        if now_ns >> 64:
            _arguments.u64("now_ns", now_ns)
        status = _received(self._engine._handle, self._id, now_ns)
        if status:
            self._fail(status)

    def sent(self, now_ns: int = 0) -> None:
        """Something was written to the peer: evidence, never a sign of life."""
        if now_ns >> 64:
            _arguments.u64("now_ns", now_ns)
        status = _sent(self._engine._handle, self._id, now_ns)
        if status:
            self._fail(status)

    def progress(self, now_ns: int = 0) -> None:
        """The application goes on with this link; from the first time on Engine.progress does not count for it."""
        self._done(lib.hbeat_link_progress(self._engine._handle, self._id, _arguments.u64("now_ns", now_ns)))

    def feed(self, data: Bytes, now_ns: int = 0) -> bool:
        """Shows hbeat what was read, in portions of any size, in place of received; True: an answer is owed, take it.
        DesyncError: the bytes are not the protocol's, and the link is DOWN."""
        data = _bytes(data)
        now_ns = _arguments.u64("now_ns", now_ns)
        return self._done(lib.hbeat_link_feed(self._engine._handle, self._id, data, len(data), now_ns)) == Status.INFO_SEND

    def feed_sent(self, data: Bytes, now_ns: int = 0) -> None:
        """Shows hbeat what the application is about to write, in place of sent. With a policy that says observe_only the beats in it are
        the link's tries. DesyncError: it is not the protocol's, and no beat in it is seen any more."""
        data = _bytes(data)
        now_ns = _arguments.u64("now_ns", now_ns)
        self._done(lib.hbeat_link_feed_sent(self._engine._handle, self._id, data, len(data), now_ns))

    def beat_sent(self, sequence: int, now_ns: int = 0) -> None:
        """observe_only: the application's own heartbeat is about to send a beat of this number; for who parses himself."""
        sequence, now_ns = _arguments.u32("sequence", sequence), _arguments.u64("now_ns", now_ns)
        self._done(lib.hbeat_link_beat_sent(self._engine._handle, self._id, sequence, now_ns))

    def take(self, sequence: Optional[Sequence] = None, now_ns: int = 0) -> bytes:
        """All frames that are to be written now, answers first; empty: nothing is needed any more. A beat takes its number
        from sequence; None: hbeat counts by itself. A link of protocol "none" has take_beat in its place."""
        if self.protocol == "none":
            raise WrongModeError(Status.ERR_WRONG_MODE, 'protocol is "none": hbeat has no frames for it; ask take_beat')
        now_ns = _arguments.u64("now_ns", now_ns)
        counter = None if sequence is None else sequence._next
        frames = []
        buffer, length = ctypes.create_string_buffer(FRAME_MAX), ctypes.c_size_t()
        status = int(Status.INFO_MORE)
        while status == Status.INFO_MORE:
            status = self._done(lib.hbeat_link_take(
                self._engine._handle, self._id, counter, now_ns, buffer, FRAME_MAX, length))
            frames.append(buffer.raw[:length.value])
        return b"".join(frames)

    def take_beat(self, sequence: Optional[Sequence] = None, now_ns: int = 0) -> Optional[int]:
        """Protocol "none": the number of the beat that is to be written now, in the application's own form; None: none is
        needed any more. Report its answer with answer_received and this number."""
        if self.protocol != "none":
            raise WrongModeError(Status.ERR_WRONG_MODE, f'protocol is "{self.protocol}": hbeat builds its beats; ask take')
        now_ns = _arguments.u64("now_ns", now_ns)
        counter = (self._sequence if sequence is None else sequence)._next
        before = counter.value
        status = self._done(lib.hbeat_link_take(
            self._engine._handle, self._id, counter, now_ns, None, 0, ctypes.c_size_t()))
        if status != Status.INFO_SEND:
            return None
        # A counter that stands still: the number of an earlier try is used again.
        return before if counter.value != before else self._info().sequence

    def unsent(self, now_ns: int = 0) -> None:
        """What was taken last could not be written: the next SEND comes soon."""
        self._done(lib.hbeat_link_unsent(self._engine._handle, self._id, _arguments.u64("now_ns", now_ns)))

    def answer_received(self, sequence: int, now_ns: int = 0) -> None:
        """The answer to the beat of this number arrived; one that matches none proves nothing."""
        sequence = _arguments.u32("sequence", sequence)
        now_ns = _arguments.u64("now_ns", now_ns)
        self._done(lib.hbeat_link_answer_received(self._engine._handle, self._id, sequence, now_ns))

    def beat_received(self, sequence: int = 0, now_ns: int = 0) -> None:
        """A beat of the peer arrived, which the application answers."""
        sequence = _arguments.u32("sequence", sequence)
        now_ns = _arguments.u64("now_ns", now_ns)
        self._done(lib.hbeat_link_beat_received(self._engine._handle, self._id, sequence, now_ns))

    def report_down(self, cause: Cause, detail: int = 0) -> bool:
        """The application found out itself. The DOWN event comes as for any verdict, once; False: it was DOWN before."""
        cause_number, detail = _arguments.u32("cause", cause), _arguments.u32("detail", detail)
        status = self._done(lib.hbeat_link_report_down(self._engine._handle, self._id, cause_number, detail))
        return status != Status.INFO_ALREADY_DOWN

    def start(self, now_ns: int = 0) -> None:
        """Starts a link that was opened paused, or paused since: the login is done."""
        self._done(lib.hbeat_link_start(self._engine._handle, self._id, _arguments.u64("now_ns", now_ns)))

    def pause(self, now_ns: int = 0) -> None:
        """Nothing is due or judged until start, as before a logout."""
        self._done(lib.hbeat_link_pause(self._engine._handle, self._id, _arguments.u64("now_ns", now_ns)))

    def set_policy(self, policy: Union[Policy, str]) -> None:
        """Another policy, at once; tries that were missed stay missed."""
        self._done(lib.hbeat_link_set_policy(self._engine._handle, self._id, policy_of(policy)._struct()))

    def set_keys(self, keys: Mapping[int, bytes]) -> None:
        """Of a link that was opened with keys: seals with the first of these from here on, and accepts all of them. To
        change keys without a gap: both ends (old, new), both (new, old), both (new)."""
        self._done(lib.hbeat_link_set_keys(self._engine._handle, self._id, _arguments.keys(keys), len(keys)))

    def set_state(self, state: Bytes) -> None:
        """Protocol "heart": tells the peer's application something in each beat and answer from here on, at most 1024 bytes;
        empty: nothing any more."""
        state = _bytes(state, "state")
        self._done(lib.hbeat_link_set_state(self._engine._handle, self._id, state, len(state)))

    def peer_state(self) -> bytes:
        """Protocol "heart": what the peer's application told last; empty: nothing. PEER_STATE comes when it changed."""
        buffer, length = ctypes.create_string_buffer(APP_STATE_MAX), ctypes.c_size_t()
        self._done(lib.hbeat_link_peer_state(self._engine._handle, self._id, buffer, APP_STATE_MAX, length))
        return buffer.raw[:length.value]

    def info(self) -> LinkInfo:
        """All that is known of it; also after DOWN, until it is closed."""
        raw = self._info()
        values = {field.name: getattr(raw, field.name) for field in fields(LinkInfo)}
        return LinkInfo(**{name: READ.get(name, int)(value) for name, value in values.items()})

    def close(self) -> bool:
        """Ends the watching: no event comes any more but CLOSED, and no DOWN. True: this call closed it; closing again,
        or after the engine, is no error."""
        try:
            self._done(lib.hbeat_link_close(self._engine._handle, self._id))
        except ClosedError:
            return False
        return True

    def __enter__(self) -> "Link":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<hbeat.Link {self.id:x}>"

    def _info(self) -> CInfo:
        raw = CInfo(ctypes.sizeof(CInfo))
        self._done(lib.hbeat_link_info(self._engine._handle, self._id, raw))
        return raw

    def _done(self, status: int) -> int:
        if status < 0:
            self._fail(status)
        return status

    def _fail(self, status: int) -> None:
        self._engine._check_closed()
        fail(status)


def _bytes(data: Bytes, name: str = "data") -> bytes:
    if type(data) is bytes:
        return data
    try:
        return bytes(memoryview(data))
    except TypeError:
        raise TypeError(f"{name} is a {type(data).__name__}: must be bytes or like them") from None
