"""One HTTP/1.1 connection to a worker: write a request, read an answer as it arrives.

Parsing is llhttp's (httptools, strict). Body bytes are handed on in the pieces in which they came;
nothing is decoded, joined or kept. This file must not know retries, leases or ASGI.

Invariant: `is_reusable` is True only after a complete answer with nothing behind it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import httptools
import trio

from miles_router.errors import WorkerBroke
from miles_router.net.tolerance import broken_answers

if TYPE_CHECKING:
    from miles_router.core.headers import Headers
    from miles_router.core.worker import Worker
    from miles_router.net.dial import Stream

# Large reads: a 67 MB answer costs 256 wake-ups; below, the syscalls show, above, memory does.
READ_BYTES = 262_144
# SGLang's heads are under 1 KB; beyond this a peer is not talking HTTP to us.
MAX_HEAD_BYTES = 131_072


class AnswerHead:
    """Status line and headers of an answer; names in lower case."""

    __slots__ = ("headers", "status")

    def __init__(self, status: int, headers: Headers) -> None:
        self.status = status
        self.headers = headers


class _AnswerEvents:
    """What llhttp calls back while it reads one answer (interim ones are skipped)."""

    __slots__ = (
        "chunks",
        "has_more",
        "headers",
        "is_complete",
        "is_headed",
        "keeps_alive",
        "parser",
        "status",
    )

    def __init__(self) -> None:
        self.parser: httptools.HttpResponseParser
        self.status = 0
        self.headers: Headers = []
        self.chunks: deque[bytes] = deque()
        self.is_headed = False
        self.is_complete = False
        self.keeps_alive = False
        self.has_more = False  # something came behind the answer

    def on_message_begin(self) -> None:
        self.has_more = self.is_complete

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.is_headed:  # trailers come after the body and stop here
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self.is_complete:
            return
        self.status = self.parser.get_status_code()
        if self.status < 100:
            raise ValueError("there is no such status")
        if self.status == 101:
            raise ValueError("the worker switched protocols without being asked")
        self.is_headed = self.status >= 200
        # llhttp forgets what decides this when the message is complete.
        self.keeps_alive = bool(self.parser.should_keep_alive())

    def on_body(self, body: bytes) -> None:
        if not self.is_complete:
            self.chunks.append(body)

    def on_message_complete(self) -> None:
        if self.is_headed:
            self.is_complete = True
        else:
            self.headers = []


class Connection:
    """A connection to one worker, used for one exchange at a time."""

    __slots__ = (
        "_events",
        "_has_failed",
        "_head_bytes",
        "_is_closed",
        "_is_head",
        "_until_close",
        "idle_since",
        "is_reused",
        "stream",
        "worker",
    )

    def __init__(self, worker: Worker, stream: Stream) -> None:
        self.worker = worker
        self.stream = stream
        self.is_reused = False
        self.idle_since = 0.0
        self._is_closed = False
        self._reset(is_head=False)

    def _reset(self, *, is_head: bool) -> None:
        self._events = _AnswerEvents()
        self._events.parser = httptools.HttpResponseParser(self._events)
        self._is_head = is_head
        self._until_close = False
        self._has_failed = False
        self._head_bytes = 0

    @property
    def socket(self) -> trio.socket.SocketType:
        """The TCP socket underneath."""
        if isinstance(self.stream, trio.SSLStream):
            return self.stream.transport_stream.socket
        return self.stream.socket

    def close(self) -> None:
        """Close at once, without a goodbye; may be repeated."""
        if not self._is_closed:
            self._is_closed = True
            self.socket.close()

    async def send(self, data: bytes) -> None:
        """Write bytes of a request.

        Raises:
            WorkerBroke: the worker closed the connection.
        """
        with broken_answers(self.worker.url):
            await self.stream.send_all(data)

    def begin(self, *, is_head: bool) -> None:
        """Prepare for the answer to a request that is about to be written."""
        self._reset(is_head=is_head)

    async def read_head(self) -> AnswerHead:
        """Wait for the head of the answer.

        Raises:
            WorkerBroke: the connection ended first, or what came is not HTTP.
        """
        events = self._events
        with broken_answers(self.worker.url):
            while not events.is_headed:
                if not await self._feed():
                    raise WorkerBroke(
                        f"{self.worker.url}: the worker closed the connection without an answer"
                    )
                if not events.is_headed and self._head_bytes > MAX_HEAD_BYTES:
                    raise WorkerBroke(f"{self.worker.url}: the head of the answer has no end")
        for name, value in events.headers:
            if name == b"transfer-encoding" and value.strip().lower() != b"chunked":
                # Its other codings would end here, and the client could not read the body.
                raise WorkerBroke(
                    f"{self.worker.url}: the answer has an unknown Transfer-Encoding, {value!r}"
                )
        self._until_close = not events.is_complete and _ends_with_connection(events)
        if self._is_head:
            events.is_complete = True
            events.has_more = events.has_more or bool(events.chunks)
            events.chunks.clear()
        return AnswerHead(events.status, events.headers)

    async def read_chunk(self) -> bytes | None:
        """The next piece of the body; None after the last one.

        Raises:
            WorkerBroke: the connection ended before the answer did.
        """
        events = self._events
        with broken_answers(self.worker.url):
            while not events.chunks and not events.is_complete:
                if await self._feed():
                    continue
                if not self._until_close:
                    raise WorkerBroke(
                        f"{self.worker.url}: the worker closed the connection in mid-answer"
                    )
                events.is_complete = True
        return events.chunks.popleft() if events.chunks else None

    async def _feed(self) -> bool:
        """Read once and parse; False at the end of the stream."""
        data = await self.stream.receive_some(READ_BYTES)
        if not data:
            return False
        self._head_bytes += len(data)
        try:
            self._events.parser.feed_data(data)
        except httptools.HttpParserError:
            self._has_failed = True
            if not self._events.is_complete:  # else: bytes behind a complete answer, ignored
                raise
        return True

    @property
    def is_reusable(self) -> bool:
        """Whether the next request may use this connection."""
        return (
            self._events.is_complete
            and not self._is_closed
            and not self._has_failed
            and not self._until_close
            and not self._events.has_more
            and not self._events.chunks
            and self._events.keeps_alive
        )

    @property
    def has_answer_bytes(self) -> bool:
        """Whether anything of the present answer has arrived."""
        return self._head_bytes > 0


def _ends_with_connection(events: _AnswerEvents) -> bool:
    """Whether only the end of the connection ends the body (RFC 9112, 6.3, case 8)."""
    if events.status in {204, 304}:
        return False
    return not any(name in {b"content-length", b"transfer-encoding"} for name, _ in events.headers)


def request_head(
    method: str, target: bytes, authority: str, headers: Headers, *, framing: Headers
) -> bytes:
    """The bytes of a request line and its headers. `framing` is content-length or the like."""
    parts = [
        method.encode("ascii"),
        b" ",
        target,
        b" HTTP/1.1\r\nhost: ",
        authority.encode("ascii"),
    ]
    for name, value in (*headers, *framing):
        parts += (b"\r\n", name, b": ", value)
    parts.append(b"\r\n\r\n")
    return b"".join(parts)
