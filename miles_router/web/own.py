"""The Quart app that serves the router's own routes, and how it answers errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from miles_router.errors import BadRequest, MethodNotAllowed, NotFound, RouterError, TooLarge
from miles_router.web.caller import context_of
from miles_router.web.failures import note_error
from miles_router.web.replies import error_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from miles_router.net.services import Services

# A text of 10 MB for /retrieve_from_text is 60 MB where JSON escapes it as \\uXXXX.
MAX_TEXT_BODY_BYTES = 64 * 1024 * 1024

_BY_STATUS: dict[int, tuple[type[RouterError], str]] = {
    404: (NotFound, "the router has no such route"),
    405: (MethodNotAllowed, "this route does not take that method"),
    413: (TooLarge, "the body is too large for this route"),
}


def json_reply(
    value: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON answer; msgspec structs are encoded by their fields."""
    return Response(
        msgspec.json.encode(value),
        status=status,
        headers=dict(headers or {}),
        content_type="application/json",
    )


def make_quart(services: Services) -> QuartTrio:
    """An app without routes; every limit of Quart's is set on purpose.

    What a route raises unexpectedly is not answered here: it goes to the guard, as it does from
    everywhere else.
    """
    app = QuartTrio("miles_router")
    app.url_map.strict_slashes = False
    app.config["RESPONSE_TIMEOUT"] = None  # /events never ends, and readers may be slow
    app.config["BODY_TIMEOUT"] = 60
    app.config["MAX_CONTENT_LENGTH"] = MAX_TEXT_BODY_BYTES
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.config["PROPAGATE_EXCEPTIONS"] = True

    def note(error: RouterError) -> None:
        scope: dict[str, Any] = request.scope  # type: ignore[assignment]  # a plain dict for us
        context = context_of(scope)
        note_error(services, error, request_id=context.request_id, path=context.path)

    async def answer_router_error(error: RouterError) -> Response:
        note(error)
        return json_reply(error_body(error), error.status, error.headers)

    async def answer_http_exception(error: HTTPException) -> Response:
        status = error.code or 400
        kind, message = _BY_STATUS.get(status, (BadRequest, str(error.description)))
        note(kind(message))
        allowed: Any = getattr(error, "valid_methods", None)
        headers = {"Allow": ", ".join(sorted(allowed))} if allowed else {}
        return json_reply(error_body(kind(message)), status, headers)

    app.register_error_handler(RouterError, answer_router_error)
    app.register_error_handler(HTTPException, answer_http_exception)
    return app
