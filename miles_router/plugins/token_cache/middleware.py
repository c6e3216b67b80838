"""The ASGI layer of the token cache: which requests it takes part in, and what happens to others.

A request that the cache cannot follow, or that meets a failure of the cache, goes to a worker as it
came. This file must not know tokens.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from miles_router.core.generate.reasons import RefusalReason, Uncached
from miles_router.core.generate.request import GenerateRequest, read_request
from miles_router.core.headers import session_of
from miles_router.net.begun import BEGUN_KEY
from miles_router.net.body import KNOWN_KEY, KnownBody
from miles_router.net.lane_call import PIPE_KEY
from miles_router.plugins.token_cache.capture import Capture
from miles_router.plugins.token_cache.continuing import Holds
from miles_router.plugins.token_cache.passage import CachePassage, readable
from miles_router.plugins.token_cache.prepared import prepare

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from miles_router.net.begun import Begun
    from miles_router.net.passing import Passage
    from miles_router.net.token_cache import TokenCache
    from miles_router.plugins.api import RouterApi
    from miles_router.plugins.token_cache.prepared import Prepared

    Scope = dict[str, Any]
    Message = dict[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Prompts are texts: 10 MB are a book shelf. What is larger is streamed to its worker unread.
MAX_BODY_BYTES = 64 * 1024 * 1024
READ_IN_THREAD_BYTES = 1024 * 1024


class TokenCacheMiddleware:
    """Wraps the router for `/generate`.

    Args:
        app: what is behind.
        cache: the token cache.
        router: told of weight versions.
        takes_part: whether a request is one to `/generate`.
        tenant_of: whose request it is.
    """

    def __init__(
        self,
        app: App,
        cache: TokenCache,
        router: RouterApi,
        *,
        takes_part: Callable[[Scope], bool],
        tenant_of: Callable[[Scope], str],
    ) -> None:
        self._app = app
        self._cache = cache
        self._router = router
        self._takes_part = takes_part
        self._tenant_of = tenant_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        begun: Begun | None = scope.get(BEGUN_KEY)
        if begun is not None:
            await self._take_up(begun.passage, scope, receive, send)
            return
        if scope["type"] != "http" or not self._cache.is_on or not self._takes_part(scope):
            await self._app(scope, receive, send)
            return
        messages, body = await _read_body(receive)
        if body is None:  # too large, or the client left
            if messages[-1]["type"] == "http.request":
                self._cache.counters.refused[RefusalReason.BODY_TOO_LARGE.value] += 1
            await self._app(scope, _replay(messages, receive), send)
            return
        with Holds(self._cache) as holds:
            prepared = await self._prepare(scope, holds, body)
            if prepared is None:
                await self._app(scope, _replay(messages, receive), send)
                return
            messages.clear()  # a large body must not be in memory twice
            inner = _inner(scope, prepared)
            inner[KNOWN_KEY] = KnownBody(prepared.body, prepared.rids, receive)
            message = {"type": "http.request", "body": prepared.body, "more_body": False}
            capture = self._capture(prepared, send)
            await self._app(inner, _replay([message], receive), capture.send)

    async def _take_up(
        self, passage: Passage | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Go on with what the express has begun; without a passage the cache has no part in it."""
        if not isinstance(passage, CachePassage):
            await self._app(scope, receive, send)
            return
        try:
            prepared = passage.prepared
            capture = self._capture(prepared, send)
            await self._app(_inner(scope, prepared), receive, capture.send)
        finally:
            passage.end()

    def _capture(self, prepared: Prepared, send: Send) -> Capture:
        return Capture(self._cache, prepared, send, self._router.note_weight_version)

    async def _prepare(self, scope: Scope, holds: Holds, body: bytes) -> Prepared | None:
        """What goes to the worker; None where the cache has no part in it."""
        cache = self._cache
        tenant, session = self._tenant_of(scope), session_of(scope["headers"])
        try:
            request = await self._read(body)
            return await prepare(cache, holds, tenant, session, request)
        except Uncached as refused:
            cache.counters.refused[refused.reason.value] += 1
        except Exception as error:  # noqa: BLE001  whatever it is, the request must go through
            cache.fail(error)
        return None

    async def _read(self, body: bytes) -> GenerateRequest:
        if len(body) <= READ_IN_THREAD_BYTES:
            return read_request(body)
        return await self._cache.in_thread(partial(read_request, body))


async def _read_body(receive: Receive) -> tuple[list[Message], bytes | None]:
    """The messages of a request body, and the body; None where it is too large or broke off."""
    messages: list[Message] = []
    size_bytes = 0
    while True:
        message = await receive()
        messages.append(message)
        size_bytes += len(message.get("body", b""))
        if message["type"] != "http.request" or size_bytes > MAX_BODY_BYTES:
            return messages, None
        if not message.get("more_body", False):
            return messages, b"".join(one.get("body", b"") for one in messages)


def _replay(messages: list[Message], receive: Receive) -> Receive:
    """What was received already, then what follows."""
    left = iter(messages)

    async def replayed() -> Message:
        message = next(left, None)
        return await receive() if message is None else message

    return replayed


def _inner(scope: Scope, prepared: Prepared) -> Scope:
    """The scope of a request for its new body; the answer is to be read here."""
    changed = {b"content-length", b"transfer-encoding"}
    headers = [header for header in readable(scope["headers"]) if header[0] not in changed]
    headers.append((b"content-length", b"%d" % len(prepared.body)))
    inner = {**scope, "headers": headers}
    inner.pop(PIPE_KEY, None)  # what is in a pipe is not read
    return inner
