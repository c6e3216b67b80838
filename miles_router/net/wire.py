"""The bytes of one connection, read and written with as little in between as can be.

trio's own sockets yield to the scheduler after every call that succeeds, which costs a relayed
request some 15 us. Here a read waits until there is something and takes it; a write takes what the
kernel has room for and waits only for the rest. So a read is always a checkpoint, and a write is
none unless it has to wait. TLS, and streams in memory, go through their stream. This file must not
know HTTP.

Invariant: bytes leave in the order of the calls; a cancelled write may have sent a part.
"""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING, Protocol

import trio

if TYPE_CHECKING:
    from miles_router.net.dial import Stream
    from miles_router.net.pipe import Pipe


class Wire(Protocol):
    """One connection."""

    async def read(self, most_bytes: int) -> bytes:
        """The next bytes, as soon as there are any; empty at the end.

        Raises:
            trio.ClosedResourceError, trio.BrokenResourceError, OSError: the connection is no more.
        """

    async def write(self, *pieces: bytes | memoryview) -> None:
        """Write `pieces`. Cancellation: a part of them may have been sent.

        Raises:
            trio.ClosedResourceError, trio.BrokenResourceError, OSError: the connection is no more.
        """

    def is_readable(self) -> bool:
        """Whether a read would end at once."""


class SocketWire:
    """A plain TCP connection."""

    __slots__ = ("_poll", "_socket")

    def __init__(self, stream: trio.SocketStream) -> None:
        self._socket = stream.socket
        self._poll: select.poll | None = None

    async def read(self, most_bytes: int) -> bytes:
        """See `Wire`."""
        descriptor = self._descriptor()
        while True:
            await trio.lowlevel.wait_readable(descriptor)
            try:
                return os.read(descriptor, most_bytes)
            except BlockingIOError:  # somebody else read it
                continue

    async def write(self, *pieces: bytes | memoryview) -> None:
        """See `Wire`."""
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        descriptor = self._descriptor()
        try:
            sent = os.write(descriptor, data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            await self._write_rest(descriptor, memoryview(data)[sent:])

    async def _write_rest(self, descriptor: int, rest: memoryview) -> None:
        while rest:
            await trio.lowlevel.wait_writable(descriptor)
            try:
                sent = os.write(descriptor, rest)
            except BlockingIOError:
                continue
            rest = rest[sent:]

    async def fill(self, pipe: Pipe, most_bytes: int) -> int:
        """Move the next bytes into `pipe`, as soon as there are any; 0 at the end.

        Raises:
            trio.ClosedResourceError, OSError: the connection is no more.
        """
        descriptor = self._descriptor()
        while True:
            await trio.lowlevel.wait_readable(descriptor)
            try:
                return pipe.fill(descriptor, most_bytes)
            except BlockingIOError:
                continue

    async def pour(self, pipe: Pipe) -> None:
        """Write all that `pipe` holds. Cancellation: a part of it may have been sent.

        Raises:
            trio.ClosedResourceError, OSError: the connection is no more.
        """
        descriptor = self._descriptor()
        while len(pipe):
            try:
                pipe.pour(descriptor)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(descriptor)

    def _descriptor(self) -> int:
        """Asked for anew at each call: the number of a closed socket may be another's."""
        descriptor = self._socket.fileno()
        if descriptor < 0:
            raise trio.ClosedResourceError("the connection was closed here")
        return descriptor

    def is_readable(self) -> bool:
        """See `Wire`; kept ready, for each request asks."""
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._descriptor(), select.POLLIN)
        return bool(self._poll.poll(0))


class StreamWire:
    """Any stream of trio's."""

    __slots__ = ("_stream",)

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def read(self, most_bytes: int) -> bytes:
        """See `Wire`."""
        return bytes(await self._stream.receive_some(most_bytes))

    async def write(self, *pieces: bytes | memoryview) -> None:
        """See `Wire`."""
        await self._stream.send_all(b"".join(pieces))

    def is_readable(self) -> bool:
        """See `Wire`."""
        stream = self._stream
        under = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
        return under.socket.is_readable()


def read_now(descriptor: int, most_bytes: int) -> bytes | None:
    """What there is to read; None where there is nothing, empty at the end and after a reset."""
    try:
        return os.read(descriptor, most_bytes)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def wire_of(stream: Stream) -> Wire:
    """The fastest way to the bytes of `stream`."""
    return SocketWire(stream) if isinstance(stream, trio.SocketStream) else StreamWire(stream)
