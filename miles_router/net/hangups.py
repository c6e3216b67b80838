"""Which clients have closed their side: told at once, by one question to the kernel for all.

A connection that nobody reads while its request is served would tell nothing of its client. Here
every connection is put into one set of the kernel's (epoll), once and for its whole life, and the
loop waits for the set: a request costs nothing. Where there is no epoll, `departures` must sweep.
This file must not know HTTP.
"""

from __future__ import annotations

import select
from typing import NoReturn, Protocol

import trio


class Connected(Protocol):
    """A connection as seen from here."""

    def note_hangup(self) -> None:
        """Its peer has closed its side; told once."""


class Hangups:
    """The connections that want to be told."""

    def __init__(self) -> None:
        self._connected: dict[int, Connected] = {}
        self._epoll = select.epoll() if hasattr(select, "epoll") else None

    @property
    def are_told(self) -> bool:
        """Whether this system can tell."""
        return self._epoll is not None

    def add(self, descriptor: int, connected: Connected) -> None:
        """Tell `connected`, whose socket is `descriptor`, when its peer closes its side."""
        if self._epoll is not None and descriptor >= 0:
            self._connected[descriptor] = connected
            self._epoll.register(descriptor, select.EPOLLRDHUP | select.EPOLLET)

    def discard(self, descriptor: int, connected: Connected) -> None:
        """Forget a connection; what was closed is forgotten by the kernel.

        The number of a socket that was closed may be another's already.
        """
        if self._connected.get(descriptor) is connected:
            del self._connected[descriptor]

    async def run(self) -> NoReturn:
        """Tell until cancelled; nobody is told afterwards."""
        if self._epoll is None:
            await trio.sleep_forever()
        try:
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                self._tell(self._epoll.poll(0))
        finally:
            self._epoll.close()
            self._epoll = None

    def _tell(self, found: list[tuple[int, int]]) -> None:
        for descriptor, _events in found:
            connected = self._connected.pop(descriptor, None)
            if connected is not None:
                connected.note_hangup()
