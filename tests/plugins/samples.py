"""Middleware for tests, named by `tests.plugins.samples:Class`."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, ClassVar

import trio
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import JSONResponse, Response

if TYPE_CHECKING:
    from starlette.middleware.base import RequestResponseEndpoint
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

NOT_CALLABLE = 5


class Plain(BaseHTTPMiddleware):
    """Written for Starlette; knows no router. Marks requests and answers on their way."""

    name = "plain"

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        headers = request.scope["headers"]
        trail = [value for key, value in headers if key == b"x-trail"]
        request.scope["headers"] = [
            *((key, value) for key, value in headers if key != b"x-trail"),
            (b"x-trail", b",".join((*trail, self.name.encode()))),
        ]
        response = await call_next(request)
        response.headers["x-seen"] = ",".join(
            part for part in (response.headers.get("x-seen"), self.name) if part
        )
        response.headers["x-status-seen"] = str(response.status_code)
        return response


class Second(Plain):
    name = "second"


class WithRouter(BaseHTTPMiddleware):
    """As miles writes them: it is given the router."""

    def __init__(self, app: ASGIApp, *, router: Any) -> None:
        super().__init__(app)
        self.router = router

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        worker = response.headers.get("x-miles-worker")
        if worker is not None:
            self.router.note_weight_version(worker, "seen-by-middleware")
        response.headers["x-workers"] = ",".join(view.url for view in self.router.workers)
        return response


class BodyReader(BaseHTTPMiddleware):
    """Reads the request before the router does."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        size_bytes = len(await request.body())
        response = await call_next(request)
        response.headers["x-body-bytes"] = str(size_bytes)
        return response


class Shouting(BaseHTTPMiddleware):
    """Answers with another body than the worker's."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        body = b"".join([piece async for piece in response.body_iterator])  # type: ignore[attr-defined]  # call_next streams
        return Response(body.upper(), status_code=response.status_code)


class AnswersItself(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        if request.url.path == "/mine":
            return JSONResponse({"by": "middleware"}, 418)
        return await call_next(request)


class Careless(BaseHTTPMiddleware):
    """Starts a request, does not wait for its end, and answers something else."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        await call_next(request)
        return JSONResponse({"by": "careless"})


class RaisesBefore:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError("a prompt that nobody may read")


class Exits:
    """A plugin that takes the process for its own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with trio.open_nursery():
            raise SystemExit(3)


class ProcessWide:
    """Raises what other event loops and interpreters end by, in a nursery or not."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        error = {
            b"asyncio": asyncio.CancelledError,
            b"generator": GeneratorExit,
            b"own": OddEnd,
            b"exit": SystemExit,
        }[headers[b"x-raise"]]
        if b"x-late" in headers:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        if b"x-nested" not in headers:
            raise error("x")
        async with trio.open_nursery() as outer, trio.open_nursery():
            outer.start_soon(self._fail, LookupError("y"))
            await self._fail(error("x"))

    async def _fail(self, error: BaseException) -> None:
        raise error


class OddEnd(BaseException):
    pass


class Unfinished:
    """Returns before the answer is complete: with nothing, a head, or a head that is no HTTP."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = dict(scope["headers"])[b"x-kind"]
        if kind == b"swallows":
            with suppress(Exception):
                await self.app(scope, receive, send)
        if kind == b"waits":
            while (await receive())["type"] != "http.disconnect":
                pass
        heads: dict[bytes, list[Any]] = {
            b"head": [],
            b"line": [(b"x", b"a\r\nb: c")],
            b"text": [("x", "y")],
            b"name": [(b"", b"y")],
        }
        if kind in heads:
            await send({"type": "http.response.start", "status": 200, "headers": heads[kind]})


class RaisesInNursery(RaisesBefore):
    """Its error arrives wrapped in a group, as nurseries pass errors on."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with trio.open_nursery():
            raise LookupError("a prompt that nobody may read")


class Rewrites:
    """Sends every request to a path of the engine's control."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        target = dict(scope["headers"])[b"x-path"]
        await self.app({**scope, "path": target.decode(), "raw_path": target}, receive, send)


class RaisesAfterStart(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        pieces = response.body_iterator  # type: ignore[attr-defined]  # call_next streams

        async def spoiled() -> Any:
            async with aclosing(pieces):
                async for piece in pieces:
                    yield piece[:3]
                    raise LookupError("a prompt that nobody may read")

        response.body_iterator = spoiled()  # type: ignore[attr-defined]  # call_next streams
        return response


class Swallows:
    """Hides every failure, and ends the answer as if it were whole."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except Exception:  # noqa: BLE001  this is what it is for
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class Repairs(BaseHTTPMiddleware):
    """Reads the whole answer, and makes an error of its own where that fails."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        expected = int(response.headers.get("content-length", 0))
        body = b"".join([piece async for piece in response.body_iterator])  # type: ignore[attr-defined]  # call_next streams
        if len(body) < expected:
            return JSONResponse({"by": "middleware"}, 502)
        return Response(body)


class AsksAgain:
    """Holds answers back until they are whole, and asks once more where one breaks off."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await receive()
        for _ in range(2):
            held: list[Any] = []
            messages = [request]

            async def receive_again(messages: list[Any] = messages) -> Any:
                return messages.pop() if messages else await receive()

            async def hold(message: Any, held: list[Any] = held) -> None:
                held.append(message)

            try:
                await self.app(scope, receive_again, hold)
                break
            except Exception:  # noqa: BLE001  whatever it was, once more
                held.clear()
        for message in held:
            await send(message)


class ScopeRecorder:
    """Notes which kinds of ASGI scopes reach it."""

    seen: ClassVar[list[str]] = []

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append(scope["type"])
        await self.app(scope, receive, send)


class Slow(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        await trio.sleep(0.01)
        return await call_next(request)


class TakesMore:
    def __init__(self, app: ASGIApp, needed: str) -> None:
        self.app = app


class TakesKeywords:
    def __init__(self, app: ASGIApp, **keywords: Any) -> None:
        self.app = app
        self.keywords = keywords

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotImplementedError


class PassesKeywordsOn(BaseHTTPMiddleware):
    """Takes any keyword, for a base that knows `dispatch` alone."""

    def __init__(self, app: ASGIApp, **options: Any) -> None:
        super().__init__(app, **options)

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)


class RaisesTypeError:
    def __init__(self, app: ASGIApp, **keywords: Any) -> None:
        raise TypeError("not a matter of keywords")


class RaisesWhenMade:
    def __init__(self, app: ASGIApp) -> None:
        raise OSError("no such file")


def make_function(app: ASGIApp) -> ASGIApp:
    """A function serves as well as a class."""
    return app


class ExitsWhenMade:
    def __init__(self, app: ASGIApp) -> None:
        raise SystemExit(3)


async def async_function(app: ASGIApp) -> None:
    """As one writes a middleware for another framework."""


class _Callable:
    async def __call__(self, app: ASGIApp) -> None:
        raise NotImplementedError


READY_MADE = _Callable()


def makes_nothing(app: ASGIApp) -> None:
    """Forgets to return what it makes."""
