"""An answer in chunks that the express passes on as they come, without a task.

Each piece is written to the client in the callback that tells of it. What is not the answer's
proper end is for the task of the client's connection, which takes the answer up in its middle: the
worker's end or a fault in its chunks, a client that left, an abort. This file must not know
sockets, heads, retries or the books.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from miles_router.errors import WorkerFault

if TYPE_CHECKING:
    from miles_router.net.begun import Begun
    from miles_router.net.framing import Framing
    from miles_router.net.upstream import Connection


class BegunStream:
    """The answer to one request, from its head on.

    It does not know its `Begun`, which knows it: what refers to each other is garbage that has to
    be collected.
    """

    __slots__ = ("_connection", "framing")

    def __init__(self, connection: Connection, framing: Framing) -> None:
        self._connection = connection
        self.framing = framing

    def begin(self, begun: Begun) -> None:
        """Write the head, with what came along."""
        self._pass_on(begun, self.framing.head)

    def take(self, begun: Begun, data: bytes) -> None:
        """Pass on what the worker has sent."""
        try:
            self._connection.take(data)
        except WorkerFault as fault:
            begun.fault = fault
            begun.hand_over()
        else:
            self._pass_on(begun, b"")

    def _pass_on(self, begun: Begun, start: bytes) -> None:
        """Write `start`, and the chunks that llhttp has read."""
        connection, body = self._connection, self.framing.body
        written = [start] if start else []
        size_bytes = 0
        for chunk in connection.take_chunks():
            size_bytes += len(chunk)
            written += body(chunk, is_last=False)
        if connection.is_answered:
            begun.is_answered = True
            written += body(b"", is_last=True)
        if written:
            begun.running.bytes_out += size_bytes
            begun.express.services.metrics.bytes_out += size_bytes
            begun.write(b"".join(written))
