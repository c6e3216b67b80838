"""A middleware to copy: measures each request and says so in a header of its answer.

It is plain ASGI, so that streamed answers pass piece by piece. Start a router with it:

    PYTHONPATH=examples miles-router serve --middleware middleware_header:TimingHeader

Every answer then carries `X-Time-To-Answer-Ms` (until its head was ready), and
`X-Healthy-Workers`, which shows how to ask the router something. A class that takes only `app`
works as well, and so does an unchanged subclass of Starlette's `BaseHTTPMiddleware`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from miles_router.plugins.api import RouterApi

    Message = dict[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]


class TimingHeader:
    """Adds two headers to every answer."""

    def __init__(self, app: App, router: RouterApi) -> None:
        self.app = app
        self.router = router

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request; only HTTP requests come here."""
        started_at = time.monotonic()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                elapsed_ms = (time.monotonic() - started_at) * 1000
                healthy = sum(worker.is_healthy for worker in self.router.workers)
                headers = [
                    *message["headers"],
                    (b"x-time-to-answer-ms", b"%.1f" % elapsed_ms),
                    (b"x-healthy-workers", b"%d" % healthy),
                ]
                message = {**message, "headers": headers}
            await send(message)

        await self.app(scope, receive, send_with_headers)
