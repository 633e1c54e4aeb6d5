"""The pointer to an engine, freed when nobody can use it any more."""
import ctypes
from typing import Any

from ._library import lib


class Handle(ctypes.c_void_p):
    """Whoever is inside a call has a reference to the handle on its stack, so hbeat_engine_free, which nothing may race
    with, runs after the last call has returned, whichever thread closes the engine meanwhile."""

    def __del__(self, free: Any = lib.hbeat_engine_free) -> None:
        # At the exit of the interpreter modules may be gone; hence free as a default. In a forked child it is refused.
        if self.value:
            free(self)
