"""What the kernel does with a TCP connection: its own keepalive, and what it knows."""
import ctypes
from dataclasses import dataclass, fields
from typing import Any, Optional, Union

from . import _arguments
from ._abi import FOREVER, CKeepalive, CTcpInfo
from ._library import lib
from .errors import fail
from .events import TcpInfo, known
from .policy import Policy, policy_of


@dataclass(frozen=True)
class Keepalive:
    """The kernel's own keepalive; hbeat_keepalive in hbeat.h says what each means. Times in milliseconds; the kernel rounds
    idle_ms and interval_ms up to whole seconds."""

    idle_ms: int
    interval_ms: int
    count: int
    user_timeout_ms: Optional[int] = 0  # 0: idle + interval * count; None: the system's own rule

    @staticmethod
    def of(policy: Union[Policy, str]) -> "Keepalive":
        """That which goes with a policy: the kernel gives up no earlier than its latest verdict."""
        raw = CKeepalive(ctypes.sizeof(CKeepalive))
        done(lib.hbeat_policy_keepalive(policy_of(policy)._struct(), raw))
        return keepalive_of(raw)


def set_keepalive(sock: Any, how: Optional[Keepalive]) -> None:
    """Sets the kernel's keepalive of a TCP socket, all of it in one call; None turns it off."""
    raw = CKeepalive(ctypes.sizeof(CKeepalive))
    if how is not None:
        raw.enabled = 1
        for name in ("idle_ms", "interval_ms", "count"):
            setattr(raw, name, _arguments.u32(name, getattr(how, name)))
        timeout = how.user_timeout_ms
        raw.user_timeout_ms = FOREVER if timeout is None else _arguments.u32("user_timeout_ms", timeout)
    done(lib.hbeat_keepalive_set(_arguments.socket(sock), raw))


def get_keepalive(sock: Any) -> Optional[Keepalive]:
    """What the kernel uses for a TCP socket now; None: no keepalive."""
    raw = CKeepalive(ctypes.sizeof(CKeepalive))
    done(lib.hbeat_keepalive_get(_arguments.socket(sock), raw))
    return keepalive_of(raw) if raw.enabled else None


def tcp_info(sock: Any) -> TcpInfo:
    """Looks at a TCP socket; nothing is read, written or changed."""
    raw = CTcpInfo(ctypes.sizeof(CTcpInfo))
    done(lib.hbeat_tcp_info_get(_arguments.socket(sock), raw))
    return TcpInfo(*(known(getattr(raw, field.name)) for field in fields(TcpInfo)))


def keepalive_of(raw: CKeepalive) -> Keepalive:
    timeout = None if raw.user_timeout_ms == FOREVER else raw.user_timeout_ms
    return Keepalive(raw.idle_ms, raw.interval_ms, raw.count, timeout)


def done(status: int) -> None:
    if status < 0:
        fail(status)
