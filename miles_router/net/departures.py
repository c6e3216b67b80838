"""Clients that left while nobody reads from them, found by asking the kernel.

A connection is not read while a pipelined request waits for the answer to the one before, or while
nobody takes more of an upload: its end then lies behind bytes that stay where they are. The kernel
knows of it all the same (POLLRDHUP), so one question a second about all such connections is enough:
as long as the bytes in front of the end fit into the kernel. Those of an upload do not, and so such
connections are read on. This file must not know HTTP.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, NoReturn, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# In the scope of a request: its client's `Departure`.
LEFT_KEY = "miles_router.left"
# A client that leaves is to reach its worker within two seconds, the abort included.
SWEEP_INTERVAL_S = 1.0
# Reading is copying: what all connections are read on by at a time takes the loop some 10 ms.
READ_ON_BYTES = 32 * 1024 * 1024
# Where the system has no word for a half-closed peer, the end of a whole connection is still told.
_LEFT = getattr(select, "POLLRDHUP", select.POLLHUP)


class Departure:
    """Whether a client has left: asked, waited for, or told by a callback."""

    __slots__ = ("_callback", "_event", "_has_left")

    def __init__(self) -> None:
        self._has_left = False
        self._event: trio.Event | None = None
        self._callback: Callable[[], None] | None = None

    def set(self) -> None:
        """It has; may be repeated."""
        self._has_left = True
        if self._event is not None:
            self._event.set()
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()

    def is_set(self) -> bool:
        """Whether it has."""
        return self._has_left

    async def wait(self) -> None:
        """Return as soon as it has."""
        if self._event is None:
            self._event = trio.Event()
            if self._has_left:
                self._event.set()
        await self._event.wait()

    def tell(self, callback: Callable[[], None] | None) -> None:
        """Call `callback`, and no other, when it leaves; None: nobody is to be told.

        It is called from the loop, in the middle of whatever noticed: it must not raise.
        """
        self._callback = callback
        if self._has_left:
            self.set()


class HeldConnection(Protocol):
    """A client connection as seen from here."""

    @property
    def held_descriptor(self) -> int | None:
        """Its socket while bytes of it wait to be taken; None while it is read, or closed."""

    def end_hold(self) -> None:
        """Stop waiting for those bytes to be taken: the client has left."""

    def read_on(self, most_bytes: int) -> int:
        """Read up to `most_bytes` more and keep them, if they are held since the last time.

        Returns how many were read; ends the hold where the client's end comes after them.
        """


def sweep(connections: Iterable[HeldConnection]) -> None:
    """End the holds of clients that have closed their side, or lost their connection.

    Clients that cannot be seen to have left are read on.
    """
    held = {
        descriptor: connection
        for connection in connections
        if (descriptor := connection.held_descriptor) is not None
    }
    if not held:
        return
    poll = select.poll()
    for descriptor in held:
        poll.register(descriptor, _LEFT)
    gone = {descriptor for descriptor, _ in poll.poll(0)}
    left_bytes = READ_ON_BYTES
    for descriptor, connection in held.items():
        if descriptor in gone:
            connection.end_hold()
        elif left_bytes > 0:
            left_bytes -= connection.read_on(left_bytes)


async def run(connections: Iterable[HeldConnection]) -> NoReturn:
    """Sweep for ever; `connections` is looked through anew each time."""
    while True:
        await trio.sleep(SWEEP_INTERVAL_S)
        sweep(connections)
