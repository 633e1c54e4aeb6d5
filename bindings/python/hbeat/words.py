"""The words of hbeat.h as enums; their values are the header's."""
from enum import IntEnum


class EventType(IntEnum):
    """What happened."""

    SEND = 1
    UP = 2
    SUSPECT = 3
    DOWN = 4
    CLOSED = 5
    ANSWER = 6
    BEAT_RECEIVED = 7
    LOCAL_READER_LATE = 8
    PARTIAL_FRAME = 9
    PAUSE = 10
    APP_NOT_RESPONDING = 11
    ENGINE_FAILED = 12
    WOULD_BE_DOWN = 13
    CONNECTING = 14
    PEER_STATE = 15
    STRIKE = 16
    ACCEPTED = 17
    LISTENER_LIMIT = 18


class State(IntEnum):
    """What a link is believed to be."""

    PAUSED = 1
    CONNECTING = 2
    UP = 3
    SUSPECT = 4
    DOWN = 5


class Cause(IntEnum):
    """Why a link is DOWN."""

    NONE = 0
    NO_ANSWER = 1
    SILENT = 2
    SEND_STUCK = 3
    REFUSED = 4
    RESET = 5
    CLOSED_BY_PEER = 6
    UNREACHABLE = 7
    DESYNC = 8
    PARTIAL_FRAME = 9
    PROTOCOL_ERROR = 10
    UNAUTHENTICATED = 11
    POLICED = 12
    PEER_APP_NOT_RESPONDING = 13
    REPORTED = 14


class Strategy(IntEnum):
    """When a beat is due: after so long without a message, or each so long."""

    IDLE = 0
    PERIODIC = 1


class IdleOn(IntEnum):
    """Idle is a link on which nothing was received, or also one on which nothing was sent."""

    RECEIVED = 0
    EITHER = 1


class Proof(IntEnum):
    """What proves that the peer lives: any message, or only the answer to a beat."""

    ANY = 0
    ANSWER = 1


class Resend(IntEnum):
    """Whether each try has a new sequence number or that of the first one."""

    NEW = 0
    SAME = 1


class NoProgress(IntEnum):
    """What becomes of beats and answers while the application makes no progress."""

    GO_ON = 0
    FLAG = 1
    STOP = 2


class Reconnect(IntEnum):
    """Whether a lost connection that hbeat carries is made anew; by default where Engine.dial made it."""

    DEFAULT = 0
    YES = 1
    NO = 2


class Run(IntEnum):
    """Who turns the engine: a thread of hbeat's, or the application with Engine.drive."""

    THREADS = 0
    APPLICATION = 1


class Clock(IntEnum):
    """CLOCK_MONOTONIC, or one that only Engine.advance (or drive) moves; for tests."""

    SYSTEM = 0
    MANUAL = 1


class OnPanic(IntEnum):
    """What a bug in hbeat that is caught does: an ENGINE_FAILED event, or an abort of the process."""

    EVENT = 0
    ABORT = 1


class Times(IntEnum):
    """Which times Engine.histogram is of: round trips, or how much later than due hbeat looked at a deadline."""

    RTT = 0
    LATENESS = 1


class Phase(IntEnum):
    """How far an engine is."""

    RUNNING = 1
    STOPPING = 2
    STOPPED = 3
    FAILED = 4


class Status(IntEnum):
    """What a call came to: 0 is done, below it an error, above it information."""

    OK = 0
    INFO_SEND = 1
    INFO_MORE = 2
    INFO_ALREADY_DOWN = 3
    INFO_STOPPING = 4
    INFO_END = 5
    ERR_INVALID = -1
    ERR_NULL = -2
    ERR_SIZE = -3
    ERR_UNSUPPORTED = -4
    ERR_NO_LINK = -5
    ERR_AGAIN = -6
    ERR_LIMIT = -7
    ERR_BUSY = -8
    ERR_TIMEOUT = -9
    ERR_WOULD_DEADLOCK = -10
    ERR_STOPPED = -11
    ERR_FAILED = -12
    ERR_FORKED = -13
    ERR_WRONG_MODE = -14
    ERR_DESYNC = -15
    ERR_NO_MEMORY = -16
    ERR_SYSTEM = -17
    ERR_PANIC = -18
