"""Arguments on their way to C. ctypes would cut numbers to size in silence; here they are refused with a sentence."""
import ctypes
import math
import operator
from typing import Any, Iterable, Mapping, Optional, SupportsInt

from . import _abi
from .errors import InvalidError


def whole(name: str, value: Any, least: int, most: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is a {type(value).__name__}: must be an int from {least} to {most}") from None
    if not least <= number <= most:
        raise InvalidError(f"{name} is {number}: must be from {least} to {most}")
    return number


def u32(name: str, value: Any) -> int:
    return whole(name, value, 0, 0xFFFF_FFFF)


def u64(name: str, value: Any) -> int:
    return whole(name, value, 0, 0xFFFF_FFFF_FFFF_FFFF)


def timeout_ms(value: Optional[float]) -> int:
    """Seconds, None for ever, as milliseconds; rounded up, so that nothing is early."""
    if value is None:
        return _abi.FOREVER
    if not isinstance(value, (int, float)):
        raise TypeError(f"timeout is a {type(value).__name__}: must be seconds, or None to wait for ever")
    if not 0 <= value <= 4_294_967:
        raise InvalidError(f"timeout is {value}: must be from 0 to 4294967 seconds, or None to wait for ever")
    return math.ceil(value * 1000)


def text(name: str, value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"{name} is a {type(value).__name__}: must be a str")
    if "\0" in value:
        raise InvalidError(f"{name} is {value!r}: must not contain a NUL")
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidError(f"{name} is {value!r}: must be valid Unicode ({error.reason})") from None


def socket(value: Any) -> int:
    """A descriptor, from an int or from what has fileno(); None is none, -1 to hbeat."""
    if value is None:
        return -1
    if isinstance(value, int):
        fd = value
    elif hasattr(value, "fileno"):
        fd = value.fileno()
    else:
        raise TypeError(f"fd is a {type(value).__name__}: must be a descriptor, a socket, or None")
    if not 0 < fd <= 0x7FFF_FFFF:
        why = "a closed socket has it" if fd < 0 else "hbeat takes 0 for none" if fd == 0 else "no descriptor is so large"
        raise InvalidError(f"fd is {fd}: {why}; must be an open socket, or None")
    return fd


def mask(name: str, events: Optional[Iterable[SupportsInt]]) -> int:
    """A mask of events; None is 0, the usual ones."""
    if events is None:
        return 0
    wanted = 0
    for event in events:
        wanted |= 1 << whole(name, event, 1, 31)
    unknown = wanted & ~_abi.EVENTS_ALL
    if not wanted or unknown:
        raise InvalidError(f"{name} is {[int(event) for event in events]}: must be some of EventType, or None for the usual")
    return wanted


def keys(secrets: Mapping[int, bytes]) -> Any:
    """An array of keys; it keeps the octets alive."""
    if not isinstance(secrets, Mapping):
        raise TypeError(f"keys is a {type(secrets).__name__}: must be a dict of ids and bytes")
    array: Any = (_abi.CKey * len(secrets))()
    kept = []
    for place, (number, secret) in zip(array, secrets.items()):
        if not isinstance(secret, bytes):
            raise TypeError(f"keys[{number!r}] is a {type(secret).__name__}: must be bytes")
        kept.append(secret)
        place.struct_size, place.id = ctypes.sizeof(_abi.CKey), u32("key id", number)
        place.bytes, place.length = ctypes.cast(ctypes.c_char_p(secret), ctypes.c_void_p), len(secret)
    array.kept = kept
    return array


def cpus(numbers: Iterable[SupportsInt]) -> int:
    wanted = 0
    for number in numbers:
        wanted |= 1 << whole("cpus", number, 0, 63)
    return wanted
