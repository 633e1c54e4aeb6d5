"""When to beat, how long to wait for an answer, how many tries, and what proves life."""
import ctypes
from dataclasses import dataclass, fields
from typing import Any, Callable, Dict, Tuple, cast

from . import _arguments
from ._abi import CPolicy
from ._library import lib
from .errors import fail
from .words import IdleOn, NoProgress, Proof, Resend, Strategy


@dataclass(frozen=True, init=False)
class Policy:
    """A checked policy that never changes: a preset or a line of text, and fields that differ from it.

        Policy("cmpp")
        Policy("cmpp interval=60s timeout=20s tries=3")
        Policy("fast", tries=5, hold_time_ms=30_000)

    Times are whole milliseconds, as their names say; 0 and ranges mean what they mean in hbeat.h. What is refused is
    an InvalidError that names the word or field."""

    interval_ms: int
    timeout_ms: int
    tries: int
    strategy: Strategy
    idle_on: IdleOn
    proof: Proof
    answer_expected: bool
    answer: bool
    resend: Resend
    hold_time_ms: int
    jitter_percent: int
    partial_ms: int
    late_reader_limit_ms: int
    up_after: int
    observe_only: bool
    least_ms: int
    strikes: int
    progress_ms: int
    on_no_progress: NoProgress

    def __init__(self, text: str = "normal", **changes: int) -> None:
        struct = CPolicy()
        status = lib.hbeat_policy_parse(struct, ctypes.sizeof(CPolicy), _arguments.text("policy", text))
        if status < 0:
            fail(status)
        self._become(struct, changes)

    def replace(self, **changes: int) -> "Policy":
        """The same policy but for these fields."""
        policy = object.__new__(Policy)
        policy._become(self._struct(), changes)
        return policy

    @property
    def text(self) -> str:
        """One line that Policy() reads back."""
        buffer = ctypes.create_string_buffer(1025)
        status = lib.hbeat_policy_print(self._struct(), buffer, len(buffer), None)
        if status < 0:
            fail(status)
        return buffer.value.decode()

    @property
    def detection(self) -> Tuple[int, int]:
        """How long after its death a peer is given up, at the earliest and at the latest, in milliseconds, if beats are
        written when they are due."""
        earliest, latest = ctypes.c_uint32(), ctypes.c_uint32()
        status = lib.hbeat_policy_detection(self._struct(), earliest, latest)
        if status < 0:
            fail(status)
        return earliest.value, latest.value

    def __str__(self) -> str:
        return self.text

    def _become(self, struct: CPolicy, changes: Dict[str, int]) -> None:
        for name, value in changes.items():
            if name not in READ:
                raise TypeError(f"a policy has no field {name!r}: it has {', '.join(READ)}")
            setattr(struct, name, _arguments.u32(name, value))
        status = lib.hbeat_policy_check(struct)
        if status < 0:
            fail(status)
        for name, read in READ.items():
            object.__setattr__(self, name, read(getattr(struct, name)))

    def _struct(self) -> CPolicy:
        return CPolicy(ctypes.sizeof(CPolicy), **{name: int(getattr(self, name)) for name in READ})


# What makes of a number in C what the field is.
READ: Dict[str, Callable[[int], int]] = {field.name: cast(Any, field.type) for field in fields(Policy)}


def policy_of(policy: Any) -> Policy:
    """A policy, also from its text."""
    if isinstance(policy, str):
        return Policy(policy)
    if not isinstance(policy, Policy):
        raise TypeError(f"policy is a {type(policy).__name__}: must be a Policy or its text")
    return policy
