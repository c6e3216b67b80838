"""A request body on its way from the client: kept whole while it is small, streamed beyond.

Up to `REPLAY_BYTES` the body is read before a worker is chosen, so that it can be sent again to
another one and its rid can be read. A larger body is passed on piece by piece, with backpressure,
and can be sent once. This file must not know workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import trio

from miles_router.core.headers import Headers, first
from miles_router.errors import TooLarge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from miles_router.core.request import Rids
    from miles_router.net.departures import Departure

    Receive = Callable[[], Awaitable[dict[str, Any]]]

# In the scope of a request: a `KnownBody`.
KNOWN_KEY = "miles_router.known_body"
# A 128k-token prompt as input_ids is about 1 MB of JSON; with images, prompts reach tens of MB and
# are streamed. 1,000 requests in flight may hold this much each at worst.
REPLAY_BYTES = 4 * 1024 * 1024
# Larger bodies are written while the answer is read: a worker may answer before it has read them,
# and what the system's buffers do not hold would wait for ever. Smaller ones fit into those.
DIRECT_BYTES = 262_144


class ClientGone(Exception):
    """The client closed its connection."""


class KnownBody(msgspec.Struct, frozen=True, eq=False):
    """What a middleware that has read a body knows of it: nobody has to look at it again.

    Args:
        whole: the body, as it is to be sent.
        rids: what it names.
        receive: what follows the body.
    """

    whole: bytes
    rids: Rids
    receive: Receive

    def __repr__(self) -> str:  # prompts stay out of logs and tracebacks
        return f"<KnownBody of {len(self.whole)} bytes>"


class RequestBody:
    """The body of one request."""

    def __init__(
        self,
        receive: Receive,
        headers: Headers,
        *,
        max_bytes: int,
        departure: Departure | None = None,
        is_told: bool = False,
    ) -> None:
        """What is known of one request's body.

        Args:
            receive: the body's messages, then that the client has left.
            headers: of the request.
            max_bytes: what is larger is refused.
            departure: tells when the client leaves, where the server does so by itself.
            is_told: `departure` says all that `receive` would say behind the body.
        """
        length = first(headers, b"content-length")
        self.declared_bytes = None if length is None else int(length)
        self.is_chunked = first(headers, b"transfer-encoding") is not None
        self.prefix = b""
        self.is_whole = False
        self.is_replayable = False
        self._receive = receive
        self.departure = departure
        self.is_told = is_told
        self._max_bytes = max_bytes
        self._seen_bytes = 0
        if self.declared_bytes is not None and self.declared_bytes > max_bytes:
            raise self._too_large()

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"the body is larger than {self._max_bytes} bytes (--max-body-bytes)",
            max_body_bytes=self._max_bytes,
        )

    def take_up(self, whole: bytes) -> None:
        """All of it was read before, and is `whole`."""
        self.prefix = whole
        self._seen_bytes = len(whole)
        self.is_whole = self.is_replayable = True

    @property
    def is_pumped(self) -> bool:
        """Whether it is written while the answer is read."""
        return not self.is_replayable or len(self.prefix) > DIRECT_BYTES

    @property
    def size_bytes(self) -> int:
        """Body bytes received so far."""
        return self._seen_bytes

    async def read_ahead(self) -> None:
        """Read until the body is whole or `REPLAY_BYTES` are exceeded.

        Raises:
            ClientGone: the client left before the body was complete.
            TooLarge: more than the configured maximum.
        """
        self.prefix = await self._next()
        if self.is_whole:
            self.is_replayable = True
            return
        parts = [self.prefix]
        while not self.is_whole and self._seen_bytes <= REPLAY_BYTES:
            parts.append(await self._next())
        self.prefix = b"".join(parts)
        self.is_replayable = self.is_whole

    async def next_piece(self) -> bytes | None:
        """The next piece after `prefix`, as it arrives; None after the last one.

        Raises:
            ClientGone, TooLarge: see `read_ahead`.
        """
        while not self.is_whole:
            piece = await self._next()
            if piece:
                return piece
        return None

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece: bytes = message.get("body", b"")
        self._seen_bytes += len(piece)
        if self._seen_bytes > self._max_bytes:
            raise self._too_large()
        self.is_whole = not message.get("more_body", False)
        return piece

    async def wait_client_gone(self) -> None:
        """Return when the client has closed its connection; only after the body is whole."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def wait_left(self) -> None:
        """Return when the client has left, whoever takes the body; never where no server tells."""
        if self.departure is None:
            await trio.sleep_forever()
        else:
            await self.departure.wait()

    @property
    def _is_framed_in_chunks(self) -> bool:
        return not self.is_replayable and self.declared_bytes is None

    def framing(self) -> Headers:
        """The headers that frame this body on the way to the worker."""
        if self.is_replayable:
            if self.declared_bytes is None and not self.is_chunked:
                return []
            return [(b"content-length", b"%d" % self._seen_bytes)]
        if self.declared_bytes is not None:
            return [(b"content-length", b"%d" % self.declared_bytes)]
        return [(b"transfer-encoding", b"chunked")]

    def framed(self, piece: bytes) -> bytes:
        """`piece` as it goes on the wire."""
        if self._is_framed_in_chunks and piece:
            return b"%x\r\n%b\r\n" % (len(piece), piece)
        return piece

    def framed_prefix(self) -> bytes:
        """What was read ahead, as it goes on the wire."""
        return self.prefix if self.is_replayable else self.framed(self.prefix)

    def framed_end(self) -> bytes:
        """What ends the body on the wire."""
        return b"0\r\n\r\n" if self._is_framed_in_chunks else b""
