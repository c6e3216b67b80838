"""The only place that makes HTTP out of errors: one JSON shape, stable codes, fitting status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from miles_router.errors import RouterError

    Scope = dict[str, Any]
    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]


def error_body(error: RouterError) -> dict[str, object]:
    """`{"error": {"code", "message", ...details}}`."""
    return {"error": {"code": error.code, "message": error.message, **error.details}}


async def send_json(
    send: Send, status: int, value: object, headers: Mapping[str, str] | None = None
) -> None:
    """A whole JSON answer."""
    body = msgspec.json.encode(value)
    head = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *(
            (name.lower().encode("latin-1"), text.encode("latin-1"))
            for name, text in (headers or {}).items()
        ),
    ]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def send_error(send: Send, error: RouterError) -> None:
    """`error` as an answer."""
    await send_json(send, error.status, error_body(error), error.headers)
