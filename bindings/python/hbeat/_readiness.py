"""A callback in an event loop whenever a descriptor is readable."""
import asyncio
import select
import socket
import threading
from typing import Callable


class Readiness:
    """By the loop itself."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, ready: Callable[[], None]) -> None:
        self._loop, self._fd = loop, fd
        loop.add_reader(fd, ready)

    def close(self) -> None:
        if not self._loop.is_closed():
            self._loop.remove_reader(self._fd)


class ThreadReadiness(Readiness):
    """For a loop that has no add_reader: a thread waits in its place, and waits again when the loop was there."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, ready: Callable[[], None]) -> None:
        self._loop, self._fd, self._ready = loop, fd, ready
        self._open = True
        self._again = threading.Semaphore(0)
        self._ours, self._theirs = socket.socketpair()
        threading.Thread(target=self._run, name="hbeat-asyncio", daemon=True).start()

    def close(self) -> None:
        self._open = False
        self._again.release()
        self._ours.close()

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        poll.register(self._theirs, select.POLLIN)
        while self._open:
            poll.poll()
            try:
                self._loop.call_soon_threadsafe(self._tell)
            except RuntimeError:  # The loop is closed.
                break
            self._again.acquire()
        self._theirs.close()

    def _tell(self) -> None:
        if self._open:
            try:
                self._ready()
            finally:
                self._again.release()


def watch_descriptor(loop: asyncio.AbstractEventLoop, fd: int, ready: Callable[[], None]) -> Readiness:
    try:
        return Readiness(loop, fd, ready)
    except NotImplementedError:
        return ThreadReadiness(loop, fd, ready)
