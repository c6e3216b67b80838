"""One request in the fast lane, as its app sees it: ASGI messages in, ASGI messages out.

This file must not know how a request came to be here, nor what follows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from miles_router.net.closing import reset
from miles_router.net.departures import LEFT_KEY
from miles_router.net.framing import framing_of
from miles_router.net.request_head import TARGET_KEY
from miles_router.net.server_config import BODY_PAUSE_S
from miles_router.net.wire import SocketWire

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from miles_router.net.framing import Framing
    from miles_router.net.lane import Lane
    from miles_router.net.pipe import Pipe
    from miles_router.net.plain import Target
    from miles_router.net.request_head import RequestHead

    Message = dict[str, Any]

# In the start of an answer: a piece of its body, or its end, follows at once.
FOLLOWED_KEY = "miles_router.followed"
# In a piece of the body: a pipe that holds it. Only where the scope has the key as well.
PIPE_KEY = "miles_router.pipe"
READ_BYTES = 65_536
# What ends a connection from outside.
GONE = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)
_FAILED = b"HTTP/1.1 500 \r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class OutOfTurn(Exception):
    """An app sent a message that is not its turn, or that nobody knows."""


def scope_of(lane: Lane, head: RequestHead, target: Target) -> dict[str, Any]:
    """The ASGI scope of a request."""
    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "asgi": {"spec_version": "2.1", "version": "3.0"},
        "method": head.method.decode("ascii"),
        "scheme": "http",
        "path": target.path,
        "raw_path": target.raw_path,
        "query_string": target.query,
        "root_path": "",
        "headers": head.headers,
        "client": lane.client,
        "server": lane.server,
        "state": {},
        "extensions": {},
        TARGET_KEY: head.target,
        LEFT_KEY: lane.departure,
    }
    if lane.parking is not None:  # nothing stands between the relay and the client
        scope[PIPE_KEY] = True
    return scope


class Call:
    """The messages of one request and of its answer."""

    __slots__ = (
        "_closes",
        "_framing",
        "_is_body_due",
        "_is_over",
        "_lane",
        "_unsent",
        "_waiting",
        "left_bytes",
    )

    def __init__(
        self, lane: Lane, body_bytes: int, *, closes: bool, framing: Framing | None = None
    ) -> None:
        """`framing`: of an answer whose head is written."""
        self._lane = lane
        self._closes = closes
        self._framing = framing
        self._is_body_due = True
        self._is_over = False
        self._unsent = b""  # the head of the answer, if a piece of its body is to come along
        self._waiting: trio.CancelScope | None = None
        self.left_bytes = body_bytes  # of the request's body, that the app has not taken

    async def receive(self) -> Message:
        """The next message for the app."""
        if not self._is_body_due:
            await self._wait_for_end()
            return {"type": "http.disconnect"}
        lane = self._lane
        if self.left_bytes and not lane.data:
            with trio.move_on_after(BODY_PAUSE_S):
                await self._read(self.left_bytes)
            if not lane.data:
                lane.departure.set()
                return {"type": "http.disconnect"}
        piece = lane.take(self.left_bytes)
        self.left_bytes -= len(piece)
        self._is_body_due = self.left_bytes > 0
        return {"type": "http.request", "body": piece, "more_body": self._is_body_due}

    async def _read(self, most_bytes: int) -> None:
        """Read on; `departure` tells if the client has left."""
        lane = self._lane
        try:
            data = await lane.wire.read(min(most_bytes, READ_BYTES))
        except GONE:
            data = b""
        lane.data += data
        if not data:
            lane.departure.set()

    async def _wait_for_end(self) -> None:
        """Return when the client has left, or the answer is complete."""
        lane = self._lane
        while not (self._is_over or lane.departure.is_set()):
            with trio.CancelScope() as self._waiting:
                if len(lane.data) < READ_BYTES:
                    await self._read(READ_BYTES)
                else:
                    await lane.departure.wait()
        self._waiting = None

    async def send(self, message: Message) -> None:
        """Take a message of the app.

        Raises:
            h11.LocalProtocolError: it cannot be said in HTTP.
            OutOfTurn: it is not its turn.
        """
        kind = message["type"]
        framing = self._framing
        if kind == "http.response.body" and framing is not None and not self._is_over:
            is_last = not message.get("more_body", False)
            body = bytes(message.get("body", b""))
            pipe: Pipe | None = message.get(PIPE_KEY)
            if pipe is not None:
                body = await self._pour(pipe, framing)
            pieces = framing.body(body, is_last=is_last)
            if self._unsent:
                pieces = (self._unsent, *pieces)
                self._unsent = b""
            if pieces:
                await self._write(*pieces)
            if is_last:
                self._end()
        elif kind == "http.response.start" and framing is None:
            is_early = self.left_bytes > len(self._lane.data)  # no request may follow it
            framing = self._framing = framing_of(message, closes=self._closes or is_early)
            if FOLLOWED_KEY in message:
                self._unsent = framing.head
            else:
                await self._write(framing.head)
        else:
            place = "before an answer" if framing is None else "in mid-answer"
            raise OutOfTurn(f"{kind} {'after the answer' if self._is_over else place}")

    async def _pour(self, pipe: Pipe, framing: Framing) -> bytes:
        """Write what `pipe` holds; or return it, if it is to be framed first."""
        lane = self._lane
        if not isinstance(lane.wire, SocketWire) or not framing.skip(len(pipe)):
            return pipe.take()
        if self._unsent:
            unsent, self._unsent = self._unsent, b""
            await self._write(unsent)
        await self._finish_writing(lane.wire.pour(pipe))
        return b""

    async def _write(self, *pieces: bytes) -> None:
        """Write to the client."""
        await self._finish_writing(self._lane.wire.write(*pieces))

    async def _finish_writing(self, writing: Awaitable[None]) -> None:
        """Cancellation: the connection is reset, for bytes are missing."""
        lane = self._lane
        try:
            await writing
        except GONE:
            lane.departure.set()
        except trio.Cancelled:
            reset(lane.stream)
            raise

    def _end(self) -> None:
        self._is_over = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def finish(self) -> bool:
        """The app has returned: say what it left unsaid. Whether the connection may go on."""
        if self._is_over:
            lane = self._lane
            if 0 < self.left_bytes <= len(lane.data):
                lane.take(self.left_bytes)
                self.left_bytes = 0
            is_kept = self._framing is not None and not self._framing.closes
            return is_kept and not self.left_bytes
        if self._framing is None:
            await self._write(_FAILED)
        elif self._unsent:
            await self._write(self._unsent)
        self._end()
        return False
