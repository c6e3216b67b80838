"""An answer on its way to the client: read whole or event by event, kept, let through.

What the client gets is the answer without what only the router asked for; bytes that need no change
are not changed. The end of an answer is let go when what it says is stored. An answer that the
cache cannot read, or that is too large to be held, goes through as it comes.

Invariant: whatever happens to the cache, the client gets the worker's answer.
"""

from __future__ import annotations

import enum
from functools import partial
from typing import TYPE_CHECKING, Any

from miles_router.core.generate.reasons import RefusalReason
from miles_router.core.generate.sse import SseSplitter
from miles_router.core.generate.stream import StreamCollector
from miles_router.core.headers import WORKER_HEADER, first
from miles_router.plugins.token_cache.keeping import (
    Digest,
    digest,
    keep_items,
    read_whole,
    tell_versions,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from miles_router.core.generate.items import AnswerItem
    from miles_router.net.token_cache import TokenCache
    from miles_router.plugins.token_cache.prepared import Prepared

    Message = dict[str, Any]
    Send = Callable[[Message], Awaitable[None]]

# Reading so much takes as long as a thread takes to start; 256 tokens with log-probabilities are
# 12 KB, and their reading leaves the loop to others.
READ_IN_THREAD_BYTES = 4096
# An answer has to be in memory to be read, and so has an event of a stream, whose client gets it
# when it is complete. 128k tokens with 60 layers of 8 experts are 330 MB.
MAX_ANSWER_BYTES = 1024**3
# Pieces of a large answer that was changed are views of it; small ones are joined.
JOIN_BYTES = 1024 * 1024


class _Mode(enum.Enum):
    WHOLE = enum.auto()
    STREAM = enum.auto()
    PASS = enum.auto()


class Capture:
    """Stands between one exchange and its client.

    Args:
        note_version: told the id of the worker and the weight version that it answered with.
    """

    def __init__(
        self,
        cache: TokenCache,
        prepared: Prepared,
        send: Send,
        note_version: Callable[[str, str], None],
    ) -> None:
        self._cache = cache
        self._prepared = prepared
        self._send = send
        self._note_version = note_version
        self._mode = _Mode.PASS
        self._start: Message = {}
        self._worker_id = ""
        self._parts: list[bytes] = []
        self._size_bytes = 0
        self._splitter: SseSplitter
        self._collector: StreamCollector
        self._is_kept = False

    async def send(self, message: Message) -> None:
        """Take one ASGI message of the answer."""
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif self._mode is _Mode.STREAM:
            await self._pass_events(message)
        elif self._mode is _Mode.WHOLE:
            await self._gather(message)
        else:
            await self._send(message)

    async def _begin(self, message: Message) -> None:
        headers = message.get("headers", [])
        self._worker_id = (first(headers, WORKER_HEADER) or b"").decode("latin-1")
        kind = (first(headers, b"content-type") or b"").split(b";")[0].strip().lower()
        encoding = (first(headers, b"content-encoding") or b"identity").strip().lower()
        reason = None
        if message["status"] != 200:
            reason = RefusalReason.WORKER_ERROR
        elif encoding != b"identity":
            reason = RefusalReason.ENCODED
        elif kind not in {b"application/json", b"text/event-stream"}:
            reason = RefusalReason.ANSWER_NOT_JSON
        elif kind == b"text/event-stream":
            self._mode = _Mode.STREAM
            self._splitter = SseSplitter()
            self._collector = StreamCollector(self._prepared.expected, self._prepared.drops)
            await self._send({**message, "headers": _without_length(headers)})
            return
        if reason is None:
            self._mode = _Mode.WHOLE
            self._start = message
            return
        self._cache.counters.refused[reason.value] += 1
        await self._send(message)

    async def _pass_events(self, message: Message) -> None:
        is_last = not message.get("more_body", False)
        ready: list[bytes] = []
        events = await self._split(message.get("body", b""))
        for place, event in enumerate(events, start=1):
            take = partial(self._collector.take, event)
            data = take() if len(event) <= JOIN_BYTES else await self._cache.in_thread(take)
            if self._collector.holds_end and not self._is_kept:
                if ready:
                    await self._send_body(b"".join(ready))
                    ready.clear()
                await self._keep(await self._digested(self._collector.items()))
            ready.append(data)
            if self._collector.size_bytes > MAX_ANSWER_BYTES:
                await self._stop_reading(ready + events[place:], is_last=is_last)
                return
        if self._splitter.size_bytes > MAX_ANSWER_BYTES:
            await self._stop_reading(ready, is_last=is_last)
            return
        if is_last:
            if not self._is_kept:
                await self._keep(await self._digested(self._collector.items()))
            ready.append(self._collector.take(self._splitter.rest))
        if ready or is_last:
            await self._send_body(b"".join(ready), is_last=is_last)

    async def _stop_reading(self, ready: list[bytes], *, is_last: bool) -> None:
        """Give up on a stream: `ready` goes out, then what is held; the rest as it comes."""
        self._mode = _Mode.PASS
        if not self._is_kept:
            self._cache.counters.refused[RefusalReason.ANSWER_TOO_LARGE.value] += 1
        pieces = self._splitter.take_rest()
        del self._collector  # and all that it holds
        await self._send_body(b"".join(ready))
        for place, piece in enumerate(pieces):
            pieces[place] = b""
            await self._send_body(piece)
        if is_last:
            await self._send_body(b"", is_last=True)

    async def _split(self, data: bytes) -> list[bytes]:
        """The events that `data` completes; a large one is put together in a thread."""
        feed = partial(self._splitter.feed, data)
        ends_large = self._splitter.size_bytes > JOIN_BYTES and b"\n" in data
        return await self._cache.in_thread(feed) if ends_large else feed()

    async def _gather(self, message: Message) -> None:
        piece = message.get("body", b"")
        self._parts.append(piece)
        self._size_bytes += len(piece)
        if self._size_bytes > MAX_ANSWER_BYTES:
            self._cache.counters.refused[RefusalReason.ANSWER_TOO_LARGE.value] += 1
            await self._let_through(message)
        elif not message.get("more_body", False):
            await self._finish()

    async def _let_through(self, message: Message) -> None:
        """Give up on an answer: what has come goes out, the rest follows as it comes."""
        self._mode = _Mode.PASS
        await self._send(self._start)
        parts, self._parts = self._parts, []
        for place, part in enumerate(parts):
            parts[place] = b""
            more = place + 1 < len(parts) or message.get("more_body", False)
            await self._send({"type": "http.response.body", "body": part, "more_body": more})

    async def _finish(self) -> None:
        parts, self._parts = self._parts, []
        if len(parts) > 1 and self._size_bytes > JOIN_BYTES:
            body = await self._cache.in_thread(partial(b"".join, parts))
        else:
            body = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        pieces: list[bytes | memoryview] = [body]
        try:
            digests, pieces = await self._read(body)
        except Exception as error:  # noqa: BLE001  whatever it is, the answer must get through
            self._cache.fail(error)
        else:
            await self._keep(digests)
        size_bytes = sum(map(len, pieces))
        if size_bytes <= JOIN_BYTES:
            pieces = [b"".join(pieces)]
        headers = _without_length(self._start.get("headers", []))
        headers.append((b"content-length", b"%d" % size_bytes))
        await self._send({**self._start, "headers": headers})
        for piece in pieces[:-1]:
            await self._send_body(piece)
        await self._send_body(pieces[-1], is_last=True)

    async def _read(
        self, body: bytes
    ) -> tuple[list[Digest | RefusalReason], list[bytes | memoryview]]:
        work = partial(read_whole, self._cache.tokenizer, self._prepared, body)
        if len(body) <= READ_IN_THREAD_BYTES:
            return work()
        if len(body) <= JOIN_BYTES:
            return await self._cache.quick_thread.call(work)
        return await self._cache.in_thread(work)

    async def _digested(
        self, items: list[AnswerItem | RefusalReason]
    ) -> list[Digest | RefusalReason]:
        """The items of a stream; what the cache fails at is left out."""
        work = partial(digest, self._cache.tokenizer, self._prepared, items)
        try:
            return await self._cache.in_thread(work)
        except Exception as error:  # noqa: BLE001  whatever it is, the answer must get through
            self._cache.fail(error)
            return []

    async def _keep(self, digests: list[Digest | RefusalReason]) -> None:
        """Store what was answered; a failure of the cache stays its own."""
        self._is_kept = True
        try:
            tell_versions(digests, self._worker_id, self._note_version)
            await keep_items(self._cache, self._prepared, digests)
        except Exception as error:  # noqa: BLE001  whatever it is, the answer must get through
            self._cache.fail(error)

    async def _send_body(self, body: bytes | memoryview, *, is_last: bool = False) -> None:
        if body or is_last:
            message = {"type": "http.response.body", "body": body, "more_body": not is_last}
            await self._send(message)


def _without_length(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [header for header in headers if header[0].lower() != b"content-length"]
