"""Which sockets have something to say: told by one question to the kernel for all of them.

trio asks the kernel anew for every wait, and wakes a task for every answer. Here a socket is put
into one set of the kernel's (epoll, by edges) once and for its whole life; the loop waits for the
set, and calls back. So a connection that nobody reads while its request is served also tells that
its client has left. Where there is no epoll, `departures` must sweep. This file must not know HTTP.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, NoReturn, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

# The other side has ended, or the connection is no more.
LEFT = getattr(select, "EPOLLRDHUP", 0) | getattr(select, "EPOLLHUP", 0)
_ANY = getattr(select, "EPOLLIN", 0) | getattr(select, "EPOLLOUT", 0) | LEFT
# Callbacks come in bursts, and everything else in the loop waits for the end of one: some 2 ms.
MOST_AT_ONCE = 24


class Watched(Protocol):
    """A connection as seen from here."""

    def on_ready(self, events: int) -> None:
        """Something changed (epoll's bits); does not block, and makes no sockets."""

    def fail(self) -> None:
        """`on_ready` raised, by a mistake of the router's own: end what it was about, alone."""


class Readiness:
    """The connections that want to be told."""

    def __init__(self, note_mistake: Callable[[], None]) -> None:
        """`note_mistake`: called where a callback raises, while the exception is handled."""
        self._note_mistake = note_mistake
        self._watched: dict[int, Watched] = {}
        self._epoll = select.epoll() if hasattr(select, "epoll") else None

    @property
    def is_told(self) -> bool:
        """Whether this system can tell."""
        return self._epoll is not None

    def add(self, descriptor: int, watched: Watched, *, only_left: bool = False) -> None:
        """Tell `watched`, whose socket is `descriptor`, of every change; first of what is now.

        Args:
            descriptor: of a socket that does not block.
            watched: one alone may watch a socket; the last one does.
            only_left: only of the other side's end.
        """
        if self._epoll is None or descriptor < 0:
            return
        events = (LEFT if only_left else _ANY) | select.EPOLLET
        if self._watched.get(descriptor) is watched:
            self._epoll.modify(descriptor, events)
            return
        self._watched[descriptor] = watched
        self._epoll.register(descriptor, events)

    def discard(self, descriptor: int, watched: Watched) -> None:
        """Forget a connection whose socket is closed, or about to be: the kernel forgets it then.

        The number of a socket that was closed may be another's already.
        """
        if self._watched.get(descriptor) is watched:
            del self._watched[descriptor]

    def remove(self, descriptor: int, watched: Watched) -> None:
        """Tell `watched` nothing more of a socket that stays open."""
        if self._epoll is not None and self._watched.get(descriptor) is watched:
            del self._watched[descriptor]
            self._epoll.unregister(descriptor)

    async def run(self) -> NoReturn:
        """Tell until cancelled; nobody is told afterwards."""
        if self._epoll is None:
            await trio.sleep_forever()
        try:
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                for descriptor, events in self._epoll.poll(0, MOST_AT_ONCE):
                    watched = self._watched.get(descriptor)
                    if watched is not None:
                        self._tell(watched, events)
        finally:
            self._epoll.close()
            self._epoll = None

    def _tell(self, watched: Watched, events: int) -> None:
        try:
            watched.on_ready(events)
        except Exception:  # noqa: BLE001  the border of one connection
            self._note_mistake()
            watched.fail()
