"""How answers leave: JSON, server-sent events, and the error shapes of SGLang's two families."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from quart import Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STREAM_END = b"data: [DONE]\n\n"


class MalformedJson(Exception):
    """The body is not a JSON object."""


def parse_object(body: bytes | str) -> dict[str, object]:
    """The JSON object of a request.

    Raises:
        MalformedJson: it is something else.
    """
    try:
        value = json.loads(body)
    except ValueError as error:
        raise MalformedJson(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise MalformedJson("the body must be a JSON object")
    return value


def dump(value: object) -> bytes:
    """Compact UTF-8 JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def reply(value: object, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(dump(value), status, content_type="application/json")


def empty(status: int = 200) -> Response:
    """A status without a body."""
    return Response(b"", status)


def event(value: object) -> bytes:
    """One server-sent event."""
    return b"data: " + dump(value) + b"\n\n"


def events(chunks: AsyncIterator[bytes]) -> Response:
    """A stream of server-sent events."""
    return Response(chunks, content_type="text/event-stream; charset=utf-8")


def flat_error(message: str, kind: str = "BadRequestError", status: int = 400) -> Response:
    """The error shape of the OpenAI routes and of malformed JSON."""
    body = {"object": "error", "message": message, "type": kind, "param": None, "code": status}
    return reply(body, status)


def stream_error(message: str) -> dict[str, object]:
    """The event that tells of an error once a stream has begun."""
    kind = "invalid_request_error"
    return {"error": {"message": message, "type": kind, "code": 400, "retryable": False}}
