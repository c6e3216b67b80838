"""A small HTTP/1.1 server side on one trio stream, with every byte in reach.

It parses requests (httptools), hands them out one at a time, and writes replies. It must not know
what is served. A reader task runs beside the exchange, so a client that goes away cancels the
exchange at once. Invariant: at most one request is being answered per connection; pipelined ones
wait.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

import httptools
import msgspec
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

RECEIVE_BYTES = 65_536
UNREAD_LIMIT_BYTES = 1_048_576
"""Body bytes kept for a handler that does not read; beyond, the client has to wait."""

PHRASES = {
    100: "Continue", 200: "OK", 201: "Created", 202: "Accepted", 204: "No Content",
    206: "Partial Content", 301: "Moved Permanently", 302: "Found", 304: "Not Modified",
    307: "Temporary Redirect", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden",
    404: "Not Found", 405: "Method Not Allowed", 409: "Conflict", 413: "Content Too Large",
    418: "I'm a Teapot", 422: "Unprocessable Content", 429: "Too Many Requests",
    500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway",
    503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip


class ClientGone(Exception):
    """The peer closed or broke the connection, or sent what is not HTTP."""


@dataclass(slots=True)
class Request:
    """A request's head; its body comes from the connection."""

    method: str
    raw_target: bytes
    http_version: str
    headers: list[tuple[bytes, bytes]]
    keep_alive: bool
    connection: Connection
    is_body_complete: bool = False

    @property
    def path(self) -> str:
        """The path, percent-decoded, without the query."""
        return unquote(self.raw_target.split(b"?", 1)[0].decode("latin-1"))

    @property
    def query(self) -> dict[str, str]:
        """The query's last value for each name."""
        text = self.raw_target.partition(b"?")[2].decode("latin-1")
        return dict(parse_qsl(text, keep_blank_values=True))

    def header(self, name: str) -> str | None:
        """The first header of that name, in any case."""
        wanted = name.lower().encode()
        for key, value in self.headers:
            if key.lower() == wanted:
                return value.decode("latin-1")
        return None

    async def body(self) -> bytes:
        """The whole body; a second call gives nothing."""
        return b"".join([piece async for piece in self.body_pieces()])

    async def body_pieces(self) -> AsyncIterator[bytes]:
        """The body as it arrives."""
        while not self.is_body_complete:
            piece = await self.connection.next_body_piece()
            if piece is None:
                self.is_body_complete = True
            else:
                yield piece


@dataclass(frozen=True, slots=True)
class Reply:
    """A status, headers beyond the framing ones, and the body whole or in pieces."""

    status: int = 200
    body: bytes | AsyncGenerator[bytes, None] = b""
    headers: tuple[tuple[str, str], ...] = field(default=())

    @classmethod
    def json(cls, value: Any, status: int = 200) -> Reply:
        """A JSON body; NaN and infinities become null, as with SGLang's orjson."""
        return cls(status, msgspec.json.encode(value), (("content-type", "application/json"),))

    @classmethod
    def text(cls, text: str, status: int = 200, kind: str = "text/plain; charset=utf-8") -> Reply:
        """A text body."""
        return cls(status, text.encode(), (("content-type", kind),))


def head_bytes(status: int, headers: Mapping[str, str] | list[tuple[str, str]]) -> bytes:
    """Status line and headers, blank line included."""
    pairs = headers if isinstance(headers, list) else list(headers.items())
    lines = [f"HTTP/1.1 {status} {PHRASES.get(status, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in pairs]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def may_have_body(status: int, method: str) -> bool:
    """Whether HTTP allows a body in this answer."""
    return status >= 200 and status not in {204, 304} and method != "HEAD"


class Connection:
    """One client's connection.

    Args:
        stream: a socket or memory stream; the connection closes it.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.is_gone = False
        self._parser = httptools.HttpRequestParser(self)
        self._events: deque[Request | bytes | None] = deque()
        self._unread_bytes = 0
        self._arrived = trio.Event()
        self._taken = trio.Event()
        self._exchange: trio.CancelScope | None = None
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._expects_continue = False

    # httptools calls these while `receive` feeds it.
    def on_message_begin(self) -> None:  # noqa: D102
        self._target, self._headers = b"", []

    def on_url(self, url: bytes) -> None:  # noqa: D102
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:  # noqa: D102
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:  # noqa: D102
        parser = self._parser
        request = Request(
            method=parser.get_method().decode(),
            raw_target=self._target,
            http_version=parser.get_http_version(),
            headers=self._headers,
            keep_alive=parser.should_keep_alive(),
            connection=self,
        )
        expected = request.header("expect")
        self._expects_continue = expected is not None and expected.lower() == "100-continue"
        self._events.append(request)

    def on_body(self, data: bytes) -> None:  # noqa: D102
        self._events.append(data)
        self._unread_bytes += len(data)

    def on_message_complete(self) -> None:  # noqa: D102
        self._events.append(None)

    async def receive(self) -> None:
        """Feed the parser until the client is gone; then cancel the exchange that runs."""
        try:
            while True:
                while self._unread_bytes > UNREAD_LIMIT_BYTES:
                    self._taken = trio.Event()
                    await self._taken.wait()
                data = await self.stream.receive_some(RECEIVE_BYTES)
                if not data:
                    break
                self._parser.feed_data(data)
                self._wake()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except httptools.HttpParserUpgrade:
            # An upgrade is never granted: the request is answered as an ordinary one, then closed.
            await self._await_end()
        except httptools.HttpParserError:
            await self._refuse_garbage()
        self.is_gone = True
        self._wake()
        if self._exchange is not None:
            self._exchange.cancel()

    async def _await_end(self) -> None:
        self._wake()
        try:
            while await self.stream.receive_some(RECEIVE_BYTES):
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def _refuse_garbage(self) -> None:
        if self._exchange is not None:
            return
        body = b"Invalid HTTP request received."
        head = head_bytes(
            400,
            {
                "content-type": "text/plain; charset=utf-8",
                "content-length": str(len(body)),
                "connection": "close",
            },
        )
        try:
            await self.stream.send_all(head + body)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    def _wake(self) -> None:
        self._arrived.set()
        self._arrived = trio.Event()

    async def _next_event(self) -> Request | bytes | None:
        while not self._events:
            if self.is_gone:
                raise ClientGone
            await self._arrived.wait()
        return self._events.popleft()

    async def next_request(self) -> Request:
        """The next request's head; raises ClientGone when there will be none."""
        while True:
            event = await self._next_event()
            if isinstance(event, Request):
                return event
            if event is not None:
                self._note_taken(event)

    async def next_body_piece(self) -> bytes | None:
        """The next piece of the current body, None at its end."""
        if self._expects_continue and not self._events:
            await self.send(head_bytes(100, {}))
        self._expects_continue = False
        event = await self._next_event()
        if isinstance(event, Request):
            raise RuntimeError("a body ends before the next request begins")  # noqa: TRY004 - not input
        if event is not None:
            self._note_taken(event)
        return event

    def _note_taken(self, data: bytes) -> None:
        self._unread_bytes -= len(data)
        if self._unread_bytes <= UNREAD_LIMIT_BYTES:
            self._taken.set()

    def begin_exchange(self, scope: trio.CancelScope) -> None:
        """From here on, `scope` is cancelled when the client goes away."""
        self._exchange = scope
        if self.is_gone:
            scope.cancel()

    def end_exchange(self) -> None:
        """The request has been answered."""
        self._exchange = None

    async def send(self, data: bytes) -> None:
        """Send bytes; raises ClientGone when nobody is there to take them."""
        try:
            await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.is_gone = True
            raise ClientGone from None
