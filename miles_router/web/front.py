"""Behind the middleware: data paths to the relay, the router's own routes to Quart.

What fails in here becomes a JSON answer here, so that middleware sees an answer as it would from a
worker; only a broken answer travels on as an exception.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio

from miles_router.core.headers import session_of
from miles_router.core.inflight import Running
from miles_router.core.opening import opening
from miles_router.core.request import (
    PathClass,
    Rids,
    find_rids,
    is_generation,
)
from miles_router.errors import Forbidden, RequestAborted, RouterError, ShuttingDown
from miles_router.net.begun import BEGUN_KEY
from miles_router.net.body import KNOWN_KEY, KnownBody, RequestBody
from miles_router.net.departures import LEFT_KEY
from miles_router.net.exchange import Exchange
from miles_router.net.lane_call import PIPE_KEY
from miles_router.net.relay_request import RelayRequest
from miles_router.net.request_head import TARGET_KEY
from miles_router.web.aborted import send_aborted
from miles_router.web.caller import RequestContext, context_of, matched, target_path
from miles_router.web.failures import note_error
from miles_router.web.replies import send_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from miles_router.core.affinity import SessionKey
    from miles_router.core.auth import Caller
    from miles_router.net.begun import Begun
    from miles_router.net.services import Services
    from miles_router.web.replies import App, Receive, Scope, Send

# Looking into a larger body takes longer than the loop should stand still (5 ms).
PARSE_IN_THREAD_BYTES = 1024 * 1024


# Streams that end when their reader or the router does.
ENDLESS_PATHS = frozenset({"/events"})


class Front:
    """Routes one request to where it is served."""

    def __init__(self, services: Services, own_routes: App, control: App) -> None:
        self._services = services
        self._own_routes = own_routes
        self._control = control

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, *_spawners: object
    ) -> None:
        """Serve one ASGI scope."""
        context = context_of(scope)
        context.failure = None  # a middleware may ask again
        try:
            _follow_rewrite(context, scope)
            if context.path_class in {PathClass.OWN, PathClass.CONTROL}:
                with self._counted(context.path):
                    await self._serve_here(context, scope, receive, send)
            else:
                await self._relay(context, scope, receive, send)
        except RouterError as error:
            note_error(self._services, error, request_id=context.request_id, path=context.path)
            await send_error(send, error)
        except Exception as ending:  # AnswerCut, ClientGone, or a mistake of the router's own
            context.failure = ending
            raise

    @contextmanager
    def _counted(self, path: str) -> Iterator[None]:
        """A router that stops waits for what is counted."""
        counts = path not in ENDLESS_PATHS
        self._services.own_calls += counts
        try:
            yield
        finally:
            self._services.own_calls -= counts

    async def _serve_here(
        self, context: RequestContext, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if context.path_class is PathClass.OWN:
            await _serve_own(self._own_routes, {**scope, "path": context.path}, receive, send)
        else:
            await self._control(scope, receive, send)

    async def _relay(
        self, context: RequestContext, scope: Scope, receive: Receive, send: Send
    ) -> None:
        services = self._services
        begun: Begun | None = scope.get(BEGUN_KEY)
        if services.is_stopping and begun is None:
            raise ShuttingDown("the router is shutting down", retry_after_s=5.0)
        target = forwarded_target(scope)
        known_body: KnownBody | None = scope.get(KNOWN_KEY)
        receive = receive if known_body is None else known_body.receive
        body = RequestBody(
            receive,
            scope["headers"],
            max_bytes=services.settings.max_body_bytes,
            departure=scope.get(LEFT_KEY),
            is_told=receive is context.receive,
        )
        running = _running(context) if begun is None else begun.running
        services.inflight.add(running)
        known = b""
        try:
            generates = is_generation(context.path)
            if begun is not None:
                known = begun.body
                body.take_up(known)
            elif known_body is not None:
                known = known_body.whole
                body.take_up(known)
                running.rids, running.names = known_body.rids
            else:
                await body.read_ahead()
                if generates:
                    known = await _known_of(body)
                    running.rids, running.names = await _rids_of(known)
            exchange = Exchange(
                services,
                _relay_request(context, scope, target, generates=generates),
                body,
                send,
                running,
                begun,
            )
            await exchange.run(read_s=0.0 if begun else services.now() - context.started_at)
        except RequestAborted as aborted:
            await send_aborted(send, context.path, known, running.rids, aborted)
        finally:
            services.inflight.discard(running)
            services.metrics.bytes_in += body.size_bytes


async def _serve_own(own_routes: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve a route of the router itself.

    Servers report the end of an exchange as a disconnect, while the last `send` still runs. Quart
    would take it for a client that left and cancel that `send`, and with it the closing or the
    reuse of the connection: so it does not get to see it.
    """
    has_ended = False

    async def send_on(message: dict[str, Any]) -> None:
        nonlocal has_ended
        if message["type"] == "http.response.body" and not message.get("more_body"):
            has_ended = True
        await send(message)

    async def receive_until_ended() -> dict[str, Any]:
        message = await receive()
        if has_ended:
            await trio.sleep_forever()
        return message

    await own_routes(scope, receive_until_ended, send_on)


def _follow_rewrite(context: RequestContext, scope: Scope) -> None:
    """Take over a path that middleware rewrote, unless it asks for other rights.

    Raises:
        Forbidden: the new path is one of the router's own or of engine control, or was.
    """
    if scope["raw_path"] is context.raw_path and b"#" not in scope["query_string"]:
        return  # the very same bytes
    path, path_class = matched(scope)
    if path == context.path:
        return
    if not {path_class, context.path_class}.isdisjoint({PathClass.OWN, PathClass.CONTROL}):
        raise Forbidden(f"a middleware rewrote {context.path} to {path}, which needs other rights")
    context.path, context.path_class = path, path_class


def session_key(scope: Scope, caller: Caller) -> SessionKey | None:
    """The session that a request of `caller` belongs to; tenants cannot name each other's."""
    session = session_of(scope["headers"])
    return None if session is None else (caller.tenant, session)


def _running(context: RequestContext) -> Running:
    return Running(
        request_id=context.request_id,
        tenant=context.caller.tenant,
        path=context.path,
        started_at=context.started_at,
    )


def _relay_request(
    context: RequestContext, scope: Scope, target: bytes, *, generates: bool
) -> RelayRequest:
    return RelayRequest(
        method=scope["method"],
        target=target,
        headers=scope["headers"],
        request_id=context.request_id,
        path_class=context.path_class,
        is_generation=generates,
        session=session_key(scope, context.caller),
        takes_pipes=PIPE_KEY in scope,
    )


async def _known_of(body: RequestBody) -> bytes:
    """The body, or what the beginning of a large one says of it, as JSON."""
    if body.is_replayable:
        return body.prefix
    return await trio.to_thread.run_sync(opening, body.prefix)


async def _rids_of(known: bytes) -> Rids:
    """The ids that a body names."""
    if len(known) <= PARSE_IN_THREAD_BYTES:
        return find_rids(known)
    return await trio.to_thread.run_sync(find_rids, known)


def forwarded_target(scope: Scope) -> bytes:
    """Path and query as the worker gets them."""
    query: bytes = scope["query_string"]
    path = target_path(scope)
    has_bare_mark = scope.get(TARGET_KEY) == scope["raw_path"] + b"?"
    return path + b"?" + query if query or has_bare_mark else path
