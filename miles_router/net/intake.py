"""What one client sends, on its way to the server: read while it is taken, else held back.

While the app takes nothing, nothing is read, and so a slow worker slows the client. But a client
that leaves meanwhile would not be noticed: the end of its connection comes after all that it wrote,
some megabytes of which still lie in its own kernel. So what is held for longer is read on into
memory, up to a bound, until that end is in sight (`departures` asks for it). This file must not
know HTTP.
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING

import trio

from miles_router.net.departures import Departure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

READ_BYTES = 65_536
# More than kernels keep for a connection on both sides together (some 10 MB), for what a client
# that is still there writes meanwhile lies in front of its end.
SPARE_BYTES = 64 * 1024 * 1024
SPARE_BYTES_OF_ALL = 256 * 1024 * 1024


class SpareRoom:
    """The memory that all connections together may use for what they read on."""

    def __init__(self, size_bytes: int = SPARE_BYTES_OF_ALL) -> None:
        self.left_bytes = size_bytes


class Intake:
    """The bytes of one client.

    Invariant: bytes are handed out in the order in which they came.
    """

    def __init__(
        self, stream: trio.SocketStream, room: SpareRoom, departure: Departure | None = None
    ) -> None:
        """`departure` is told when the client has left, or nothing more is read from it."""
        self.has_ended = departure or Departure()
        self._stream = stream
        self._room = room
        self._spare: deque[bytes] = deque()
        self._spare_bytes = 0
        self._hold: trio.CancelScope | None = None  # while what was read is not taken yet
        self._known_hold: trio.CancelScope | None = None  # the one at the last `read_on`

    @property
    def is_empty(self) -> bool:
        """Nothing was read that was not handed out."""
        return not self._spare

    async def read(self) -> bytes:
        """The next bytes; empty at the end.

        Raises:
            trio.ClosedResourceError, trio.BrokenResourceError: the connection is no more.
        """
        if self._spare:
            piece = self._spare.popleft()
            self._give_back(len(piece))
            return piece
        return bytes(await self._stream.receive_some(READ_BYTES))

    async def hand_on(self, take: Callable[[], Awaitable[None]]) -> bool:
        """Wait until `take` has taken what was read; False if the client left meanwhile."""
        with trio.CancelScope() as hold:
            self._hold = hold
            await take()
        self._hold = None
        return not hold.cancelled_caught

    def close(self) -> None:
        """Forget what was read on and not handed out."""
        self._spare.clear()
        self._give_back(self._spare_bytes)

    def _give_back(self, size_bytes: int) -> None:
        self._spare_bytes -= size_bytes
        self._room.left_bytes += size_bytes

    @property
    def held_descriptor(self) -> int | None:
        """See `departures`."""
        if self._hold is None:
            return None
        descriptor = self._stream.socket.fileno()
        return None if descriptor < 0 else descriptor

    def end_hold(self) -> None:
        """See `departures`."""
        if self._hold is not None:
            self._hold.cancel()

    def read_on(self, most_bytes: int) -> int:
        """See `departures`. What is held for the first time may be taken in the next moment."""
        descriptor = self.held_descriptor
        if self._hold is not self._known_hold or descriptor is None:
            self._known_hold = self._hold
            return 0
        room_bytes = min(most_bytes, SPARE_BYTES - self._spare_bytes, self._room.left_bytes)
        read_bytes = 0
        while read_bytes < room_bytes:
            try:
                piece = os.read(descriptor, min(READ_BYTES, room_bytes - read_bytes))
            except BlockingIOError:
                break
            except OSError:
                piece = b""
            if not piece:
                self.end_hold()
                break
            self._spare.append(piece)
            read_bytes += len(piece)
        self._give_back(-read_bytes)
        return read_bytes
