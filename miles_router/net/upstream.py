"""One HTTP/1.1 connection to a worker: write a request, read an answer as it arrives.

Parsing is llhttp's (httptools, strict). Body bytes are handed on in the pieces in which they came;
nothing is decoded, joined or kept; the rest of a body of known length is only counted. This file
must not know retries, leases or ASGI.

Invariant: `is_reusable` is True only after a complete answer with nothing behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httptools
import trio

from miles_router.errors import WorkerBroke
from miles_router.net.pipe import LEAST_BYTES
from miles_router.net.reading import AnswerHead, AnswerReading
from miles_router.net.socket_watch import SocketWatch
from miles_router.net.tolerance import BROKEN_ANSWER, BROKEN_CONNECTION, broken_answer
from miles_router.net.wire import SocketWire, wire_of

if TYPE_CHECKING:
    from miles_router.core.worker import Worker
    from miles_router.net.dial import Stream
    from miles_router.net.pipe import Pipe

# Large reads: a 67 MB answer costs 256 wake-ups; below, the syscalls show, above, memory does.
READ_BYTES = 262_144
# SGLang's heads are under 1 KB; beyond this a peer is not talking HTTP to us.
MAX_HEAD_BYTES = 131_072


class Connection:
    """A connection to one worker, used for one exchange at a time."""

    __slots__ = (
        "_answer",
        "_has_failed",
        "_head_bytes",
        "_is_closed",
        "_is_head",
        "_left_bytes",
        "_until_close",
        "_wire",
        "authority",
        "idle_since",
        "is_reused",
        "stream",
        "watch",
        "worker",
    )

    def __init__(self, worker: Worker, stream: Stream) -> None:
        self.worker = worker
        self.authority = worker.spec.url.authority  # for the Host header
        self.stream = stream
        self.is_reused = False
        self.idle_since = 0.0
        self._wire = wire_of(stream)
        self.watch = SocketWatch(self.socket.fileno())
        self._is_closed = False
        self._answer = AnswerReading()
        self.begin(is_head=False)

    def begin(self, *, is_head: bool) -> None:
        """Prepare for the answer to a request that is about to be written."""
        self._answer.begin()
        self._is_head = is_head
        self._until_close = False
        self._has_failed = False
        self._head_bytes = 0
        self._left_bytes = 0  # of a body whose length is known, while llhttp need not see it

    @property
    def socket(self) -> trio.socket.SocketType:
        """The TCP socket underneath."""
        if isinstance(self.stream, trio.SSLStream):
            return self.stream.transport_stream.socket
        return self.stream.socket

    @property
    def is_readable(self) -> bool:
        """Something came, or the worker closed it: while nothing is asked, it is of no more use."""
        return self._wire.is_readable()

    def close(self) -> None:
        """Close at once, without a goodbye; may be repeated."""
        if not self._is_closed:
            self._is_closed = True
            self._answer.parser = None
            self.watch.close()
            self.socket.close()

    @property
    def descriptor(self) -> int:
        """Of the TCP socket underneath; -1 if it was closed here."""
        return self.watch.descriptor

    async def send(self, data: bytes | memoryview) -> None:
        """Write bytes of a request.

        Raises:
            WorkerBroke: the worker closed the connection.
        """
        try:
            await self._wire.write(data)
        except BROKEN_ANSWER as error:
            raise broken_answer(self.worker.url, error) from error

    async def read_head(self) -> AnswerHead:
        """Wait for the head of the answer.

        Raises:
            WorkerBroke: the connection ended first, or what came is not HTTP.
        """
        answer = self._answer
        while not answer.is_headed:
            if not await self._feed():
                raise WorkerBroke(
                    f"{self.worker.url}: the worker closed the connection without an answer"
                )
            if not answer.is_headed and self._head_bytes > MAX_HEAD_BYTES:
                raise WorkerBroke(f"{self.worker.url}: the head of the answer has no end")
        self._note_framing()
        return AnswerHead(answer.status, answer.headers)

    def _note_framing(self) -> None:
        """See how the body of the answer will end."""
        answer = self._answer
        length: bytes | None = None
        is_chunked = False
        for name, value in answer.headers:
            if name == b"content-length":
                length = value
            elif name == b"transfer-encoding":
                is_chunked = True
                if value.strip().lower() != b"chunked":
                    # Its other codings would end here, and the client could not read the body.
                    raise WorkerBroke(
                        f"{self.worker.url}: the answer has an unknown Transfer-Encoding, {value!r}"
                    )
        if self._is_head:
            answer.has_more = answer.has_more or bool(answer.chunks)
            answer.chunks.clear()
            answer.end()
        elif not answer.is_complete and not is_chunked:
            if length is not None:
                self._left_bytes = int(length) - sum(map(len, answer.chunks))
            else:  # only its end ends the body (RFC 9112, 6.3, case 8)
                self._until_close = answer.status not in {204, 304}

    def take_chunk(self) -> bytes | None:
        """A piece of the body that is here already; None if there is none."""
        chunks = self._answer.chunks
        return chunks.popleft() if chunks else None

    def take_chunks(self) -> list[bytes]:
        """All pieces of the body that are here."""
        chunks = list(self._answer.chunks)
        self._answer.chunks.clear()
        return chunks

    @property
    def has_more_at_hand(self) -> bool:
        """A piece of the body has come and was not taken, or its end."""
        return self._answer.is_complete or bool(self._answer.chunks)

    @property
    def is_received(self) -> bool:
        """The answer is complete; pieces of it may wait to be taken."""
        return self._answer.is_complete

    @property
    def is_answered(self) -> bool:
        """The answer is complete and every piece of it was taken."""
        return self._answer.is_complete and not self._answer.chunks

    async def read_chunk(self) -> bytes | None:
        """The next piece of the body; None after the last one.

        Raises:
            WorkerBroke: the connection ended before the answer did.
        """
        answer = self._answer
        while not answer.chunks and not answer.is_complete:
            if await self._feed():
                continue
            if not self._until_close:
                raise self._cut_off()
            answer.end()
        return answer.chunks.popleft() if answer.chunks else None

    def _cut_off(self) -> WorkerBroke:
        return WorkerBroke(f"{self.worker.url}: the worker closed the connection in mid-answer")

    @property
    def is_pipeable(self) -> bool:
        """What is to come of the answer may go through a pipe, and is worth one."""
        return (
            self._left_bytes >= LEAST_BYTES
            and not self._answer.chunks
            and isinstance(self._wire, SocketWire)
        )

    async def fill(self, pipe: Pipe) -> None:
        """Move the next of the body into `pipe`; only where `is_pipeable` was true.

        Raises:
            WorkerBroke: the connection ended before the answer did.
        """
        assert isinstance(self._wire, SocketWire), "others are copied"
        try:
            moved_bytes = await self._wire.fill(pipe, self._left_bytes)
        except BROKEN_CONNECTION as error:
            raise broken_answer(self.worker.url, error) from error
        if not moved_bytes:
            raise self._cut_off()
        self._left_bytes -= moved_bytes
        if not self._left_bytes:
            self._answer.end()

    async def _feed(self) -> bool:
        """Read once and parse; False at the end of the stream."""
        try:
            data = await self._wire.read(READ_BYTES)
        except BROKEN_CONNECTION as error:
            raise broken_answer(self.worker.url, error) from error
        if data:
            self.take(data)
        return bool(data)

    def take(self, data: bytes) -> None:
        """Parse bytes of the answer.

        Raises:
            WorkerBroke: what came is not HTTP.
        """
        answer = self._answer
        self._head_bytes += len(data)
        if self._left_bytes:
            self._pass_on(data)
            return
        try:
            answer.feed(data)
        except httptools.HttpParserError as error:
            self._has_failed = True
            if not answer.is_complete:  # else: bytes behind a complete answer, ignored
                raise broken_answer(self.worker.url, error) from error

    def early_head(self) -> AnswerHead | None:
        """The head of an answer that has come whole, or comes in chunks; None of any other.

        Raises:
            WorkerBroke: it is framed in an unknown way.
        """
        answer = self._answer
        if not answer.is_headed:
            return None
        self._note_framing()
        is_counted = self._left_bytes > 0
        if not answer.is_complete and (is_counted or self._until_close):
            return None
        return AnswerHead(answer.status, answer.headers)

    def _pass_on(self, data: bytes) -> None:
        """Count `data`, which is of a body of known length: llhttp would copy it."""
        answer = self._answer
        if len(data) > self._left_bytes:
            answer.has_more = True
            data = data[: self._left_bytes]
        answer.chunks.append(data)
        self._left_bytes -= len(data)
        if not self._left_bytes:
            answer.end()

    @property
    def is_reusable(self) -> bool:
        """Whether the next request may use this connection."""
        return self.goes_on and not self._answer.chunks

    @property
    def goes_on(self) -> bool:
        """Whether the next request may use this connection once the answer is taken."""
        answer = self._answer
        return (
            answer.is_complete
            and not self._is_closed
            and not self._has_failed
            and not self._until_close
            and not answer.has_more
            and answer.keeps_alive
        )

    @property
    def has_answer_bytes(self) -> bool:
        """Whether anything of the present answer has arrived."""
        return self._head_bytes > 0
