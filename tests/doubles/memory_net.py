"""Duplex byte streams in memory that can stand for a TCP connection, with a bounded buffer.

Unlike `trio.testing.memory_stream_pair` they block a writer whose peer does not read, and carry a
`socket` with what the router asks of one: close, reset, is_readable, names.
"""

from __future__ import annotations

import socket

import trio

CAPACITY_BYTES = 262_144


class _Channel:
    """One direction."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        self._lot = trio.lowlevel.ParkingLot()
        self.data = bytearray()
        self.has_ended = False  # the writer is done
        self.is_broken = False  # the reader is gone, or the connection was reset

    def wake(self) -> None:
        self._lot.unpark_all()

    async def put(self, data: bytes, owner: MemoryStream) -> None:
        await trio.lowlevel.checkpoint()
        view = memoryview(data)
        while True:
            if owner.is_closed:
                raise trio.ClosedResourceError
            if self.is_broken or self.has_ended:
                raise trio.BrokenResourceError
            room = self._capacity_bytes - len(self.data)
            if room > 0 and view:
                self.data += view[:room]
                view = view[room:]
                self.wake()
            if not view:
                return
            await self._lot.park()

    async def get(self, max_bytes: int, owner: MemoryStream) -> bytes:
        await trio.lowlevel.checkpoint()
        while True:
            if owner.is_closed:
                raise trio.ClosedResourceError
            if self.is_broken:
                raise trio.BrokenResourceError
            if self.data or self.has_ended:
                break
            await self._lot.park()
        piece = bytes(self.data[:max_bytes])
        del self.data[:max_bytes]
        self.wake()
        return piece


class MemorySocket:
    """What the router asks of the socket under a stream."""

    family = socket.AF_INET

    def __init__(self, stream: MemoryStream) -> None:
        self._stream = stream
        self._resets_on_close = False

    def fileno(self) -> int:
        return -1

    def getpeername(self) -> tuple[str, int]:
        return ("127.0.0.1", 40_000)

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 30_000)

    def setsockopt(self, _level: int, option: int, _value: object) -> None:
        if self._stream.is_closed:
            raise OSError("closed")
        self._resets_on_close = option == socket.SO_LINGER

    def is_readable(self) -> bool:
        return self._stream.is_readable()

    def close(self) -> None:
        self._stream.shut(reset=self._resets_on_close)


class MemoryStream(trio.abc.HalfCloseableStream):
    """One end of a connection."""

    def __init__(self, incoming: _Channel, outgoing: _Channel) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self.is_closed = False
        self.was_reset = False
        self.socket = MemorySocket(self)

    def is_readable(self) -> bool:
        return bool(self._incoming.data) or self._incoming.has_ended or self._incoming.is_broken

    @property
    def unread_bytes(self) -> int:
        """What the peer wrote and nobody took yet."""
        return len(self._incoming.data)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._outgoing.put(bytes(data), self)

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.is_closed:
            raise trio.ClosedResourceError
        self._outgoing.has_ended = True
        self._outgoing.wake()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self._incoming.get(max_bytes or 65_536, self)

    async def aclose(self) -> None:
        self.shut()
        await trio.lowlevel.checkpoint()

    def shut(self, *, reset: bool = False) -> None:
        """Close; with `reset`, the peer loses what it has not read yet."""
        if self.is_closed:
            return
        self.is_closed = True
        self.was_reset = reset
        self._outgoing.has_ended = True
        self._outgoing.is_broken |= reset
        self._incoming.is_broken = True
        self._incoming.wake()
        self._outgoing.wake()


def memory_connection(
    capacity_bytes: int = CAPACITY_BYTES,
) -> tuple[MemoryStream, MemoryStream]:
    """Both ends of a new connection; each direction buffers at most `capacity_bytes`."""
    there, back = _Channel(capacity_bytes), _Channel(capacity_bytes)
    return MemoryStream(back, there), MemoryStream(there, back)
