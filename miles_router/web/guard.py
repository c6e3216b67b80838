"""The outermost ASGI layer: request id, who is calling, and what leaves when something fails.

Everything passes here first, also what middleware answers by itself. Order: id, class of path,
credentials, then the chain behind. A failure behind is answered in JSON if nothing was sent yet;
otherwise the connection is cut, so that a broken answer never looks complete.
"""

from __future__ import annotations

import logging
import re
import secrets
from itertools import count
from typing import TYPE_CHECKING

import trio

from miles_router.core.auth import Caller, Gatekeeper, Role, may_register
from miles_router.core.headers import REQUEST_ID_HEADER, first
from miles_router.core.request import PathClass
from miles_router.errors import (
    AnswerCut,
    Forbidden,
    MiddlewareFailed,
    RouterError,
    Unauthorized,
    UpgradeRefused,
    WorkerBroke,
)
from miles_router.net.begun import BEGUN_KEY
from miles_router.net.body import ClientGone
from miles_router.net.departures import LEFT_KEY
from miles_router.web.answer import Answer, Unanswered
from miles_router.web.caller import SCOPE_KEY, RequestContext, client_address, matched
from miles_router.web.failures import note_error
from miles_router.web.replies import send_error

if TYPE_CHECKING:
    from miles_router.core.urlrules import Network
    from miles_router.net.begun import Begun
    from miles_router.net.departures import Departure
    from miles_router.net.services import Services
    from miles_router.web.replies import App, Receive, Scope, Send

OPEN_PATHS = frozenset({"/livez", "/readyz", "/health", "/metrics", "/openapi.json"})
ADMIN_PATHS = frozenset({"/snapshot", "/events", "/log", "/flush_cache", "/cache/gc"})
REGISTRATION_PATHS = frozenset({"/add_worker", "/remove_worker"})

# Ids of requests are unique, not secret: chance makes the beginning, once, and the rest is counted.
_BOOT = secrets.token_hex(10)
_NUMBERS = count()
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")


def role_for(method: str, path: str, path_class: PathClass) -> Role:
    """What a request to `path` (decoded and normalised) asks of its caller."""
    if path in OPEN_PATHS:
        return Role.OPEN
    if path_class is PathClass.CONTROL or path in ADMIN_PATHS or path in REGISTRATION_PATHS:
        return Role.ADMIN
    if path == "/workers" or path.startswith("/workers/"):
        return Role.ROLLOUT if method in {"GET", "HEAD"} else Role.ADMIN
    return Role.ROLLOUT


def is_registration(method: str, path: str) -> bool:
    """Whether a worker uses this request to come or go (see `--open-registration`)."""
    if path in REGISTRATION_PATHS:
        return True
    if path == "/workers":
        return method == "POST"
    return method == "DELETE" and path.startswith("/workers/")


