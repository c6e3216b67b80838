"""How connections are accepted, and what becomes of a listener's trouble.

Hundreds of clients may come at once. One connection a turn of the loop would let the last of them
wait for as many turns, each with all the work of those that came before.

Trouble is a line in the router's own log, now and then. Out of descriptors or memory, trio goes on
accepting ten times a second, and each time writes a traceback to the standard library's logger,
which would put it on standard error as it is.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from structlog.typing import FilteringBoundLogger

# So many at a time take the loop a few milliseconds.
MOST_AT_ONCE = 64
_TRIO = logging.getLogger("trio.serve_listeners")
REPEAT_AFTER_S = 10.0


class BurstListener(trio.abc.Listener[trio.SocketStream]):
    """A TCP listener that takes all who wait at a time, and hands them out without a pause."""

    def __init__(self, listener: trio.SocketListener) -> None:
        """`listener` is closed with this one."""
        self._listener = listener
        # The same listening socket, for what trio's has no call: to accept without waiting.
        self._twin = socket.socket(fileno=os.dup(listener.socket.fileno()))
        self._accepted: deque[trio.SocketStream] = deque()

    async def accept(self) -> trio.SocketStream:
        """The next connection; only waiting for the first of a burst is a checkpoint.

        Raises:
            OSError: see `trio.SocketListener`.
        """
        if self._accepted:
            return self._accepted.popleft()
        first = await self._listener.accept()
        while len(self._accepted) < MOST_AT_ONCE:
            try:
                accepted, _address = self._twin.accept()
            except OSError:  # no more wait, or the next call tells
                break
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(accepted))
            self._accepted.append(stream)
        return first

    async def aclose(self) -> None:
        """Close, with what was accepted and not handed out."""
        self._twin.close()
        for stream in self._accepted:
            stream.socket.close()
        self._accepted.clear()
        await self._listener.aclose()


class _Troubles(logging.Handler):
    def __init__(self, log: FilteringBoundLogger) -> None:
        super().__init__()
        self._log = log
        self._quiet_until = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        """Pass the first one on, and one in `REPEAT_AFTER_S` after it."""
        now = trio.current_time()
        if now < self._quiet_until:
            return
        self._quiet_until = now + REPEAT_AFTER_S
        self._log.warning(
            "cannot_accept",
            why=record.getMessage(),
            advice="raise the limit of descriptors (ulimit -n)",
        )


@contextmanager
def accept_troubles_to(log: FilteringBoundLogger) -> Iterator[None]:
    """Write what `trio.serve_listeners` complains of to `log` for the length of the block."""
    troubles = _Troubles(log)
    _TRIO.addHandler(troubles)
    propagated, _TRIO.propagate = _TRIO.propagate, False
    try:
        yield
    finally:
        _TRIO.propagate = propagated
        _TRIO.removeHandler(troubles)
