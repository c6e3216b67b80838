"""One call to an ASGI app in the same process, without a socket.

The app sees an ordinary HTTP/1.1 request from 127.0.0.1, so that what it checks of others it checks
here too. Runs in trio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from miles_router.tui.wire import WireCall

    Message = dict[str, Any]
    App = Callable[
        [dict[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
        Awaitable[None],
    ]


class NoAnswer(Exception):
    """The app returned, or the time was over, without a whole answer."""


async def asgi_call(app: App, call: WireCall, *, token: str | None = None) -> tuple[int, bytes]:
    """Status and body of the answer to `call`, sent with `token` as its bearer.

    Cancellation: the app is cancelled in mid-request; what it did until then stays.

    Raises:
        NoAnswer: none within `call.timeout_s`, or half of one.
    """
    exchange = _Exchange(call.body)
    with trio.move_on_after(call.timeout_s) as patience:
        await app(_scope(call, token), exchange.receive, exchange.send)
    if patience.cancelled_caught:
        raise NoAnswer(f"the router did not answer within {call.timeout_s:g} s")
    if not exchange.is_over.is_set():
        raise NoAnswer("the router did not answer")
    return exchange.status, bytes(exchange.body)


class _Exchange:
    """The server's side of one request."""

    def __init__(self, request_body: bytes) -> None:
        self._request_body: bytes | None = request_body
        self.status = 0
        self.body = bytearray()
        self.is_over = trio.Event()

    async def receive(self) -> Message:
        """The request, then, once it is answered, the end of the connection."""
        await trio.lowlevel.checkpoint()
        if self._request_body is not None:
            body, self._request_body = self._request_body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.is_over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take a part of the answer."""
        await trio.lowlevel.checkpoint()
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")
            if not message.get("more_body", False):
                self.is_over.set()


def _scope(call: WireCall, token: str | None) -> dict[str, Any]:
    path, _, query = call.target.partition("?")
    headers = [(b"host", b"miles-router"), (b"content-length", b"%d" % len(call.body))]
    if call.body:
        headers.append((b"content-type", b"application/json"))
    if token is not None:
        headers.append((b"authorization", b"Bearer " + token.encode("utf-8", "surrogateescape")))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": call.method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 0),
        "state": {},
        "extensions": {},
    }