class Guard:
    """Wraps the middleware chain and the router behind it."""

    def __init__(
        self,
        services: Services,
        gatekeeper: Gatekeeper,
        app: App,
        *,
        open_to: tuple[Network, ...] = (),
    ) -> None:
        """`open_to` may register themselves."""
        self._services = services
        self._open_to = open_to
        self._gatekeeper = gatekeeper
        self._app = app
        self._tells_each = services.log.is_enabled_for(logging.DEBUG)

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, *_spawners: object
    ) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            # Not through the chain: middleware written for requests need not know this scope.
            await _confirm_lifespan(receive, send)
        else:
            await _refuse_websocket(receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        departure: Departure | None = scope.get(LEFT_KEY)
        begun: Begun | None = scope.get(BEGUN_KEY)
        request_id = request_id_of(scope) or new_request_id()
        started_at = self._services.now()
        if begun is not None:
            request_id, started_at = begun.running.request_id, begun.running.started_at
        answer = Answer(send, request_id, departure)
        if begun is not None and begun.stream is not None:
            answer.status = begun.status  # its head is out
        context: RequestContext | None = None
        path_class = PathClass.OTHER
        try:
            path, path_class = matched(scope)
            caller, is_open_registration = self._admit(scope, path, path_class)
            context = RequestContext(
                request_id=answer.request_id,
                caller=caller,
                path=path,
                path_class=path_class,
                started_at=started_at,
                raw_path=scope["raw_path"],
                is_open_registration=is_open_registration,
                receive=None if departure is None else receive,
            )
            scope[SCOPE_KEY] = answer.context = context
            await self._app(scope, answer.watching(receive), answer.send)
            answer.check_over()
        except BaseException as raised:  # noqa: BLE001  the border of one request
            beyond = _beyond_request(raised)
            if beyond is not None:
                raise beyond from None  # everything ends: what failed besides has nobody to tell
            await self._fail(scope, answer, raised, context)
        if answer.status is None:
            self._services.metrics.client_gone[path_class] += 1
        else:
            duration_s = self._services.now() - started_at
            self.count(path_class, answer.status, request_id, duration_s)

    def caller_of(self, scope: Scope, path: str, path_class: PathClass) -> Caller:
        """Who asks, by its credentials.

        Raises:
            Unauthorized, Forbidden: see `core.auth`.
        """
        role = role_for(scope["method"], path, path_class)
        return self._gatekeeper.admit(role, _authorization(scope))

    def _admit(self, scope: Scope, path: str, path_class: PathClass) -> tuple[Caller, bool]:
        """The caller, and whether its network let it in where its credentials did not."""
        method = scope["method"]
        try:
            return self.caller_of(scope, path, path_class), False
        except (Unauthorized, Forbidden):
            client = client_address(scope)
            is_near = client is not None and may_register(client, (client,), self._open_to)
            if is_near and is_registration(method, path):
                return Caller(), True
            raise

    async def _fail(
        self, scope: Scope, answer: Answer, error: BaseException, context: RequestContext | None
    ) -> None:
        """End a request that failed, whatever it failed with."""
        services = self._services
        if context is not None and context.failure is not None:
            error = context.failure
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]  # nurseries wrap what they pass on
        if isinstance(error, ClientGone):
            return
        is_logged = not isinstance(error, RouterError | AnswerCut)
        if not isinstance(error, RouterError | AnswerCut):
            is_own = context is not None and context.failure is not None
            error = self._report(answer, error, is_own=is_own)
        if answer.status is not None:
            self._note_cut(scope, answer, error, context)
        else:
            if isinstance(error, AnswerCut):  # a middleware that reads whole answers came first
                error = WorkerBroke(str(error))
            note_error(
                services,
                error,
                request_id=answer.request_id,
                path=scope["path"],
                is_logged=is_logged,
            )
            await send_error(answer.send, error)

    def _report(self, answer: Answer, error: BaseException, *, is_own: bool) -> RouterError:
        """An exception that nobody expected: middleware's, or a mistake of the router's own."""
        services = self._services
        who = "the router" if is_own else "a middleware"
        what = str(error) if isinstance(error, Unanswered) else f"raised {type(error).__name__}"
        message = f"{who} {what}; the router's log has more under request id {answer.request_id}"
        reported = RouterError(message) if is_own else MiddlewareFailed(message)
        services.log.error(
            "request_failed", request_id=answer.request_id, exc_info=error, code=reported.code
        )
        kind = "request_failed" if is_own else "middleware_failed"
        services.events.add(kind, message, self._services.now(), reason=type(error).__name__)
        return reported

    def _note_cut(
        self, scope: Scope, answer: Answer, error: Exception, context: RequestContext | None
    ) -> None:
        """The head is out: the body stays unfinished, and the server closes the connection."""
        self._services.log.warning(
            "answer_cut", request_id=answer.request_id, path=scope["path"], why=str(error)
        )
        path_class = PathClass.OTHER if context is None else context.path_class
        self._services.metrics.cut_answers[path_class] += 1

    def count(self, path_class: str, status: int, request_id: str, duration_s: float) -> None:
        """A request was answered, `duration_s` seconds after it came."""
        metrics = self._services.metrics
        metrics.requests[path_class, status] += 1
        metrics.total.add(duration_s)
        if not self._tells_each:
            return
        self._services.log.debug(
            "request",
            request_id=request_id,
            path_class=str(path_class),
            status=status,
            duration_s=round(duration_s, 4),
        )


def _beyond_request(raised: BaseException) -> BaseException | None:
    """What of `raised` reaches beyond its request; None if all of it fails that alone.

    Code that takes the process or another event loop for its own raises SystemExit, GeneratorExit
    or asyncio's CancelledError: its request has failed, however deep in nurseries it was.
    """
    reaching = (trio.Cancelled, KeyboardInterrupt)
    if isinstance(raised, BaseExceptionGroup):
        return raised.split(reaching)[0]
    return raised if isinstance(raised, reaching) else None


def _authorization(scope: Scope) -> str | None:
    value = first(scope["headers"], b"authorization")
    return None if value is None else value.decode("latin-1")


def request_id_of(scope: Scope) -> str | None:
    """The caller's `X-Request-Id` where it is printable and short."""
    given = first(scope["headers"], REQUEST_ID_HEADER)
    return given.decode("ascii") if given is not None and _REQUEST_ID.fullmatch(given) else None


def new_request_id() -> str:
    """An id for a request that brings none."""
    return f"{_BOOT}{next(_NUMBERS):012x}"


async def _confirm_lifespan(receive: Receive, send: Send) -> None:
    """Tell a server that asks for it that all is ready: nothing starts or ends by this scope."""
    for phase in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{phase}.complete"})


async def _refuse_websocket(receive: Receive, send: Send) -> None:
    """Refuse a WebSocket scope; the gate answers 501 before one is made."""
    await receive()
    error = UpgradeRefused("WebSocket is not supported")
    await send({"type": "websocket.close", "code": 1008, "reason": error.message})
