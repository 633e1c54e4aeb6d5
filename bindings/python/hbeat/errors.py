"""Exceptions: one class for each status that a program may want to tell from others."""
from typing import Dict, NoReturn, Type

from ._library import lib
from .words import Status


class HbeatError(Exception):
    """A call that hbeat refused: status, and a sentence that says what was wrong and what is right."""

    status: Status
    sentence: str

    def __init__(self, status: Status, sentence: str) -> None:
        super().__init__(status, sentence)
        self.status, self.sentence = status, sentence

    def __str__(self) -> str:
        return self.sentence


class InvalidError(HbeatError, ValueError):
    """An argument, or a value of a policy, is out of its range."""

    def __init__(self, sentence: str) -> None:
        super().__init__(Status.ERR_INVALID, sentence)

    def __reduce__(self) -> "tuple[Type[InvalidError], tuple[str]]":
        return InvalidError, (self.sentence,)


class ClosedError(HbeatError):
    """The engine or the link was closed."""


class StoppedError(ClosedError):
    """The engine was stopped or closed."""


class NoLinkError(ClosedError):
    """The link was closed, or is another engine's."""


class AgainError(HbeatError):
    """open: as many opens wait as open_queue allows; try again."""


class LimitError(HbeatError):
    """open: max_links are open."""


class BusyError(HbeatError):
    """Another thread is in this call, of which there may be one at a time."""


class TimedOutError(HbeatError, TimeoutError):
    """stop, quiesce, advance: the time given was not enough."""


class FailedError(HbeatError):
    """The engine failed, see the ENGINE_FAILED event: make a new one."""


class ForkedError(HbeatError):
    """This process is a fork of the one that made the engine: make a new one."""


class WrongModeError(HbeatError):
    """The engine or the link was not set up for this call."""


class DesyncError(HbeatError):
    """feed: the bytes are not the link's protocol (any more); the link is DOWN."""


CLASSES: Dict[Status, Type[HbeatError]] = {
    Status.ERR_STOPPED: StoppedError,
    Status.ERR_NO_LINK: NoLinkError,
    Status.ERR_AGAIN: AgainError,
    Status.ERR_LIMIT: LimitError,
    Status.ERR_BUSY: BusyError,
    Status.ERR_TIMEOUT: TimedOutError,
    Status.ERR_FAILED: FailedError,
    Status.ERR_FORKED: ForkedError,
    Status.ERR_WRONG_MODE: WrongModeError,
    Status.ERR_DESYNC: DesyncError,
}


def error(status: Status, sentence: str) -> HbeatError:
    if status == Status.ERR_INVALID:
        return InvalidError(sentence)
    return CLASSES.get(status, HbeatError)(status, sentence)


def fail(status: int) -> NoReturn:
    """Raises what a status below 0 means, with hbeat's sentence about this thread's last call."""
    raise error(Status(status), lib.hbeat_last_error().decode("utf-8", "replace"))
