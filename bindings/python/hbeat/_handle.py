"""The pointer to an engine, freed when nobody can use it any more."""
import ctypes
import os
import warnings
from typing import Any

from ._library import lib


class Handle(ctypes.c_void_p):
    """Whoever is inside a call has a reference to the handle on its stack, so hbeat_engine_free, which nothing may race
    with, runs after the last call has returned, whichever thread closes the engine meanwhile.

    An engine that nobody closed goes the same way: free stops it. At the exit of the interpreter one that threads still
    use is left as it is: hbeat's threads never call into Python, so they cannot harm it."""

    owner = ""
    closed = False

    def __init__(self) -> None:
        super().__init__()
        self.pid = os.getpid()

    # What it needs stands in the defaults: at the exit of the interpreter modules may be gone.
    def __del__(self, free: Any = lib.hbeat_engine_free, getpid: Any = os.getpid, warn: Any = warnings.warn) -> None:
        if not self.value:
            return
        forgotten = not self.closed and self.pid == getpid()
        free(self)
        if forgotten:
            warn(f"unclosed {self.owner}: call close(), or use a with block", ResourceWarning, source=self)
