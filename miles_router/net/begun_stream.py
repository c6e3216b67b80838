"""An answer in chunks that the express passes on as they come, without a task.

Each piece is written to the client in the callback that tells of it. While a client takes no more,
its worker is not read: so a slow client slows its worker, and no more than one read is kept. What
is not the answer's proper end is for the task of the client's connection, which takes the answer up
in its middle: the worker's end or a fault in its chunks, a client that left, an abort. This file
must not know heads, retries or the books.

Invariant: nothing is read of the worker while something is left to write.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from miles_router.errors import WorkerFault
from miles_router.net.readiness import LEFT

if TYPE_CHECKING:
    from miles_router.net.begun import Begun
    from miles_router.net.framing import Framing
    from miles_router.net.upstream import Connection

# A token is a few hundred bytes; what comes in bulk comes in reads like the task's.
READ_BYTES = 262_144


class BegunStream:
    """The answer to one request, from its head on.

    It does not know its `Begun`, which knows it: what refers to each other is garbage that has to
    be collected.
    """

    __slots__ = ("_connection", "_is_complete", "_is_told", "framing", "unwritten")

    def __init__(self, connection: Connection, framing: Framing) -> None:
        self._connection = connection
        self._is_complete = False  # the worker has said all of it
        self._is_told = False  # that there is more, while the client took none
        self.framing = framing
        self.unwritten: bytes | memoryview = b""

    @property
    def is_complete(self) -> bool:
        """The worker has nothing more to say, and may not be told to stop."""
        return self._is_complete

    def begin(self, begun: Begun) -> None:
        """Write the head, with what came along."""
        self._pass_on(begun, self.framing.head)

    def on_ready(self, begun: Begun, events: int) -> None:
        """The worker has sent something, or closed the connection."""
        if self.unwritten:
            self._is_told = True
            return
        connection = self._connection
        try:
            data = os.read(connection.descriptor, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # whoever reads next finds the connection's end
            data = b""
        if not data:  # before the last chunk
            begun.hand_over()
            return
        begun.note_read()
        try:
            connection.take(data)
        except WorkerFault as fault:
            begun.fault = fault
            begun.hand_over()
            return
        self._pass_on(begun, b"")
        if events & LEFT or len(data) == READ_BYTES:  # there is more, or the end, and not told of
            self.read_again(begun)

    def read_again(self, begun: Begun) -> None:
        """Have what the worker said, or its end, told once more."""
        if begun.is_over:
            return
        if self.unwritten:
            self._is_told = True
        else:
            self._connection.watch.tell_again()

    def _pass_on(self, begun: Begun, start: bytes) -> None:
        """Write `start`, and the chunks that llhttp has read."""
        connection, body = self._connection, self.framing.body
        written = [start] if start else []
        size_bytes = 0
        for chunk in connection.take_chunks():
            size_bytes += len(chunk)
            written += body(chunk, is_last=False)
        if connection.is_answered:
            self._is_complete = True
            written += body(b"", is_last=True)
        if written:
            express = begun.express
            begun.running.bytes_out += size_bytes
            express.services.metrics.bytes_out += size_bytes
            is_written = self._write(begun, b"".join(written))
            begun.own_s += express.now() - begun.read_at
            if is_written and self._is_complete:
                express.conclude(begun)

    def _write(self, begun: Begun, data: bytes | memoryview) -> bool:
        """Whether the client took all of it."""
        try:
            sent_bytes = os.write(begun.lane.descriptor, data)
        except BlockingIOError:
            sent_bytes = 0
        except OSError:
            begun.lane.note_hangup()
            return False
        self.unwritten = memoryview(data)[sent_bytes:] if sent_bytes < len(data) else b""
        return not self.unwritten

    def write_on(self, begun: Begun) -> None:
        """The client has room for more."""
        if not self.unwritten:
            return
        if not self._write(begun, self.unwritten):
            return
        if self._is_complete:
            begun.express.conclude(begun)
        elif self._is_told:
            self._is_told = False
            self.read_again(begun)
