"""Finds libhbeat and loads it: HBEAT_LIBRARY first, then the one in this package, then the system's."""
import ctypes
import os
from pathlib import Path
from typing import Any, Tuple

from . import _abi

SONAME = "libhbeat.so.0.1"
PACKAGED = Path(__file__).with_name("libhbeat.so")


class LibraryError(ImportError):
    """libhbeat is missing, or is another version than this package was written for."""


def candidate() -> Tuple[str, str]:
    """What to load, and how it was found."""
    wanted = os.environ.get("HBEAT_LIBRARY")
    if wanted:
        return wanted, "HBEAT_LIBRARY"
    if PACKAGED.exists():
        return str(PACKAGED), "the package's own"
    return SONAME, "the system's"


class Library:
    """The functions of hbeat.h by their names."""

    def __init__(self, path: str, found: str) -> None:
        self.path = path
        try:
            keeping, releasing = ctypes.PyDLL(path), ctypes.CDLL(path)
        except OSError as error:
            raise LibraryError(
                f"libhbeat cannot be loaded: {error} ({found}). Say where it is with HBEAT_LIBRARY=/path/to/libhbeat.so, "
                "or build it in place with 'make python'", path=path) from None
        self._check_version(keeping, found)
        for name, (result, arguments) in _abi.FUNCTIONS.items():
            library = releasing if name in _abi.WAITING else keeping
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)

    def _check_version(self, library: ctypes.PyDLL, found: str) -> None:
        wanted = ".".join(map(str, _abi.VERSION))
        missing = [name for name in _abi.FUNCTIONS if not hasattr(library, name)]
        if "hbeat_version_number" in missing:
            raise LibraryError(f"{self.path} ({found}) is not libhbeat: it has no hbeat_version_number", path=self.path)
        library.hbeat_version_number.restype = ctypes.c_uint32
        number = library.hbeat_version_number()
        version = f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"
        if not version.startswith(wanted + "."):
            raise LibraryError(f"{self.path} ({found}) is libhbeat {version}, this package wants {wanted}", path=self.path)
        if missing:
            raise LibraryError(f"{self.path} ({found}) is an older libhbeat {version}: it has no {missing[0]}", path=self.path)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{name} is not declared in hbeat/_abi.py")


lib = Library(*candidate())
